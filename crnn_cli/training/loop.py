"""The training loop: `for event in fit(run)` trains, and the caller shows the events."""

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
from crnn_cli.signals import SAME_REQUEST_SECONDS
from crnn_cli.training.run import Run
from crnn_cli.training.setup import explain_out_of_memory
from crnn_cli.training.validation import ValidationResult

_MAX_BAD_STEPS = 10  # in a row: further steps would not cure the cause
_MIN_SECONDS_BETWEEN_STATES = 60


@dataclass(frozen=True)
class Step:
    """An optimizer step.

    Attributes:
        step: The number of steps of the run so far.
        epoch: The number of the epoch, counted from 1.
        fraction: The share of the run that is done, 0 to 1.
        loss: The mean loss of a sample in nats, or NaN if the step was skipped.
        lr: The learning rate of the step.
        images_per_second: The speed, smoothed over the last steps.
    """

    step: int
    epoch: int
    fraction: float
    loss: float
    lr: float
    images_per_second: float


@dataclass(frozen=True)
class Validated:
    """A validation of the averaged weights.

    Attributes:
        step: The number of steps of the run so far.
        epoch: The number of the epoch, counted from 1.
        seconds: The time that the run has taken so far.
        loss: The mean training loss since the previous validation in nats, or NaN.
        result: The figures over the validation samples.
        best: Whether these weights were saved as the model.
    """

    step: int
    epoch: int
    seconds: float
    loss: float
    result: ValidationResult
    best: bool


@dataclass(frozen=True)
class Note:
    """A message that the user should see."""

    message: str


Event = Step | Validated | Note


def fit(run: Run) -> Iterator[Event]:
    """Train to the end of the run, or until a signal stops it, and yield events.

    Raises:
        TrainingError: Ten steps in a row had no finite gradient, or the memory does not suffice.
        Interrupted: SIGINT or SIGTERM stopped the run. Its state is saved.
    """
    if run.ended:
        return
    if run.world.is_main:
        run.run_folder.truncate_log(run.step)
    run.save_state()
    losses: list[float] = []
    with explain_out_of_memory(), _stop_on_signals(run):
        while True:
            if run.validation_is_due:
                yield from _validate(run, losses)
                losses = []
            if run.no_steps_left:
                return
            epoch, done = divmod(run.step, run.sampler.batches)
            for event in _train(run, epoch, run.sampler.epoch(epoch)[done:]):
                if isinstance(event, Step) and math.isfinite(event.loss):
                    losses.append(event.loss)
                yield event


def _train(run: Run, epoch: int, draws: Sequence[Draw]) -> Iterator[Event]:
    """Take a step for each draw until a validation is due or the run ends, and yield events."""
    last = time.perf_counter()
    seconds = 0.0  # the duration of a step, smoothed
    with closing(run.loader.load(draws)) as batches:
        for batch in batches:
            micro_batches = run.micro_batches
            loss, bad_samples = run.train_step(batch)
            run.sync()
            yield from _step_notes(run, batch, bad_samples, micro_batches)
            now = time.perf_counter()
            seconds = 0.9 * seconds + 0.1 * (now - last) if seconds else now - last
            last = now
            yield Step(
                step=run.step,
                epoch=epoch + 1,
                fraction=run.fraction,
                loss=loss,
                lr=run.lr,
                images_per_second=run.config.batch_size / max(seconds, 1e-9),
            )
            if run.stop_signal:
                _stop(run)
            if run.no_steps_left or run.validation_is_due:
                return
            if time.monotonic() - run.saved_at > _MIN_SECONDS_BETWEEN_STATES:
                run.save_state()


