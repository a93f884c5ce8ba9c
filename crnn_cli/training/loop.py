"""The training loop: `for event in fit(...)` runs it; who iterates draws."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import FrameType

from crnn_cli.data.loading import Batch
from crnn_cli.data.sampling import Draw
from crnn_cli.errors import Interrupted, TrainingError
from crnn_cli.signals import SAME_WISH
from crnn_cli.training.run import Run
from crnn_cli.training.setup import memory_explained
from crnn_cli.training.validation import Outcome

_MOST_BAD_STEPS = 10  # in a row; then something is wrong that waiting does not mend
_STATE_SECONDS = 60  # between two saved states, at least


@dataclass(frozen=True)
class Step:
    """One optimizer step. `fraction`: of the run, done; `loss`: nats a sample; `lr`: as used."""

    step: int
    epoch: int
    fraction: float
    loss: float
    lr: float
    images_per_second: float


@dataclass(frozen=True)
class Validated:
    """A validation of the averaged weights. `loss`: the mean since the last one; `best`: kept as the model."""

    step: int
    epoch: int
    seconds: float
    loss: float
    outcome: Outcome
    best: bool


@dataclass(frozen=True)
class Note:
    """Something the user should know."""

    message: str


Event = Step | Validated | Note


def fit(run: Run) -> Iterator[Event]:
    """Train to the end of the run, or until a signal asks to stop.

    Raises:
        TrainingError: ten steps in a row without a finite gradient, or the memory does not suffice.
        Interrupted: SIGINT or SIGTERM came; the state is saved.
    """
    if run.ended:
        return
    if run.world.leads:
        run.record.forget_after(run.step)
    run.save_state()
    losses: list[float] = []
    with memory_explained(), _signals(run):
        while True:
            if run.validation_is_due:
                yield from _validate(run, losses)
                losses = []
            if run.ending:
                return
            epoch, done = divmod(run.step, run.sampler.batches)
            for event in _steps(run, epoch, run.sampler.epoch(epoch)[done:]):
                if isinstance(event, Step) and math.isfinite(event.loss):
                    losses.append(event.loss)
                yield event


def _steps(run: Run, epoch: int, draws: Sequence[Draw]) -> Iterator[Event]:
    """Steps over `draws`, until a validation is due or the run ends."""
    before = time.perf_counter()
    seconds = 0.0  # a step, smoothed
    with closing(run.loader.load(draws)) as batches:
        for batch in batches:
            pieces = run.pieces
            loss, bad = run.learn(batch)
            run.tick()
            yield from _remarks(run, batch, bad, pieces)
            now = time.perf_counter()
            seconds = 0.9 * seconds + 0.1 * (now - before) if seconds else now - before
            before = now
            yield Step(
                run.step,
                epoch + 1,
                run.fraction,
                loss,
                run.lr,
                run.config.batch_size / max(seconds, 1e-9),
            )
            if run.signum:
                _stop(run)
            if run.ending or run.validation_is_due:
                return
            if time.monotonic() - run.saved_at > _STATE_SECONDS:
                run.save_state()


def _remarks(run: Run, batch: Batch, bad: list[str], pieces: int) -> Iterator[Note]:
    """What a step brought up besides its loss."""
    if batch.unreadable:
        yield Note(
            f"{len(batch.unreadable)} images cannot be read and take no part: {', '.join(batch.unreadable)}"
        )
    if run.pieces > pieces:
        yield Note(
            f"CUDA is out of memory: from here on {run.pieces} micro-batches a step, {-(-len(batch) // run.pieces)} "
            "images each; the effective batch stays"
        )
    if bad:
        yield Note(
            f"step {run.step} skipped: its loss or gradient is not finite; samples: {', '.join(bad[:8])}"
        )
    if run.bad_steps >= _MOST_BAD_STEPS:
        raise TrainingError(
            f"{run.bad_steps} steps in a row had a loss or gradient that is not finite, so training stops at step "
            f"{run.step}: lower --lr (now {run.lr:.2g}), or try --precision fp32"
        )


def _validate(run: Run, losses: list[float]) -> Iterator[Event]:
    outcome = run.validate() if run.world.leads else None
    cer = run.world.share(outcome.cer if outcome else math.nan)
    run.tick()
    if run.signum:
        _stop(run)  # the validation is due again when the run goes on
    run.validated_at = run.step
    best = (
        run.best is None
        or cer <= run.best
        or (run.fraction >= 1 and outcome is not None and _as_good(run, outcome))
    )
    waiting = cer >= 1  # nothing is read yet: no reason to lose patience
    run.stale = 0 if run.best is None or cer < run.best or waiting else run.stale + 1
    run.best = cer if best else run.best
    if outcome is None:
        return
    if best:
        run.save_model(outcome)
    epoch = -(-run.step // run.sampler.batches)
    mean = sum(losses) / len(losses) if losses else None
    run.record.log(
        {
            "step": run.step, "epoch": epoch, "seconds": round(run.elapsed, 1), "loss": mean, "lr": run.lr,
            "cer": outcome.cer, "accuracy": outcome.accuracy, "best": best,
        }
    )  # fmt: skip
    run.save_state()
    yield Validated(run.step, epoch, run.elapsed, math.nan if mean is None else mean, outcome, best)
    if outcome.all_blank and run.step >= 300:
        yield Note(
            f"after {run.step:,} steps every prediction is still blank. CTC often begins so; when the loss no longer "
            "falls, look at the samples (crnn inspect --sheet), try another --lr, or a longer run"
        )


def _as_good(run: Run, outcome: Outcome) -> bool:
    """Whether the model at the end of the run is kept although an earlier one seemed better on the few held samples.

    Its rate is annealed, so it is the better one unless the figures say otherwise by two standard errors.
    """
    return run.best is not None and outcome.cer <= run.best + 2 * outcome.cer_error


def _stop(run: Run) -> None:
    run.save_state()
    raise Interrupted(
        f"stopped at step {run.step:,} by {signal.Signals(run.signum).name}; everything is saved: "
        f"go on with crnn train --resume -o {run.record.model}",
        run.signum,
    )


@contextmanager
def _signals(run: Run) -> Iterator[None]:
    """SIGINT and SIGTERM ask the run to end after the step; one that comes later ends it at once."""
    since = 0.0

    def ask(signum: int, frame: FrameType | None) -> None:
        nonlocal since
        if not run.asked:
            run.asked, since = signum, time.monotonic()
        elif time.monotonic() - since > SAME_WISH:
            signal.signal(signum, previous[signal.Signals(signum)])
            signal.raise_signal(signum)

    if (
        threading.current_thread() is not threading.main_thread()
    ):  # Python allows handlers only there
        yield
        return
    previous = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    for signum in previous:
        signal.signal(signum, ask)
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
