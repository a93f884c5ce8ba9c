"""`crnn export`."""


def command() -> None:
    """To come."""
