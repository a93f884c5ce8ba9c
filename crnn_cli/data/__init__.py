"""Data: label files, images, datasets, and the batches that are made of them."""
