"""Rows of tab-separated values whose fields may hold any text."""

from __future__ import annotations

import re

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_UNESCAPES = {"\\": "\\", "t": "\t", "n": "\n", "r": "\r"}


def escape(text: str) -> str:
    r"""Return `text` as a field: backslash, tab, newline, return become `\\`, `\t`, `\n`, `\r`."""
    return text.translate(_ESCAPES)


def unescape(field: str) -> str:
    """Return the text of a field that `escape` made; a backslash before anything else stays."""
    return re.sub(r"\\([\\tnr])", lambda match: _UNESCAPES[match[1]], field)


def row(*fields: str) -> bytes:
    """Return a line of escaped fields in UTF-8; undecodable bytes of paths are kept."""
    return ("\t".join(map(escape, fields)) + "\n").encode("utf-8", "surrogateescape")
