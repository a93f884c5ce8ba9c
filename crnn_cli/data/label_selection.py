"""Selection of labels by the confidence that `crnn predict` gave them."""

from __future__ import annotations

from crnn_cli.data.labels import ParsedLabels
from crnn_cli.errors import LabelError


def select(parsed: ParsedLabels, minimum: float, maximum: float) -> ParsedLabels:
    """Return the rows whose confidence is from `minimum` to `maximum`.

    Raises:
        LabelError: No row has a confidence, or none has one in this range.
    """
    if all(row.confidence is None for row in parsed.rows):
        raise LabelError(
            f"the rows, read as {parsed.format}, have no confidence: leave --min-confidence and "
            "--max-confidence out, or give what crnn predict wrote"
        )
    pairs = [
        (row, file)
        for row, file in zip(parsed.rows, parsed.files, strict=True)
        if row.confidence is not None and minimum <= row.confidence <= maximum
    ]
    if not pairs:
        raise LabelError(f"no row has a confidence from {minimum} to {maximum}: widen the range")
    return parsed._replace(rows=[row for row, _ in pairs], files=[file for _, file in pairs])
