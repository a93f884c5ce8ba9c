"""One run under way: its model, optimizer and counters, a step of it, and what is saved and restored."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from crnn_cli.checkpoint import Header, save
from crnn_cli.config import Precision, TrainConfig
from crnn_cli.core.ctc import ctc_loss, flat_start_loss
from crnn_cli.data.keyed_random import mix
from crnn_cli.data.loading import Batch, Loader
from crnn_cli.data.sampling import Sampler
from crnn_cli.devices import supports_bf16
from crnn_cli.errors import TrainingError, UsageFault
from crnn_cli.plain import short
from crnn_cli.training.batch_transform import BatchTransform
from crnn_cli.training.distributed import World
from crnn_cli.training.optimization import Average, build_optimizer, full_rate, rate_at, set_rate
from crnn_cli.training.run_folder import RunFolder
from crnn_cli.training.setup import Settings, Start, memory_explained
from crnn_cli.training.state import check
from crnn_cli.training.validation import Outcome, validate

_VALIDATION_SHARE = 8  # training steps for each batch validated, where an epoch has so many
_FLAT_SHARE = 0.2  # of a run, after which its flat start is over
_FEWEST_STEPS, _MOST_STEPS = (
    8,
    2000,
)  # between two validations, of a short epoch and of a long one if the share allows
_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_COUNTERS = ("step", "elapsed", "best", "stale", "validated_at", "bad_steps", "pieces")


class Run:
    """A run under way: what is saved and restored, and one step of it.

    Args:
        settings, start, record, world: what to train, from where, kept where, in which processes.
        state: of `RunFolder.load_state`, to go on from.

    Attributes:
        config: of the training, nothing left open: the rate and the precision are those that it really has.
        asked: number of the signal that asked this process to stop, or 0.
        saved_at: when the state was last saved, on the monotonic clock.
    """

    @memory_explained()
    def __init__(
        self,
        settings: Settings,
        start: Start,
        record: RunFolder,
        world: World,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.settings, self.config = settings, resolve(settings.train, world.device)
        self.record, self.world = record, world
        if self.config.batch_size < world.size:
            raise UsageFault(
                f"batch-size is {self.config.batch_size}: take at least one for each of {world.size} processes"
            )
        self.train, self.held = start.train, start.held
        self.model = start.model.to(world.device).to(memory_format=torch.channels_last)
        self.shortcut = nn.Linear(self.model.feature_size, self.model.head.out_features).to(
            world.device
        )
        self.learner = nn.ModuleDict({"model": self.model, "shortcut": self.shortcut})
        self.trained = [p for p in self.learner.parameters() if p.requires_grad]
        self.precision = _PRECISIONS[self.config.precision]
        self.scaler = torch.amp.GradScaler(
            world.device.type, enabled=self.precision == torch.float16
        )
        self.optimizer = build_optimizer(self.learner, self.config)
        self.average = Average(self.model, self.config.ema)
        self.pictures = BatchTransform(self.train, settings.data, self.model.config, world.device)
        if world.leads:
            self.pictures.settle(self.held)
        self.sampler = Sampler(
            self.train.widths,
            self.train.sources,
            _weights(settings),
            self.config.batch_size,
            self.config.seed,
            self.pictures.augmenter.stretch,
        )
        self.loader = Loader(self.train, world.rank, world.size, settings.data.workers)
        self.samples = self.train.digest()
        self.step = self.bad_steps = self.stale = self.validated_at = 0
        self.pieces = 1  # micro-batches a step
        self.elapsed = 0.0
        self.best: float | None = None
        self.asked = self.signum = 0
        self.saved_at = time.monotonic()
        if state is not None:
            self._restore(state)
        self._began = time.monotonic() - self.elapsed

    @property
    def lr(self) -> float:
        """The rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

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

    @property
    def flat(self) -> float:
        """The weight of the flat start, which sinks from 1 to 0."""
        if not self.config.flat_start:
            return 0.0
        return max(0.0, 1 - max(self.step / self.config.flat_start, self.fraction / _FLAT_SHARE))

    @property
    def ending(self) -> bool:
        """Whether there is no further step."""
        return self.fraction >= 1 or 0 < self.config.patience <= self.stale

    @property
    def ended(self) -> bool:
        """Tell whether nothing is left to do, neither a step nor a validation."""
        return self.ending and not self.validation_is_due

    @property
    def validation_is_due(self) -> bool:
        """A function of the steps alone, so that a resumed run validates where one never stopped does."""
        between = steps_between_validations(
            self.sampler.batches, -(-len(self.held) // self.config.batch_size)
        )
        return self.step > self.validated_at and (
            self.ending or self.step - self.validated_at >= between
        )

    def tick(self) -> None:
        """Look at the clock and for signals, in agreement with the other processes."""
        self.elapsed, self.signum = self.world.agree(time.monotonic() - self._began, self.asked)

    def learn(self, batch: Batch) -> tuple[float, list[str]]:
        """One optimizer step; gives the mean loss and, if it was skipped, the samples at fault."""
        set_rate(self.optimizer, rate_at(self.fraction, self.config.warmup, self.config.schedule))
        key = mix(np.uint64(self.config.seed), np.uint64(self.step), np.uint64(self.world.rank))
        torch.manual_seed(int(key[0] >> np.uint64(1)))  # of dropout: resumed runs draw the same
        self.model.train()
        if self.config.freeze == "backbone":
            self.model.backbone.eval()
        before = [buffer.clone() for buffer in self.model.buffers()]
        losses = self._backward(batch, before)
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.trained, self.config.clip)
        self.step += 1
        if bool(norm.isfinite()):  # an infinite loss makes it infinite too, on every process alike
            self.bad_steps = 0
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.average.update(self.model)
            return float(losses.mean()) if len(losses) else float("nan"), []
        self._set_buffers(before)
        self.scaler.update()
        finite = losses.isfinite().tolist()
        if self.scaler.is_enabled() and all(finite):
            return float(losses.mean()), []  # the scale of fp16 was too great and is lower now
        self.bad_steps += 1
        return float("nan"), [
            n for n, fine in zip(batch.names, finite, strict=True) if not fine
        ] or batch.names

    def _set_buffers(self, values: list[Tensor]) -> None:
        """Put batch statistics back as they were before a step that does not count."""
        for buffer, value in zip(self.model.buffers(), values, strict=True):
            buffer.copy_(value)

    def _backward(self, batch: Batch, before: list[Tensor]) -> Tensor:
        """Losses (N,) of this process's part; the gradients of the whole batch's mean loss are left in the model."""
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                losses = torch.cat([self._piece(part) for part in batch.split(self.pieces)])
                break
            except torch.cuda.OutOfMemoryError:
                if self.pieces >= len(batch):
                    raise TrainingError(
                        "CUDA is out of memory with one image at a time: take a smaller --height or backbone"
                    ) from None
            self._set_buffers(before)
            self.pieces *= 2
            torch.cuda.empty_cache()
        count = torch.tensor([float(len(batch))], device=self.world.device)
        for parameter in self.trained:
            if parameter.grad is None:  # of an empty part, or of a layer without a loss
                parameter.grad = torch.zeros_like(parameter)
        gradients = [p.grad for p in self.trained if p.grad is not None]
        self.world.add([*gradients, count])
        torch._foreach_div_(gradients, float(count.clamp(min=1)))
        return losses

    def _piece(self, batch: Batch) -> Tensor:
        """Losses of a micro-batch; their sum is differentiated."""
        if not len(batch):
            return torch.zeros(0)
        device = self.world.device
        images, widths = self.pictures(batch)
        with torch.autocast(device.type, self.precision, enabled=self.precision != torch.float32):
            features, frames = self.model.features(images, widths)
            log_probs, _ = self.model.sequence(features, frames)
        labels, lengths = torch.from_numpy(batch.labels).to(device), torch.from_numpy(batch.lengths)
        losses = ctc_loss(log_probs, frames, labels, lengths, self.config.loss == "focal")
        total = losses.sum()
        if self.config.shortcut or self.flat:
            with torch.autocast(
                device.type, self.precision, enabled=self.precision != torch.float32
            ):
                early = self.shortcut(features).float().log_softmax(2)
            if self.config.shortcut:
                total = (
                    total + self.config.shortcut * ctc_loss(early, frames, labels, lengths).sum()
                )
            if self.flat:
                total = total + self.flat * flat_start_loss(early, frames, labels, lengths).sum()
        self.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        return losses.detach()

    def save_state(self) -> None:
        """Write the state, in the process that leads."""
        if self.world.leads:
            self.record.save_state(self.state())
            self.saved_at = time.monotonic()

    def state(self) -> dict[str, Any]:
        """Everything needed to go on exactly, as tensors and plain values."""
        return {
            "learner": self.learner.state_dict(),
            "average": self.average.model.state_dict(),
            "updates": self.average.updates,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "config": self.model.config.to_dict(),
            "samples": self.samples,
            "settings": asdict(self.config) | {"augment": self.settings.data.augment},
            **{name: getattr(self, name) for name in _COUNTERS},
        }

    def _restore(self, state: dict[str, Any]) -> None:
        fresh = self.state()
        kept = state.get("settings", {})  # none in a state from before they were kept
        own = fresh["settings"].items()
        changed = [
            name for name, value in own if name in kept and short(kept[name]) != short(value)
        ]
        if changed:
            raise TrainingError(
                f"{self.record.config}: differs from what the run began with in {', '.join(changed)}: "
                "bring it back as it was, or begin another run with --init"
            )
        trained = [
            parameter for group in self.optimizer.param_groups for parameter in group["params"]
        ]
        try:
            check(state, fresh, trained, self.config.optimizer)
        except ValueError as fault:
            raise self.record.damaged(str(fault)) from None
        self.learner.load_state_dict(state["learner"])
        self.average.model.load_state_dict(state["average"])
        self.average.updates = state["updates"]
        groups = self.optimizer.state_dict()["param_groups"]
        for group, kept in zip(groups, state["optimizer"]["param_groups"], strict=True):
            group["full_lr"], group["lr"] = group["lr"], kept["lr"]
        self.optimizer.load_state_dict(
            {"state": state["optimizer"]["state"], "param_groups": groups}
        )
        self.scaler.load_state_dict(state["scaler"])
        for name in _COUNTERS:
            setattr(self, name, state[name])

    def validate(self) -> Outcome | None:
        """Read the held-out samples with the averaged weights; None if a signal came meanwhile."""
        return validate(
            self.average.model,
            self.held,
            self.precision,
            self.config.batch_size,
            lambda: self.asked != 0,
        )

    def save_model(self, outcome: Outcome) -> None:
        """Write the model file with the weights that were validated, and the temperature that they then had."""
        record = {
            "step": self.step,
            "images": self.step * self.config.batch_size,
            "minutes": round(self.elapsed / 60, 2),
            "validation": {
                "samples": len(self.held),
                "cer": outcome.cer,
                "accuracy": outcome.accuracy,
            },
            "settings": {
                "data": asdict(self.settings.data),
                "train": asdict(self.config),
                "init": self.settings.init,
            },
            "synthetic": [about for about in self.train.masks if about is not None],
            "torch": torch.__version__,
        }
        config = replace(self.model.config, temperature=outcome.temperature)
        save(self.record.model, Header(config, record), self.average.model.state_dict())


def _weights(settings: Settings) -> list[float] | None:
    weights = [weight for _, weight in settings.data.sources]
    return None if all(w is None for w in weights) else [1.0 if w is None else w for w in weights]


def steps_between_validations(epoch: int, held: int) -> int:
    """An epoch, or less of a long one; but no fewer steps than batches are validated, so that training comes first.

    Args:
        epoch, held: batches of an epoch and of the samples to validate on.
    """
    return max(_FEWEST_STEPS, held, min(epoch, max(_VALIDATION_SHARE * held, _MOST_STEPS)))


def resolve(config: TrainConfig, device: torch.device) -> TrainConfig:
    """`config` with the optimizer's own rate where none is asked for, and "auto" as the precision fast on `device`."""
    fast: Precision = "bf16" if supports_bf16(device) else "fp32"
    precision = fast if config.precision == "auto" else config.precision
    return replace(config, lr=full_rate(config), precision=precision)
