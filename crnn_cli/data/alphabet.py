"""Reading of alphabets: a preset by its name, or the characters of a file."""

from __future__ import annotations

from crnn_cli.core.codec import PRESETS, Alphabet
from crnn_cli.errors import ConfigError
from crnn_cli.sources import read_bytes


def read_alphabet(name: str) -> str:
    """Return the characters of a preset, or of a UTF-8 file.

    Every character of the file counts, including spaces, except line ends.

    Args:
        name: The name of a preset or the path of a file.

    Raises:
        ConfigError: `name` is neither a preset nor a readable file.
    """
    if name in PRESETS:
        return PRESETS[name]
    try:
        text = read_bytes(name).decode("utf-8-sig")
    except OSError as fault:
        presets = ", ".join(PRESETS)
        raise ConfigError(
            f"--alphabet {name}: neither one of {presets} nor a readable file ({fault.strerror})"
        ) from None
    except UnicodeDecodeError as fault:
        raise ConfigError(
            f"--alphabet {name}: not UTF-8 (byte {fault.start:,}): save the file as UTF-8"
        ) from None
    return Alphabet("".join(text.splitlines())).characters
