"""Datasets: LMDBs in the field's layout, so that others' sets open here and ours open there.

`image-%09d` holds the bytes of an image file, `label-%09d` its text in UTF-8, both counted from 1; `num-samples` their
number in decimal. Ours in addition, never needed: `path-%09d`, where the image came from; `crnn-sizes` and
`crnn-hashes`, all samples' (width, height) and content hashes; `crnn-meta`, JSON. In Python indices count from 0.
"""

from crnn_cli.data.store.reader import LONGEST_LABEL, Reader, content_hash
from crnn_cli.data.store.writer import Writer

__all__ = ["LONGEST_LABEL", "Reader", "Writer", "content_hash"]
