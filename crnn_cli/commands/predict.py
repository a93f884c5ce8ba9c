"""`crnn predict`."""


def command() -> None:
    """To come."""
