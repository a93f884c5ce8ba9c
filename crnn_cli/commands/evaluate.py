"""`crnn evaluate`."""


def command() -> None:
    """To come."""
