"""Headers of image files: the sizes, segments, chunks and directories that decoding needs.

The size in a header is the one for which the decoder would allocate memory, so images that are too
large are refused before they are decoded.
"""
