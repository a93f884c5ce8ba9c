"""The reading of images: inputs, preparation, batches, results and evaluation."""
