"""Rows of tab-separated values in which a field may hold anything."""

from __future__ import annotations

import re

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def escape(text: str) -> str:
    """`text` fit for a field: backslash, tab, newline and carriage return as \\\\, \\t, \\n and \\r."""
    return text.translate(_ESCAPES)


def unescape(field: str) -> str:
    """The inverse of `escape`; a backslash before anything else stays."""
    return re.sub(
        r"\\([\\tnr])", lambda found: {"\\": "\\", "t": "\t", "n": "\n", "r": "\r"}[found[1]], field
    )


def row(*fields: str) -> bytes:
    """A line of escaped fields, in UTF-8; bytes of paths that are no text stay as they are."""
    return ("\t".join(map(escape, fields)) + "\n").encode("utf-8", "surrogateescape")
