"""Laws of signals: whenever one comes, the status is its own and no traceback is shown; no process is left behind."""

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


class Ended(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(autouse=True)
def no_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(status: int) -> None:
        raise Ended(status)

    monkeypatch.setattr(os, "_exit", ended)


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
def test_the_first_signal_raises_and_one_that_comes_later_ends_the_process(
    clock: list[float], signum: signal.Signals, kind: type[BaseException]
) -> None:
    handler = SignalHandler()
    with pytest.raises(kind):
        handler(signum, None)
    clock[0] += 0.5
    handler(signum, None)  # sent by a launcher beside the terminal
    clock[0] += 1
    with pytest.raises(Ended, match=str(128 + signum)):
        handler(signum, None)


def test_a_signal_during_an_import_ends_the_process() -> None:
    code = compile("frame = __import__('sys')._getframe()", "<frozen importlib._bootstrap>", "exec")
    found: dict[str, FrameType] = {}
    exec(code, found)
    with pytest.raises(Ended, match="130"):
        SignalHandler()(signal.SIGINT, found["frame"])


@posix
def test_handlers_are_put_back_and_an_ignored_signal_stays_ignored() -> None:
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
    """In an import it becomes an ImportError, in a destructor a traceback."""
    (tmp_path / "slow.py").write_text(
        "import os, signal\n"
        "try: os.kill(os.getpid(), signal.SIGTERM)\n"
        "except BaseException as fault: raise ImportError('as extensions make of it') from fault\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
        timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (status, b"", b"")


def workers_of(process: subprocess.Popen[bytes]) -> list[Path]:
    """The /proc folders of the processes in which it draws."""
    found = []
    for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        with open(f"/proc/{pid}/cmdline", "rb") as line:  # noqa: PTH123
            if b"spawn_main" in line.read():
                found.append(Path("/proc", pid))
    return found


@pytest.mark.skipif(
    not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="/proc of Linux"
)
def test_the_workers_of_synth_end_with_it_and_never_get_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "face.ttf").write_bytes(ImageFont.load_default(32).font_bytes)
    line = ["synth", "-o", "w.lmdb", "-n", "9000", "--fonts", ".", "--workers", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "crnn_cli.main", *line], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        end = time.monotonic() + 120
        while not (workers := workers_of(process)):
            assert time.monotonic() < end
            time.sleep(0.05)
        status = (workers[0] / "status").read_text()
        process.kill()
    blocked = next(
        int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigBlk")
    )
    assert blocked & 1 << (signal.SIGINT - 1)
    while workers[0].exists() and "Z (" not in (workers[0] / "status").read_text():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_workers_end_in_the_midst_of_their_work_where_an_exception_ends_it() -> None:
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Workers(1) as pool:  # noqa: PT012
        running = pool.submit(time.sleep, 600)
        while not running.running():
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert time.monotonic() - begin < 300
    assert not multiprocessing.active_children()
