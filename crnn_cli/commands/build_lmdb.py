"""`crnn build-lmdb`."""


def command() -> None:
    """To come."""
