"""Laws of signals: one gives its exit status without a traceback, and leaves no process behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import pytest
from PIL import ImageFont

from crnn_cli import signals
from crnn_cli.signals import SignalHandler, handle_signals
from crnn_cli.synth.workers import Workers

ROOT = Path(__file__).parents[1]
posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


class ProcessEnded(BaseException):
    """The end of the process, raised in place of os._exit."""


@pytest.fixture(autouse=True)
def no_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    def exit_(status: int) -> None:
        raise ProcessEnded(status)

    monkeypatch.setattr(os, "_exit", exit_)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(signals.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("signum", "kind"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)],
    ids=["INT", "TERM"],
)
def test_the_first_signal_raises_and_a_later_one_ends_the_process(
    clock: list[float], signum: signal.Signals, kind: type[BaseException]
) -> None:
    handler = SignalHandler()
    with pytest.raises(kind):
        handler(signum, None)
    clock[0] += 0.5
    handler(signum, None)  # sent by a launcher beside the terminal
    clock[0] += 1
    with pytest.raises(ProcessEnded, match=str(128 + signum)):
        handler(signum, None)


def test_a_signal_during_an_import_ends_the_process() -> None:
    code = compile("frame = __import__('sys')._getframe()", "<frozen importlib._bootstrap>", "exec")
    names: dict[str, FrameType] = {}
    exec(code, names)
    with pytest.raises(ProcessEnded, match="130"):
        SignalHandler()(signal.SIGINT, names["frame"])


@posix
def test_handlers_are_restored_and_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with handle_signals() as handler:
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is handler
        assert signal.getsignal(signal.SIGTERM) is not handler
    finally:
        signal.signal(signal.SIGINT, before)


SWALLOWED = """
import os, signal, sys
from crnn_cli import main, signals
class Late:
    def __del__(self): os.kill(os.getpid(), signal.SIGINT)
with signals.handle_signals():
    late = Late()
    del late
    print("goes on")
"""
IMPORTED = """
import sys
sys.path.insert(0, "."); sys.argv[1:] = ["lm"]
import crnn_cli.app
crnn_cli.app._command = lambda verb: __import__("slow")
from crnn_cli.main import run
run()
"""


@posix
@pytest.mark.parametrize(
    ("program", "status"), [(SWALLOWED, 130), (IMPORTED, 143)], ids=["destructor", "import"]
)
def test_an_exception_that_would_be_lost_ends_the_process_without_a_word(
    tmp_path: Path, program: str, status: int
) -> None:
    """An exception becomes an ImportError in an import, and a traceback in a destructor."""
    (tmp_path / "slow.py").write_text(
        "import os, signal\n"
        "try: os.kill(os.getpid(), signal.SIGTERM)\n"
        "except BaseException as fault: raise ImportError('as extensions make of it') from fault\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, b"", b"")


def workers_of(process: subprocess.Popen[bytes]) -> list[Path]:
    """Return the /proc folders of the worker processes of `crnn synth`."""
    folders = []
    for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        with open(f"/proc/{pid}/cmdline", "rb") as line:  # noqa: PTH123
            if b"spawn_main" in line.read():
                folders.append(Path("/proc", pid))
    return folders


@pytest.mark.skipif(
    not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="/proc of Linux"
)
def test_the_workers_of_synth_end_with_it_and_never_get_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "face.ttf").write_bytes(ImageFont.load_default(32).font_bytes)
    line = ["synth", "-o", "w.lmdb", "-n", "9000", "--fonts", ".", "--workers", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "crnn_cli.main", *line],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    ) as process:
        end = time.monotonic() + 120
        while not (workers := workers_of(process)):
            assert time.monotonic() < end
            time.sleep(0.05)
        status = (workers[0] / "status").read_text()
        process.kill()
    masks = dict(line.split(":", 1) for line in status.splitlines())
    blocked = int(masks["SigBlk"], 16)
    assert blocked & 1 << (signal.SIGINT - 1)
    while workers[0].exists() and "Z (" not in (workers[0] / "status").read_text():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_an_exception_ends_workers_in_the_middle_of_their_work() -> None:
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Workers(1) as pool:  # noqa: PT012
        running = pool.submit(time.sleep, 600)
        while not running.running():
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert time.monotonic() - start < 300
    assert not multiprocessing.active_children()
