"""A run under way: its model, optimizer and counters, its training step, and its saved state."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from crnn_cli.checkpoint import Header, save
from crnn_cli.core.ctc import ctc_loss, flat_start_loss
from crnn_cli.data.keyed_random import mix
from crnn_cli.data.loading import Batch, Loader
from crnn_cli.data.sampling import Sampler
from crnn_cli.errors import TrainingError, UsageFault
from crnn_cli.training.batch_transform import BatchTransform
from crnn_cli.training.distributed import World
from crnn_cli.training.optimization import (
    ModelEma,
    build_optimizer,
    lr_scale,
    resolve_config,
    scale_lr,
)
from crnn_cli.training.run_folder import RunFolder
from crnn_cli.training.setup import PreparedRun, RunSettings, explain_out_of_memory
from crnn_cli.training.state import changed_settings, check_state
from crnn_cli.training.validation import ValidationResult, steps_between_validations, validate

_FLAT_START_FRACTION = 0.2  # the share of a run by which its flat start is over at the latest
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_COUNTERS = {  # the key in a saved state, and the attribute of `Run`
    "step": "step",
    "elapsed": "elapsed",
    "best": "best",
    "stale": "stale_validations",
    "validated_at": "validated_at",
    "bad_steps": "bad_steps",
    "pieces": "micro_batches",
}


class Run:
    """A run under way, which can take a step, validate, save its state and resume from it.

    Args:
        settings: The settings of the run.
        prepared: The model and the samples with which the run starts.
        run_folder: The files of the run.
        world: The processes of the run.
        state: The saved state to resume, from `RunFolder.load_state`. None for a new run.

    Attributes:
        config: The training settings, with the learning rate and the precision that are used.
        step: The number of steps so far.
        elapsed: The seconds of training so far, over all processes and resumptions alike.
        best: The CER of the best validation, or None before the first.
        validated_at: The step of the last validation.
        stale_validations: The number of validations since the last improvement.
        bad_steps: The number of steps in a row that were skipped.
        micro_batches: The number of parts into which a batch is split, to save memory.
        received_signal: The number of the signal that asked this process to stop, or 0.
        stop_signal: The number of the signal that the processes have agreed to stop for, or 0.
        saved_at: The time at which the state was last saved, on the monotonic clock.
    """

    @explain_out_of_memory()
    def __init__(
        self,
        settings: RunSettings,
        prepared: PreparedRun,
        run_folder: RunFolder,
        world: World,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.settings = settings
        self.config = resolve_config(settings.train, world.device)
        self.run_folder = run_folder
        self.world = world
        if self.config.batch_size < world.size:
            raise UsageFault(
                f"batch-size is {self.config.batch_size}: "
                f"take at least one for each of {world.size} processes"
            )
        self.train = prepared.train
        self.val = prepared.val
        self.samples_digest = self.train.digest()
        self._set_up_optimization(prepared)
        self._set_up_data()
        self.step = 0
        self.elapsed = 0.0
        self.best: float | None = None
        self.validated_at = 0
        self.stale_validations = 0
        self.bad_steps = 0
        self.micro_batches = 1
        self.received_signal = 0
        self.stop_signal = 0
        self.saved_at = time.monotonic()
        if state is not None:
            self._restore(state)
        self._started_at = time.monotonic() - self.elapsed

    def _set_up_optimization(self, prepared: PreparedRun) -> None:
        """Move the model to the device, and make the shortcut head, the optimizer and the EMA."""
        device = self.world.device
        self.model = prepared.model.to(device).to(memory_format=torch.channels_last)
        self.shortcut = nn.Linear(self.model.feature_size, self.model.head.out_features).to(device)
        self.learner = nn.ModuleDict({"model": self.model, "shortcut": self.shortcut})
        self.trained_parameters = [p for p in self.learner.parameters() if p.requires_grad]
        self.dtype = _DTYPES[self.config.precision]
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        self.optimizer = build_optimizer(self.learner, self.config)
        self.ema = ModelEma(self.model, self.config.ema)

    def _set_up_data(self) -> None:
        """Make the batch transform, the sampler and the loader."""
        data = self.settings.data
        self.batch_transform = BatchTransform(
            self.train, data, self.model.config, self.world.device
        )
        if self.world.is_main:
            self.batch_transform.style_validation_masks(self.val)
        self.sampler = Sampler(
            self.train.widths,
            self.train.sources,
            self.settings.source_weights,
            self.config.batch_size,
            self.config.seed,
            self.batch_transform.augmenter.stretch,
        )
        self.loader = Loader(self.train, self.world.rank, self.world.size, data.workers)

    @property
    def lr(self) -> float:
        """The learning rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def total_steps(self) -> int | None:
        """The number of steps of the whole run, or None if only the clock ends it."""
        limits = [(self.config.epochs or 0) * self.sampler.batches, self.config.steps]
        return min((limit for limit in limits if limit), default=None)

    @property
    def fraction(self) -> float:
        """The share of the run that is done, 0 to 1."""
        fractions = []
        if self.total_steps:
            fractions.append(self.step / self.total_steps)
        if self.config.max_minutes:
            fractions.append(self.elapsed / (60 * self.config.max_minutes))
        return min(1.0, max(fractions))

    @property
    def flat_start_weight(self) -> float:
        """The weight of the flat-start loss, which falls from 1 to 0."""
        if not self.config.flat_start:
            return 0.0
        done = max(self.step / self.config.flat_start, self.fraction / _FLAT_START_FRACTION)
        return max(0.0, 1 - done)

    @property
    def no_steps_left(self) -> bool:
        """Return whether the run takes no further step."""
        return self.fraction >= 1 or 0 < self.config.patience <= self.stale_validations

    @property
    def ended(self) -> bool:
        """Return whether nothing is left to do, neither a step nor a validation."""
        return self.no_steps_left and not self.validation_is_due

    @property
    def validation_is_due(self) -> bool:
        """Return whether the next thing to do is a validation.

        It depends on the steps alone, so that a resumed run validates where an unbroken one does.
        """
        val_batches = -(-len(self.val) // self.config.batch_size)
        interval = steps_between_validations(self.sampler.batches, val_batches)
        steps = self.step - self.validated_at
        return steps > 0 and (self.no_steps_left or steps >= interval)

    def sync(self) -> None:
        """Update the clock and the stop signal, in agreement with the other processes."""
        elapsed = time.monotonic() - self._started_at
        self.elapsed, self.stop_signal = self.world.sync_clock(elapsed, self.received_signal)

    def train_step(self, batch: Batch) -> tuple[float, list[str]]:
        """Take an optimizer step on `batch`.

        Returns:
            The mean loss of the batch, or NaN if the step was skipped or this process has no
            sample; and, for a skipped step, the names of the samples that may have caused it.
        """
        scale_lr(self.optimizer, lr_scale(self.fraction, self.config.warmup, self.config.schedule))
        self._seed_dropout()
        self.model.train()
        if self.config.freeze == "backbone":
            self.model.backbone.eval()
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        losses = self._backward(batch, buffers)
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.trained_parameters, self.config.clip)
        self.step += 1
        # A loss that is not finite makes the norm so too, in every process alike.
        if bool(norm.isfinite()):
            self.bad_steps = 0
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.ema.update(self.model)
            return float(losses.mean()) if len(losses) else float("nan"), []
        self._set_buffers(buffers)
        self.scaler.update()
        finite = losses.isfinite().tolist()
        if self.scaler.is_enabled() and all(finite):
            return float(losses.mean()), []  # the scale of fp16 was too large and is now smaller
        self.bad_steps += 1
        names = [name for name, ok in zip(batch.names, finite, strict=True) if not ok]
        return float("nan"), names or batch.names

    def _seed_dropout(self) -> None:
        """Seed torch with the step, so that a resumed run draws the same dropout."""
        key = mix(np.uint64(self.config.seed), np.uint64(self.step), np.uint64(self.world.rank))
        torch.manual_seed(int(key[0] >> np.uint64(1)))

    def _set_buffers(self, values: list[Tensor]) -> None:
        """Restore the batch statistics from before a step that is skipped or repeated."""
        for buffer, value in zip(self.model.buffers(), values, strict=True):
            buffer.copy_(value)

    def _backward(self, batch: Batch, buffers: list[Tensor]) -> Tensor:
        """Compute the gradients of the mean loss over the batches of all processes.

        If the GPU runs out of memory, the batch is split into more micro-batches.

        Args:
            batch: The samples of this process.
            buffers: The batch statistics from before the step.

        Returns:
            The losses of this process's samples, (N,).
        """
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                parts = batch.split(self.micro_batches)
                losses = torch.cat([self._backward_micro_batch(part) for part in parts])
                break
            except torch.cuda.OutOfMemoryError:
                if self.micro_batches >= len(batch):
                    raise TrainingError(
                        "CUDA is out of memory with one image at a time: "
                        "take a smaller --height or backbone"
                    ) from None
            self._set_buffers(buffers)
            self.micro_batches *= 2
            torch.cuda.empty_cache()
        count = torch.tensor([float(len(batch))], device=self.world.device)
        gradients = []
        for parameter in self.trained_parameters:
            if parameter.grad is None:  # the batch is empty, or no loss depends on the layer
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        self.world.all_reduce([*gradients, count])
        torch._foreach_div_(gradients, float(count.clamp(min=1)))
        return losses

    def _backward_micro_batch(self, batch: Batch) -> Tensor:
        """Add the gradients of the summed loss of a micro-batch, and return its losses (N,)."""
        if not len(batch):
            return torch.zeros(0)
        device = self.world.device
        images, widths = self.batch_transform(batch)
        with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            features, frames = self.model.features(images, widths)
            log_probs, _ = self.model.sequence(features, frames)
        labels = torch.from_numpy(batch.labels).to(device)
        lengths = torch.from_numpy(batch.lengths)
        losses = ctc_loss(log_probs, frames, labels, lengths, self.config.loss == "focal")
        total = losses.sum()
        flat_weight = self.flat_start_weight
        if self.config.shortcut or flat_weight:
            with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
                early = self.shortcut(features).float().log_softmax(2)
            if self.config.shortcut:
                shortcut_loss = ctc_loss(early, frames, labels, lengths).sum()
                total = total + self.config.shortcut * shortcut_loss
            if flat_weight:
                flat_loss = flat_start_loss(early, frames, labels, lengths).sum()
                total = total + flat_weight * flat_loss
        self.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        return losses.detach()

    def save_state(self) -> None:
        """Write the state to the run folder, in the main process only."""
        if self.world.is_main:
            self.run_folder.save_state(self.state())
            self.saved_at = time.monotonic()

    def state(self) -> dict[str, Any]:
        """Return everything that an exact resumption needs, as tensors and plain values."""
        counters = {key: getattr(self, attribute) for key, attribute in _COUNTERS.items()}
        return {
            "learner": self.learner.state_dict(),
            "average": self.ema.model.state_dict(),
            "updates": self.ema.updates,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "config": self.model.config.to_dict(),
            "samples": self.samples_digest,
            "settings": asdict(self.config) | {"augment": self.settings.data.augment},
            **counters,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        """Restore a saved state.

        Raises:
            TrainingError: The state is damaged, or is that of a run with other settings.
        """
        fresh = self.state()
        if changed := changed_settings(state.get("settings", {}), fresh["settings"]):
            raise TrainingError(
                f"{self.run_folder.config}: differs from what the run began with in "
                f"{', '.join(changed)}: bring it back as it was, or begin another run with --init"
            )
        parameters = []  # in the order in which the optimizer counts them
        for group in self.optimizer.param_groups:
            parameters.extend(group["params"])
        try:
            check_state(state, fresh, parameters, self.config.optimizer)
        except ValueError as fault:
            raise self.run_folder.damaged_state(str(fault)) from None
        self.learner.load_state_dict(state["learner"])
        self.ema.model.load_state_dict(state["average"])
        self.ema.updates = state["updates"]
        groups = self.optimizer.state_dict()["param_groups"]
        for group, saved in zip(groups, state["optimizer"]["param_groups"], strict=True):
            group["full_lr"] = group["lr"]
            group["lr"] = saved["lr"]
        self.optimizer.load_state_dict(
            {"state": state["optimizer"]["state"], "param_groups": groups}
        )
        self.scaler.load_state_dict(state["scaler"])
        for key, attribute in _COUNTERS.items():
            setattr(self, attribute, state[key])

    def validate(self) -> ValidationResult | None:
        """Validate the averaged weights, and return None if a signal arrives in the meantime."""
        return validate(
            self.ema.model,
            self.val,
            self.dtype,
            self.config.batch_size,
            lambda: self.received_signal != 0,
        )

    def save_model(self, result: ValidationResult) -> None:
        """Write the model file: the weights that were validated, with their temperature."""
        training_record = {
            "step": self.step,
            "images": self.step * self.config.batch_size,
            "minutes": round(self.elapsed / 60, 2),
            "validation": {
                "samples": len(self.val),
                "cer": result.cer,
                "accuracy": result.accuracy,
            },
            "settings": {
                "data": asdict(self.settings.data),
                "train": asdict(self.config),
                "init": self.settings.init,
            },
            "synthetic": [options for options in self.train.masks if options is not None],
            "torch": torch.__version__,
        }
        config = replace(self.model.config, temperature=result.temperature)
        save(self.run_folder.model, Header(config, training_record), self.ema.model.state_dict())
