"""The `crnn` script: signals, and the boundary at which errors become messages.

Little is imported before the signals are handled.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from crnn_cli.errors import CrnnError, Interrupted
from crnn_cli.signals import SignalHandler, handle_signals


def run() -> None:
    """Run the command line.

    Every error that a user can cause ends in one message on stderr and an exit status.
    """
    _fill_closed_streams()
    with handle_signals() as handler:
        try:
            _run(handler)
        except BaseException:
            if not handler.signum:
                raise
            _print_traceback_if_debugging()
            sys.exit(128 + handler.signum)


def _run(handler: SignalHandler) -> None:
    """Run the Typer app and turn its errors into messages."""
    try:
        from crnn_cli.app import app
        from crnn_cli.devices import limit_threads

        limit_threads()
        app()
    except Interrupted as interruption:
        from crnn_cli import console

        console.note(str(interruption))
        sys.exit(interruption.exit_code)
    except CrnnError as fault:
        _fail(str(fault), fault.exit_code)
    except OSError as fault:
        where = f"{fault.filename}: " if fault.filename else ""
        _fail(f"{where}{fault.strerror or fault}", 1)
    except Exception as fault:
        if handler.signum:  # a library that was interrupted may have raised another exception
            raise
        _fail(_unexpected(fault), 1)


def _fill_closed_streams() -> None:
    """Replace closed standard streams by unusable ones, and a missing stderr by the null device.

    Otherwise the next file to be opened would get the number 1 or 2, and output would go into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if number == 0 else os.O_RDONLY)
    if sys.stderr is None:
        from pathlib import Path

        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open to the end


def _unexpected(fault: Exception) -> str:
    """Return the message for an exception that no user should see."""
    if isinstance(fault, ModuleNotFoundError) and fault.name in ("torch", "torchvision"):
        return (
            f"{fault.name} is not installed: pip install {fault.name}, "
            "or take an exported model (.onnx)"
        )
    return (
        f"{type(fault).__name__}: {fault}: this is a fault of crnn itself; "
        "crnn --debug ... shows where"
    )


def _fail(message: str, exit_code: int) -> NoReturn:
    """Print an error message and exit."""
    from crnn_cli import console

    _print_traceback_if_debugging()
    console.error(message)
    sys.exit(exit_code)


def _print_traceback_if_debugging() -> None:
    """Print the traceback of the current exception if --debug was given."""
    if "--debug" in sys.argv[1:]:
        import traceback

        traceback.print_exc()


if __name__ == "__main__":
    run()
