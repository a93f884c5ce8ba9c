"""Datasets: LMDBs in the layout that most text recognition programs share.

`image-%09d` holds the bytes of an image file and `label-%09d` its text in UTF-8, both counted from
1; `num-samples` holds their number in decimal. Datasets of this package have further keys, which a
reader never needs: `path-%09d` holds the path that the image came from, `crnn-sizes` and
`crnn-hashes` hold the (width, height) and the content hash of all samples, and `crnn-meta` holds
JSON. In Python, samples are counted from 0.
"""

from crnn_cli.data.store.reader import MAX_LABEL_BYTES, LmdbReader, content_hash
from crnn_cli.data.store.writer import LmdbWriter

__all__ = ["MAX_LABEL_BYTES", "LmdbReader", "LmdbWriter", "content_hash"]
