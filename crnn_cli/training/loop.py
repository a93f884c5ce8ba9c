"""The training loop: `for event in fit(...)` runs it; who iterates draws."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from crnn_cli.checkpoint import Header, save
from crnn_cli.config import TrainConfig
from crnn_cli.core.ctc import ctc_loss
from crnn_cli.core.model import CRNN
from crnn_cli.data.augment import Augmenter
from crnn_cli.data.loading import Batch, Loader
from crnn_cli.data.sampling import Sampler
from crnn_cli.devices import supports_bf16
from crnn_cli.errors import Interrupted, TrainingError
from crnn_cli.training.distributed import World
from crnn_cli.training.optimization import Average, build_optimizer, rate_at, set_rate
from crnn_cli.training.record import Record
from crnn_cli.training.start import Settings, Start
from crnn_cli.training.validation import Outcome, validate

_MOST_BAD_STEPS = 10  # in a row; then something is wrong that waiting does not mend
_STATE_SECONDS = 60  # between two saved states, at least
_VALIDATION_SHARE = 8  # training steps for each batch validated, at least


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


class Run:
    """A run under way: what is saved and restored, and one step of it.

    Args:
        settings, start, record, world: what to train, from where, kept where, in which processes.
        state: of `Record.load_state`, to go on from.
    """

    def __init__(
        self, settings: Settings, start: Start, record: Record, world: World, state: dict[str, Any] | None = None
    ) -> None:
        self.settings, self.config, self.record, self.world = settings, settings.train, record, world
        self.train, self.held = start.train, start.held
        device = world.device
        self.model = start.model.to(device).to(memory_format=torch.channels_last)
        self.network = world.wrap(self.model)
        self.precision = resolve_precision(self.config, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == torch.float16)
        self.optimizer = build_optimizer(self.model, self.config)
        self.average = Average(self.model, self.config.ema)
        self.augmenter = Augmenter(settings.data.augment, self.model.config.backbone, device)
        self.sampler = Sampler(
            self.train.widths, self.train.sources, _weights(settings), self.config.batch_size, self.config.seed
        )
        self.loader = Loader(self.train, world.rank, world.size, settings.data.workers)
        self.step = self.bad_steps = self.stale = self.validated_at = 0
        self.pieces = 1  # micro-batches a step
        self.elapsed = 0.0
        self.best: float | None = None
        self.signum = 0
        if state is not None:
            self._restore(state)
        self._resumed_at = time.monotonic() - self.elapsed

    @property
    def total_steps(self) -> int | None:
        """Steps of the whole run, where the clock does not end it first."""
        limits = [(self.config.epochs or 0) * self.sampler.batches, self.config.steps]
        return min((limit for limit in limits if limit), default=None)

    @property
    def fraction(self) -> float:
        """How much of the run is done, 0 to 1."""
        minutes = self.config.max_minutes
        done = [self.step / self.total_steps] if self.total_steps else []
        done += [self.elapsed / (60 * minutes)] if minutes else []
        return min(1.0, max(done))

    def tick(self) -> None:
        """Look at the clock and for signals, in agreement with the other processes."""
        self.elapsed, self.signum = self.world.agree(time.monotonic() - self._resumed_at, self.signum)

    def learn(self, batch: Batch) -> tuple[float, list[str]]:
        """One optimizer step; gives the mean loss and, if it was skipped, the samples at fault."""
        rate = set_rate(self.optimizer, rate_at(self.fraction, self.config.warmup, self.config.schedule))
        self.lr = rate
        self.model.train()
        if self.config.freeze == "backbone":
            self.model.backbone.eval()
        losses = self._backward(batch)
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.step += 1
        if not bool(norm.isfinite()):  # an infinite loss makes it so too, on every process alike
            self.scaler.update()
            self.bad_steps += 1
            bad = [name for name, finite in zip(batch.names, losses.isfinite().tolist(), strict=True) if not finite]
            return float("nan"), bad or batch.names
        self.bad_steps = 0
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update(self.model)
        return float(losses.mean()), []

    def _backward(self, batch: Batch) -> Tensor:
        """Losses (N,) of a batch, its gradients left in the model; in more pieces where memory runs out."""
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                return torch.cat([self._piece(part, len(batch)) for part in batch.split(self.pieces)])
            except torch.cuda.OutOfMemoryError:
                if self.pieces >= len(batch):
                    raise TrainingError(
                        "CUDA is out of memory with one image at a time: take a smaller --height or backbone"
                    ) from None
                self.pieces *= 2
                torch.cuda.empty_cache()

    def _piece(self, batch: Batch, of: int) -> Tensor:
        device = self.world.device
        images, widths = self.augmenter(
            torch.from_numpy(batch.images).to(device), torch.from_numpy(batch.widths), batch.needed, batch.keys
        )
        with torch.autocast(device.type, self.precision, enabled=self.precision != torch.float32):
            log_probs, frames = self.network(images, widths)
        labels, lengths = torch.from_numpy(batch.labels), torch.from_numpy(batch.lengths)
        losses = ctc_loss(log_probs, frames, labels.to(device), lengths, self.config.loss == "focal")
        self.scaler.scale(losses.sum() / of).backward()  # type: ignore[no-untyped-call]
        return losses.detach()

    def state(self) -> dict[str, Any]:
        """Everything needed to go on exactly, as tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state,
            "updates": self.average.updates,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "config": self.model.config.to_dict(),
            "samples": len(self.train),
            **{name: getattr(self, name) for name in _COUNTERS},
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        for name, tensor in state["average"].items():
            self.average.state[name].copy_(tensor)
        self.average.updates = state["updates"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        for name in _COUNTERS:
            setattr(self, name, state[name])

    def validate(self) -> Outcome:
        """Read the held-out samples with the averaged weights."""
        model = self.model
        if self.config.ema:
            model = CRNN(self.model.config).to(self.world.device).to(memory_format=torch.channels_last)
            model.load_state_dict(self.average.state)
        return validate(model, self.held, self.world.device, self.precision)

    def save_model(self, outcome: Outcome) -> None:
        """Write the model file with the weights that were validated."""
        record = {
            "step": self.step,
            "images": self.step * self.config.batch_size,
            "minutes": round(self.elapsed / 60, 2),
            "validation": {"samples": len(self.held), "cer": outcome.cer, "accuracy": outcome.accuracy},
            "settings": {"data": asdict(self.settings.data), "train": asdict(self.config), "init": self.settings.init},
            "torch": torch.__version__,
        }
        state = self.average.state if self.config.ema else self.model.state_dict()
        save(self.record.model, Header(self.model.config, record), state)


_COUNTERS = ("step", "elapsed", "best", "stale", "validated_at", "bad_steps", "pieces")


def _weights(settings: Settings) -> list[float] | None:
    weights = [weight for _, weight in settings.data.sources]
    return None if all(w is None for w in weights) else [1.0 if w is None else w for w in weights]


def resolve_precision(config: TrainConfig, device: torch.device) -> torch.dtype:
    """The type of the forward pass: "auto" is bf16 where the device is fast with it."""
    named = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if config.precision != "auto":
        return named[config.precision]
    return torch.bfloat16 if supports_bf16(device) else torch.float32


def fit(run: Run) -> Iterator[Event]:
    """Train to the end of the run, or until a signal asks to stop.

    Raises:
        TrainingError: ten steps in a row without a finite gradient.
        Interrupted: SIGINT or SIGTERM came; the state is saved.
    """
    saved = time.monotonic()
    losses: list[float] = []
    rate, before = 0.0, saved
    with _signals(run):
        while True:
            epoch, done = divmod(run.step, run.sampler.batches)
            ending = run.fraction >= 1 or _out_of_patience(run)
            if run.step > run.validated_at and (ending or (done == 0 and _validation_is_due(run))):
                yield from _validate(run, losses)
                losses = []
                continue  # patience may have run out
            if ending:
                break
            for batch in run.loader.load(run.sampler.epoch(epoch)[done:]):
                pieces = run.pieces
                loss, bad = run.learn(batch)
                run.tick()
                yield from _remarks(run, batch, bad, pieces)
                losses += [] if bad else [loss]
                now = time.monotonic()
                rate = (
                    (0.9 * rate + 0.1 * run.config.batch_size / (now - before))
                    if rate
                    else run.config.batch_size / (now - before)
                )
                before = now
                yield Step(run.step, epoch, run.fraction, loss, run.lr, rate)
                if run.signum:
                    _stop(run)
                if run.world.leads and time.monotonic() - saved > _STATE_SECONDS:
                    run.record.save_state(run.state())
                    saved = time.monotonic()
                if run.fraction >= 1:
                    break
    if run.world.leads:
        run.record.save_state(run.state())


def _remarks(run: Run, batch: Batch, bad: list[str], pieces: int) -> Iterator[Note]:
    """What a step brought up besides its loss."""
    if batch.unreadable:
        yield Note(f"{len(batch.unreadable)} images cannot be read and take no part: {', '.join(batch.unreadable)}")
    if run.pieces > pieces:
        yield Note(
            f"CUDA is out of memory: from here on {run.pieces} micro-batches a step, {-(-len(batch) // run.pieces)} "
            "images each; the effective batch stays"
        )
    if bad:
        yield Note(f"step {run.step} skipped: its loss or gradient is not finite; samples: {', '.join(bad[:8])}")
    if run.bad_steps >= _MOST_BAD_STEPS:
        raise TrainingError(
            f"{run.bad_steps} steps in a row had a loss or gradient that is not finite, so training stops at step "
            f"{run.step}: lower --lr (now {run.lr:.2g}), or try --precision fp32"
        )


def _validation_is_due(run: Run) -> bool:
    batches = -(-len(run.held) // run.config.batch_size)
    return run.step - run.validated_at >= _VALIDATION_SHARE * batches


def _validate(run: Run, losses: list[float]) -> Iterator[Event]:
    run.validated_at = run.step
    epoch = -(-run.step // run.sampler.batches)  # begun so far
    cer = 0.0
    if run.world.leads:
        outcome = run.validate()
        cer = outcome.cer
    cer = run.world.share(cer)
    best = run.best is None or cer <= run.best
    run.stale = 0 if run.best is None or cer < run.best else run.stale + 1
    run.best = cer if best else run.best
    if not run.world.leads:
        return
    if best:
        run.save_model(outcome)
    mean = sum(losses) / len(losses) if losses else float("nan")
    validated = Validated(run.step, epoch, run.elapsed, mean, outcome, best)
    run.record.log(
        {
            "step": run.step, "epoch": epoch, "seconds": round(run.elapsed, 1), "loss": mean, "lr": run.lr,
            "cer": outcome.cer, "accuracy": outcome.accuracy, "best": best,
        }
    )  # fmt: skip
    yield validated
    if outcome.all_blank and run.step >= 300:
        yield Note(
            f"after {run.step:,} steps every prediction is still blank. CTC often begins so; when the loss no longer "
            "falls, look at the samples (crnn inspect --sheet), try another --lr, or a longer run"
        )


def _out_of_patience(run: Run) -> bool:
    return 0 < run.config.patience <= run.stale


def _stop(run: Run) -> None:
    if run.world.leads:
        run.record.save_state(run.state())
    raise Interrupted(
        f"stopped at step {run.step:,} by {signal.Signals(run.signum).name}; everything is saved: "
        f"go on with crnn train --resume -o {run.record.model}",
        run.signum,
    )


@contextmanager
def _signals(run: Run) -> Iterator[None]:
    """SIGINT and SIGTERM ask the run to end after the step; a second one ends it at once."""

    def ask(signum: int, frame: FrameType | None) -> None:
        run.signum = signum
        signal.signal(signum, previous[signal.Signals(signum)])

    if threading.current_thread() is not threading.main_thread():  # Python allows handlers only there
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
