"""`crnn inspect`."""


def command() -> None:
    """To come."""
