"""Headers of image files, as far as decoding needs them: sizes, segments, chunks, directories.

The size in a header is the one that the decoder would allocate memory for, so that images that are
too large are never decoded.
"""