def _step_notes(
    run: Run, batch: Batch, bad_samples: list[str], micro_batches: int
) -> Iterator[Note]:
    """Yield notes on what went wrong in a step.

    Args:
        run: The run after the step.
        batch: The batch of the step.
        bad_samples: The names of samples for which the step was skipped.
        micro_batches: The number of micro-batches before the step.

    Raises:
        TrainingError: Too many steps in a row were skipped.
    """
    if batch.unreadable:
        yield Note(
            f"{len(batch.unreadable)} images cannot be read and take no part: "
            f"{', '.join(batch.unreadable)}"
        )
    if run.micro_batches > micro_batches:
        images = -(-len(batch) // run.micro_batches)
        yield Note(
            f"CUDA is out of memory: from here on {run.micro_batches} micro-batches a step, "
            f"{images} images each; the effective batch stays"
        )
    if bad_samples:
        yield Note(
            f"step {run.step} skipped: its loss or gradient is not finite; "
            f"samples: {', '.join(bad_samples[:8])}"
        )
    if run.bad_steps >= _MAX_BAD_STEPS:
        raise TrainingError(
            f"{run.bad_steps} steps in a row had a loss or gradient that is not finite, so "
            f"training stops at step {run.step}: lower --lr (now {run.lr:.2g}), "
            "or try --precision fp32"
        )


def _validate(run: Run, losses: list[float]) -> Iterator[Event]:
    """Validate the averaged weights, keep them if they are the best so far, and yield events."""
    result = run.validate() if run.world.is_main else None
    cer = run.world.broadcast(result.cer if result else math.nan)
    run.sync()
    if run.stop_signal:
        _stop(run)  # the validation is due again when the run is resumed
    run.validated_at = run.step
    best = _update_best(run, cer, result)
    if result is None:
        return
    if best:
        run.save_model(result)
    epoch = -(-run.step // run.sampler.batches)
    loss = sum(losses) / len(losses) if losses else None
    run.run_folder.log(
        {
            "step": run.step,
            "epoch": epoch,
            "seconds": round(run.elapsed, 1),
            "loss": loss,
            "lr": run.lr,
            "cer": result.cer,
            "accuracy": result.accuracy,
            "best": best,
        }
    )
    run.save_state()
    yield Validated(run.step, epoch, run.elapsed, math.nan if loss is None else loss, result, best)
    if result.all_blank and run.step >= 300:
        yield Note(
            f"after {run.step:,} steps every prediction is still blank. CTC often begins so; when "
            "the loss no longer falls, look at the samples (crnn inspect --sheet), try another "
            "--lr, or a longer run"
        )


def _update_best(run: Run, cer: float, result: ValidationResult | None) -> bool:
    """Record the CER of a validation and return whether its weights are the best so far.

    The result is None in all processes except the main one.
    """
    best = run.best is None or cer <= run.best
    if not best and run.fraction >= 1 and result is not None:
        best = _is_within_error(run, result)
    reads_nothing = cer >= 1  # a model at the very beginning does not exhaust the patience
    if run.best is None or cer < run.best or reads_nothing:
        run.stale_validations = 0
    else:
        run.stale_validations += 1
    if best:
        run.best = cer
    return best


def _is_within_error(run: Run, result: ValidationResult) -> bool:
    """Return whether the model at the end of a run is as good as the best one before it.

    The learning rate of the last steps is annealed, so the last model is considered the better one
    unless its CER on the few validation samples is higher by more than two standard errors.
    """
    return run.best is not None and result.cer <= run.best + 2 * result.cer_error


def _stop(run: Run) -> None:
    """Save the state and raise `Interrupted`."""
    run.save_state()
    raise Interrupted(
        f"stopped at step {run.step:,} by {signal.Signals(run.stop_signal).name}; "
        f"everything is saved: go on with crnn train --resume -o {run.run_folder.model}",
        run.stop_signal,
    )


@contextmanager
def _stop_on_signals(run: Run) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the run after its step, and a later signal end it at once."""
    received_at = 0.0

    def request_stop(signum: int, _frame: FrameType | None) -> None:
        nonlocal received_at
        if not run.received_signal:
            run.received_signal = signum
            received_at = time.monotonic()
        elif time.monotonic() - received_at > SAME_REQUEST_SECONDS:
            signal.signal(signum, previous[signal.Signals(signum)])
            signal.raise_signal(signum)

    if threading.current_thread() is not threading.main_thread():
        yield  # Python allows handlers in the main thread only
        return
    previous = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    for signum in previous:
        signal.signal(signum, request_stop)
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
