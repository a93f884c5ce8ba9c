"""The `crnn` script: signals, and the boundary where errors become messages.

Little is imported before the signals are handled.
"""

from __future__ import annotations

import os
import sys

from crnn_cli.errors import CrnnError, Interrupted
from crnn_cli.signals import Ending, handled


def run() -> None:
    """Run the command line. Every error a user can cause ends in one message on stderr and an exit status."""
    _fill_closed_streams()
    with handled() as ending:
        try:
            _run(ending)
        except BaseException:
            if not ending.signum:
                raise
            _debug()
            sys.exit(128 + ending.signum)


def _run(ending: Ending) -> None:
    try:
        from crnn_cli.app import app
        from crnn_cli.devices import bound_threads

        bound_threads()
        app()
    except Interrupted as end:
        from crnn_cli import console

        console.note(str(end))
        sys.exit(end.exit_code)
    except CrnnError as fault:
        _fail(str(fault), fault.exit_code)
    except OSError as fault:
        where = f"{fault.filename}: " if fault.filename else ""
        _fail(f"{where}{fault.strerror or fault}", 1)
    except Exception as fault:
        if ending.signum:  # which an interrupted library may have made of it
            raise
        _fail(_unforeseen(fault), 1)


def _fill_closed_streams() -> None:
    """Put what cannot be used in the place of closed standard streams; without a stderr, messages go nowhere.

    Else the next file to be opened gets the number 1 or 2, and what is printed goes into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if number == 0 else os.O_RDONLY)
    if sys.stderr is None:
        from pathlib import Path

        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open to the end


def _unforeseen(fault: Exception) -> str:
    if isinstance(fault, ModuleNotFoundError) and fault.name in ("torch", "torchvision"):
        return f"{fault.name} is not installed: pip install {fault.name}, or take an exported model (.onnx)"
    return f"{type(fault).__name__}: {fault}: this is a fault of crnn itself; crnn --debug ... shows where"


def _fail(message: str, exit_code: int) -> None:
    from crnn_cli import console

    _debug()
    console.error(message)
    sys.exit(exit_code)


def _debug() -> None:
    if "--debug" in sys.argv[1:]:
        import traceback

        traceback.print_exc()


if __name__ == "__main__":
    run()
