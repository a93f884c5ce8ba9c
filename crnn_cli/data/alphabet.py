"""The alphabet that an option names."""

from __future__ import annotations

from crnn_cli.core.codec import PRESETS, Alphabet
from crnn_cli.errors import ConfigError
from crnn_cli.sources import read_bytes


def read_alphabet(given: str) -> str:
    """The characters of a preset, or of a UTF-8 file: each character in it but line ends, the space included.

    Raises:
        ConfigError: neither a preset nor a readable file.
    """
    if given in PRESETS:
        return PRESETS[given]
    try:
        text = read_bytes(given).decode("utf-8-sig")
    except OSError as fault:
        presets = ", ".join(PRESETS)
        raise ConfigError(
            f"--alphabet {given}: neither one of {presets} nor a readable file ({fault.strerror})"
        ) from None
    except UnicodeDecodeError as fault:
        raise ConfigError(
            f"--alphabet {given}: not UTF-8 (byte {fault.start:,}): save the file as UTF-8"
        ) from None
    return Alphabet("".join(text.splitlines())).characters
