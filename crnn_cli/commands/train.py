"""`crnn train`."""


def command() -> None:
    """To come."""
