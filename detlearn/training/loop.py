"""One trainer for every detector of the book.

AdamW, a linear warm-up, a cosine down to zero, clipped gradients, an average of the weights: all
model families share them, so that a comparison compares models. Everything random at a step (which
images, how they are augmented, what the model draws) is a function of the seed and the step's
number alone. Hence a run that was killed continues from its last checkpoint to the very weights of
an uninterrupted one, and several processes see together what one would have seen.

Sources: AdamW (Loshchilov and Hutter 2019); cosine schedule (Loshchilov and Hutter 2017); warm-up
(Goyal et al. 2017); averaging of weights along the trajectory (Polyak and Juditsky 1992).
"""

from __future__ import annotations

import itertools
import json
import math
import signal
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset

from detlearn.data.transforms import Transform, flip
from detlearn.machine import distributed
from detlearn.machine.checkpoints import load_tensors, save_tensors
from detlearn.machine.hardware import default_device, has_native_bfloat16
from detlearn.machine.interrupts import hold_back_interrupt
from detlearn.machine.progress import progress_bar
from detlearn.metrics import evaluate
from detlearn.models.point import PointDetector
from detlearn.training.history import History
from detlearn.training.identity import describe, describe_data, describe_groups, describe_model
from detlearn.training.multi_scale import MultiScale, batch_size_for, complete
from detlearn.training.recipes import RECIPES
from detlearn.training.steps import BrokenSample, StepBatches, seeded

WARMUP_STEPS = 50
# AdamW averages squared gradients over about 1 / (1 − 0.98) = 50 steps. The usual 0.999 looks back
# over 1000, which is all that a training of a minute has.
BETAS = (0.9, 0.98)
CHECKPOINT_EVERY = 50  # steps


def fit(
    model: nn.Module,
    train: Dataset,
    val: Dataset | None = None,
    *,
    epochs: float | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    batch_size: int = 16,
    lr: float = 2e-3,
    weight_decay: float = 1e-4,
    clip_norm: float = 10.0,
    lr_warmup: int = WARMUP_STEPS,
    device: torch.device | str | None = None,
    amp: bool | None = None,
    seed: int = 0,
    progress: bool = True,
    checkpoint: str | Path | None = None,
    augment: Transform | None = flip,
    ema: float | None = 0.995,
    param_groups: Iterable[dict[str, Any]] | None = None,
    multi_scale: MultiScale | Sequence | None = None,
    workers: int = 0,
    after_step: Callable[[int, nn.Module], None] | None = None,
    backbone_steps: int = 0,
    longer: bool = False,
) -> History:
    """Train a detector.

    Args:
        model: in training mode ``model(images, targets)`` returns a dict of scalars whose sum is
            the loss: every detector of the package, and torchvision's.
        train: samples ``(image, target)``.
        val: if given, COCO AP on it is computed at the end and kept in the history.
        epochs, steps, minutes: how long; give exactly one. With ``minutes`` the result depends on
            the machine's speed; they include the backbone's steps, the other two do not.
        batch_size: images of a step, over all processes.
        lr: the peak learning rate.
        weight_decay: AdamW's.
        clip_norm: gradients are scaled down to this norm if they exceed it.
        lr_warmup: steps in which the learning rate rises to its peak.
        device: the GPU if there is one, by default.
        amp: bfloat16 autocast; by default where the hardware multiplies bfloat16 itself.
        seed: decides order, augmentation and what the model draws, not its initial weights.
        progress: show a bar.
        checkpoint: a file to continue from if it exists, written every 50 steps and at the end;
            and after the step in which Ctrl-C was pressed. A second Ctrl-C stops at once.
        augment: transform of a training sample; mirrors half of them by default.
        ema: decay of the averaged weights that the model has in the end; None keeps the last ones.
        param_groups: AdamW's parameter groups with learning rates of their own.
        multi_scale: a `MultiScale`, or ``(sizes, k)``: every k steps another image size, and as
            many images as take the memory of ``batch_size`` at the middle one.
        workers: processes that load images; 0 loads them in this one.
        after_step: called after each step with its number and the model that a training which
            ended there would leave, in eval mode; it may ask the model, not change it.
        backbone_steps: steps before all others, in which the backbone alone learns; see `warm_up`.
        longer: the training in ``checkpoint`` may have been planned with fewer steps; see
            `longer_in_words` for what that does to the learning rate.

    Returns:
        The `History`. The model is left in eval mode on ``device``.

    Raises:
        ValueError: on settings that cannot be, a checkpoint of another training, or minutes that
            the backbone's steps use up.
        BrokenSample: a ValueError, if a sample cannot be read or is not finite.
        FloatingPointError: if the loss is no longer finite.
        OSError: if a checkpoint cannot be written; the one before stays.
        KeyboardInterrupt: after Ctrl-C, in the end of a step; it says where the checkpoint is.
    """
    device = torch.device(device) if device else default_device()
    joined_group = distributed.join_process_group(device)
    try:
        _check_length(epochs, steps, minutes)
        _check_batch(train, batch_size)
        _check_recipe(lr, lr_warmup, clip_norm, ema)
        if multi_scale is not None:
            multi_scale = complete(multi_scale)
            _check_multi_scale(multi_scale, batch_size, model)
        batches = StepBatches(train, batch_size, seed, augment, multi_scale)

        # All that decides the result. A checkpoint continues only under the same settings.
        settings = {
            "total": steps if epochs is None else batches.num_steps(epochs),
            "minutes": minutes,
            "batch_size": batch_size,
            "lr": lr,
            "seed": seed,
            "ema": ema,
            "weight_decay": weight_decay,
            "clip_norm": clip_norm,
            "train_images": len(train),
            "multi_scale": multi_scale and [list(multi_scale.sizes), *multi_scale[1:]],
            "lr_warmup": lr_warmup,
            "backbone_steps": backbone_steps,
        }
        if checkpoint is not None:
            settings["data"] = describe_data(train)
            settings["augment"] = describe(augment)
            settings["model"] = describe_model(model)
        resumes = _checkpoint_exists(checkpoint, device)
        amp = has_native_bfloat16(device) if amp is None else amp

        # The backbone first, unless a checkpoint knows what comes of it.
        history = History()
        if backbone_steps and not resumes:
            warmed = warm_up(
                model,
                train,
                steps=backbone_steps,
                batch_size=batch_size,
                device=device,
                amp=amp,
                seed=seed,
                progress=progress,
                checkpoint=backbone_file(checkpoint),
                augment=augment,
                workers=workers,
            )
            # The same in all processes, which are to stop after the same step.
            seconds = distributed.mean_over_processes(warmed.seconds, device)
            _check_time_left(minutes, seconds)
            history = History(seconds=seconds, backbone_seconds=seconds)

        # Convolutions on a CPU, and in reduced precision on a GPU, want channels innermost;
        # models/images.py says how many digits that costs.
        model.to(device, memory_format=torch.channels_last)
        model.train()
        distributed.share_batch_norm(model, distributed.world_size() > 1)
        optimizer = torch.optim.AdamW(
            list(param_groups or model.parameters()),
            lr=lr,
            betas=BETAS,
            weight_decay=weight_decay,
            fused=True,
        )
        groups = None if param_groups is None else describe_groups(optimizer.param_groups)
        settings["param_groups"] = groups
        trainer = Trainer(model, optimizer, settings, device, amp, history)

        # Go on where an earlier call was stopped, if there was one.
        finished = trainer.load(checkpoint, longer) if resumes else False

        if not finished:
            _run(trainer, batches, checkpoint, workers, progress, after_step)

        # The averaged weights are those that the caller wanted.
        if trainer.averaged is not None:
            model.load_state_dict(trainer.averaged.module.state_dict())
        model.eval()

        if not finished and val is not None:
            # Measuring may take long, and what stops it shall not cost the last steps.
            if checkpoint is not None and distributed.rank() == 0:
                trainer.save(checkpoint)

            metrics = evaluate(model, val, batch_size=batch_size, progress=progress)
            scores = {"ap": metrics.ap, "ap50": metrics.ap50, "ap75": metrics.ap75}
            trainer.history.val.append((trainer.steps_done, scores))

        if not finished and checkpoint is not None and distributed.rank() == 0:
            trainer.save(checkpoint, finished=True)
            backbone_file(checkpoint).unlink(missing_ok=True)  # now that nobody needs it
        return trainer.history
    finally:
        distributed.share_batch_norm(model, False)
        if joined_group:
            torch.distributed.destroy_process_group()


def warm_up(
    model: nn.Module,
    train: Dataset,
    *,
    steps: int,
    batch_size: int = 16,
    device: torch.device | str | None = None,
    amp: bool | None = None,
    seed: int = 0,
    progress: bool = True,
    checkpoint: str | Path | None = None,
    augment: Transform | None = flip,
    workers: int = 0,
) -> History:
    """Train a detector's backbone alone, as part of the point detector of chapter 1.

    Where a detector's own loss says little in the beginning, as DETR's does, its backbone learns
    faster from a dense one, in which every location answers for itself. DETR's authors start from a
    backbone that was trained to classify the images of ImageNet (Carion et al. 2020, §4); we have
    none of this size, and warm up ours on the scenes at hand. The weights stay in the detector;
    the head that they were trained under is thrown away. All numbers but the steps are those of
    chapter 1's recipe.

    Args:
        model: has ``num_classes``, ``batcher``, and a ``backbone`` with ``out_channels`` and
            ``strides``.
        train: samples ``(image, target)``.
        steps: how long.
        batch_size, device, amp, seed, progress, checkpoint, augment, workers: see `fit`. The seed
            decides the head's initial weights, too.

    Returns:
        The `History` of these steps. The backbone is left in eval mode on ``device``.

    Raises:
        ValueError: for a model without such a backbone, and as `fit` does.
    """
    _check_backbone(steps, model)
    with seeded(seed, 0):  # the caller's generator stays where it is
        teacher = PointDetector(model.num_classes, model.backbone, batcher=model.batcher)

    recipe = RECIPES["point"]
    return fit(
        teacher,
        train,
        steps=steps,
        batch_size=batch_size,
        lr=recipe.lr,
        lr_warmup=recipe.lr_warmup,
        clip_norm=recipe.clip_norm,
        ema=recipe.ema,
        device=device,
        amp=amp,
        seed=seed,
        progress=progress,
        checkpoint=checkpoint,
        augment=augment,
        workers=workers,
    )


def backbone_file(checkpoint: str | Path | None) -> Path | None:
    """Return where the backbone's steps are kept: ``a.backbone.safetensors`` beside an ``a``."""
    if checkpoint is None:
        return None
    path = Path(checkpoint)
    return path.with_name(f"{path.stem}.backbone{path.suffix}")


def _run(
    trainer: Trainer,
    batches: StepBatches,
    checkpoint: str | Path | None,
    workers: int,
    progress: bool,
    after_step: Callable[[int, nn.Module], None] | None,
) -> None:
    """Take steps until the training is done."""
    history = trainer.history
    first, total = trainer.steps_done, trainer.settings["total"]

    # A batch is a function of its step's number, so the loader needs nothing but the numbers.
    step_numbers = itertools.count(first) if total is None else range(first, total)
    loader = DataLoader(
        batches,
        batch_size=None,  # what `StepBatches` returns is a batch already
        sampler=step_numbers,
        num_workers=workers,
        worker_init_fn=_ignore_interrupts,
        generator=torch.Generator(),  # the loader would draw from the caller's
    )

    is_first_process = distributed.rank() == 0
    show_bar = progress and is_first_process
    start = time.perf_counter() - history.seconds  # as if all runs were one
    bar = progress_bar(total, "training", show=show_bar, initial=first, unit="step")

    # Ctrl-C waits for the end of the step, if there is something to write then.
    with bar, hold_back_interrupt(checkpoint is not None) as interrupted:
        for images, targets in _load(loader):
            trainer.step(images, targets)
            history.images = batches.first_position(trainer.steps_done)  # of all processes
            history.images += trainer.settings["backbone_steps"] * trainer.settings["batch_size"]
            history.seconds = time.perf_counter() - start

            speed = f"{history.images / history.seconds:.0f}"
            bar.set_postfix({"loss": f"{history.total[-1]:.3f}", "images/s": speed}, refresh=False)
            bar.update()

            if after_step is not None:
                trainer.show(after_step)

            # Ctrl-C does not reach all processes in the same step; they stop after the same one.
            stops = distributed.any_process(interrupted(), trainer.device)
            is_due = trainer.steps_done % CHECKPOINT_EVERY == 0
            if checkpoint is not None and (is_due or stops) and is_first_process:
                trainer.save(checkpoint)
            if stops:
                distributed.wait_for_all()  # where one ends, torchrun ends the others, mid-writing
                raise KeyboardInterrupt(
                    f"stopped after step {trainer.steps_done}, which {checkpoint} holds; the same "
                    "call goes on from there"
                )

            if trainer.progress() >= 1:
                break


def _load(loader: DataLoader) -> Iterator[tuple[list[Tensor], list[dict[str, Tensor]]]]:
    """Pass on what is loaded; of an error the sentence alone."""
    try:
        yield from loader
    except BrokenSample as error:
        # From another process it comes with that one's traceback in front, which is kept as cause.
        raise BrokenSample(str(error).rpartition("BrokenSample: ")[2]) from error


def _ignore_interrupts(worker: int) -> None:
    """Leave Ctrl-C, which a terminal sends to the processes that load images too, to the first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Trainer:
    """All that changes during a training: one step of it, and its way into a file and back.

    Args:
        model: in training mode, on the device.
        optimizer: of its parameters, with the peak learning rates.
        settings: what a checkpoint must agree with; see `fit`.
        device: where the model is.
        amp: compute in bfloat16 where torch's autocast does.
        history: to which the steps are added; an empty one by default.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        settings: dict[str, Any],
        device: torch.device,
        amp: bool,
        history: History | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.settings = settings
        self.device = device
        self.amp = amp

        self.history = history or History()
        self.steps_done = 0
        self.peak_lrs = [group["lr"] for group in optimizer.param_groups]

        # An average with decay 0 is the last weights: no need to keep one.
        self.averaged: AveragedModel | None = None
        if settings["ema"]:
            update = averaging(settings["ema"])
            self.averaged = AveragedModel(model, multi_avg_fn=update, use_buffers=True)

        # Several processes average their gradients in backward().
        several = distributed.world_size() > 1
        self.replica = DistributedDataParallel(model) if several else model

    def progress(self) -> float:
        """Return the share of the training that is done, 0 to 1, the same in all processes."""
        minutes = self.settings["minutes"]
        if minutes is None:
            return self.steps_done / self.settings["total"]

        # Each process has a clock of its own; all must stop after the same step.
        seconds = distributed.mean_over_processes(self.history.seconds, self.device)
        before = self.history.backbone_seconds
        return (seconds - before) / (60 * minutes - before)

    def step(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> None:
        """Take one step of gradient descent on a batch and log it in the history."""
        # Parameter groups keep the ratio of their learning rates.
        factor = lr_factor(self.steps_done, self.progress(), self.settings["lr_warmup"])
        for group, peak in zip(self.optimizer.param_groups, self.peak_lrs):
            group["lr"] = peak * factor

        images = [image.to(self.device, non_blocking=True) for image in images]
        targets = [
            {name: value.to(self.device) for name, value in target.items()} for target in targets
        ]

        # What the model draws at random depends on the step's number, not on what was drawn before.
        gpus = [self.device] if self.device.type == "cuda" else []
        with (
            seeded(self.settings["seed"], self.steps_done, gpus),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp),
        ):
            losses = self.replica(images, targets)

        # All terms in one transfer: on a GPU each waits until everything before it is computed.
        values = dict(zip(losses, torch.stack(list(losses.values())).tolist()))

        self.optimizer.zero_grad()
        sum(losses.values()).backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings["clip_norm"])

        # A finite loss may have a gradient that is not; one step with it ruins all weights. Checked
        # after backward(), so that all processes see the same gradient and stop together.
        self._check_finite({**values, "norm of the gradient": float(norm)})
        self.optimizer.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)

        self.steps_done += 1
        self.history.log(self.steps_done, values, self.optimizer.param_groups[0]["lr"])

    def show(self, after_step: Callable[[int, nn.Module], None]) -> None:
        """Hand over the model as it would be if the training ended now; then go on with it."""
        model = self.model if self.averaged is None else self.averaged.module
        was_training = model.training

        model.eval()
        after_step(self.steps_done, model)
        model.train(was_training)

    def _check_finite(self, values: dict[str, float]) -> None:
        if not all(math.isfinite(value) for value in values.values()):
            lr = self.optimizer.param_groups[0]["lr"]
            raise FloatingPointError(
                f"the loss is not finite at step {self.steps_done + 1}: {values}, learning rate "
                f"{lr:.2g}. Try a lower lr, a smaller clip_norm, or amp=False; and look at the "
                "images and boxes of this batch: StepBatches(train, batch_size, seed)[step - 1]"
            )

    def save(self, path: str | Path, finished: bool = False) -> None:
        """Write everything to a file, atomically."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        if self.averaged is not None:
            for name, value in self.averaged.state_dict().items():
                tensors[f"averaged.{name}"] = value

        for index, state in self.optimizer.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"optimizer.{index}.{name}"] = value

        info = {
            "settings": self.settings,
            "steps_done": self.steps_done,
            "finished": finished,
            "history": asdict(self.history),
        }
        save_tensors(path, tensors, info)

    def load(self, path: str | Path, longer: bool = False) -> bool:
        """Continue from a file that `save` wrote.

        Args:
            path: the file; it stays as it is.
            longer: the number of steps may be another one.

        Returns:
            True if the training in it is finished.

        Raises:
            ValueError: if it is no state of a training, or one of another training or model.
        """
        tensors, info = load_tensors(path)
        if not info.keys() >= {"settings", "steps_done", "finished", "history"}:
            raise ValueError(f"{path} holds no state of a training; give another path")
        settings, finished = info["settings"], info["finished"]
        if longer and settings.get("total") != self.settings["total"]:
            settings, finished = {**settings, "total": self.settings["total"]}, False
        _check_same_settings(path, settings, self.settings)

        # "model.backbone.0.weight" is "backbone.0.weight" of the part "model".
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "averaged": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, key = name.split(".", 1)
            parts[part][key] = tensor

        try:
            self.model.load_state_dict(parts["model"])
        except RuntimeError as error:
            raise ValueError(f"the checkpoint {path} is of another model: {error}") from error
        if self.averaged is not None:
            self.averaged.load_state_dict(parts["averaged"])
        self._load_optimizer(parts["optimizer"])

        self.steps_done = info["steps_done"]
        self.history = History(**info["history"])
        # JSON knows no tuples.
        self.history.val = [(step, scores) for step, scores in self.history.val]
        return finished

    def _load_optimizer(self, tensors: dict[str, Tensor]) -> None:
        """Restore AdamW's averages from tensors named "index of the weight.name"."""
        weights = [p for group in self.optimizer.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            index, key = name.split(".", 1)
            if tensor.ndim > 0:
                # In the weight's own memory layout, which the fused optimizer takes for granted.
                tensor = torch.empty_like(weights[int(index)]).copy_(tensor)
            state.setdefault(int(index), {})[key] = tensor

        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})


def lr_factor(step: int, progress: float, warmup: int = WARMUP_STEPS) -> float:
    """Return the share of the full learning rate: a line up, times a half cosine down to zero.

    Args:
        step: steps done.
        progress: share of the training done, 0 to 1.
        warmup: steps of the warm-up.

    Returns:
        A number in [0, 1].
    """
    line_up = min(1.0, (step + 1) / warmup)
    cosine_down = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return line_up * cosine_down


def averaging(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor], None]:
    """Return the update of the averaged weights, in the form that `AveragedModel` calls.

    Args:
        decay: d in average ← d · average + (1 − d) · weights, in the long run.
    """

    def update(averages: list[Tensor], values: list[Tensor], updates: Tensor) -> None:
        # Counters of batch normalisation have no average.
        if not averages[0].is_floating_point():
            torch._foreach_copy_(averages, values)
            return

        # Early on the average is short, else it would drag the random start along.
        kept = min(decay, float((1 + updates) / (10 + updates)))
        torch._foreach_lerp_(averages, values, 1 - kept)  # all tensors in one call

    return update


def _checkpoint_exists(checkpoint: str | Path | None, device: torch.device) -> bool:
    """Ask all processes, and complain if they do not agree."""
    exists = checkpoint is not None and Path(checkpoint).exists()
    if distributed.mean_over_processes(exists, device) not in (0, 1):
        raise ValueError(f"only some of the processes see {checkpoint}: use a shared disk")
    return exists


def _check_length(epochs: float | None, steps: int | None, minutes: float | None) -> None:
    lengths = {"epochs": epochs, "steps": steps, "minutes": minutes}
    given = {name: value for name, value in lengths.items() if value is not None}
    if len(given) != 1:
        raise ValueError(f"got {given or 'no length'}: give exactly one of epochs, steps, minutes")

    (length,) = given.values()
    if not 0 < length < math.inf:  # NaN is not, either
        raise ValueError(f"got {given}: a training needs a positive length, and a finite one")


def _check_batch(train: Dataset, batch_size: int) -> None:
    if len(train) == 0:
        raise ValueError("the training set is empty")

    processes = distributed.world_size()
    if batch_size < 1 or batch_size % processes != 0:
        raise ValueError(
            f"batch_size is {batch_size} for {processes} process(es): expected a positive multiple "
            "of their number"
        )


def _check_recipe(lr: float, lr_warmup: int, clip_norm: float, ema: float | None) -> None:
    if not 0 < lr < math.inf:
        raise ValueError(f"lr is {lr}: expected a positive learning rate")
    if not clip_norm > 0:  # 0 would stop the training, a negative one would climb
        raise ValueError(f"clip_norm is {clip_norm}: expected a positive norm, inf for no clipping")
    if lr_warmup < 1:
        raise ValueError(f"lr_warmup is {lr_warmup}: expected a number of steps, 1 for none")
    if ema is not None and not 0 <= ema < 1:
        raise ValueError(f"ema is {ema}: expected a decay in [0, 1), or None for no average")


def _check_backbone(steps: int, model: nn.Module) -> None:
    if steps < 1:
        raise ValueError(
            f"the backbone's steps are {steps}: expected a positive number, 0 for none"
        )

    # A foreign detector has other names; and a dense head must know how many channels it reads.
    backbone = getattr(model, "backbone", None)
    has_all = all(hasattr(model, name) for name in ("num_classes", "batcher"))
    if not (has_all and hasattr(backbone, "out_channels") and hasattr(backbone, "strides")):
        raise ValueError(
            f"{type(model).__name__} has no backbone that could be warmed up: expected a detector "
            "of this package, whose backbone has out_channels and strides; leave backbone_steps out"
        )


def _check_time_left(minutes: float | None, seconds: float) -> None:
    if minutes is not None and seconds >= 60 * minutes:
        raise ValueError(
            f"the backbone's steps took {seconds:.0f} s of {60 * minutes:.0f} s, which leaves no "
            "time for the detector: give more minutes or fewer backbone_steps"
        )


def _check_multi_scale(multi_scale: MultiScale, batch_size: int, model: nn.Module) -> None:
    # torchvision's detectors have no batcher of ours.
    batcher = getattr(model, "batcher", None)
    if getattr(batcher, "resizes", False):
        raise ValueError(
            f"multi_scale is {multi_scale}, but the model's batcher brings every image to its own "
            "size again: build the model without min_size, max_size and fixed_size"
        )

    stride = getattr(batcher, "size_divisible", 1)
    padded = [size for size in multi_scale.sizes if size % stride != 0]
    if padded:
        raise ValueError(
            f"multi_scale has the sizes {padded}, which the model pads to the next multiple of "
            f"{stride}: choose multiples of {stride}, or the padding is computed for nothing"
        )

    # Each process needs an image of its own, at the largest size, too.
    largest, processes = max(multi_scale.sizes), distributed.world_size()
    fewest = batch_size_for(largest, multi_scale.base_size, batch_size)
    if fewest < processes:
        raise ValueError(
            f"at {largest} pixels a batch has {fewest} image(s) for {processes} processes: "
            "raise batch_size, or leave out the largest size"
        )


def _check_same_settings(path: str | Path, found: dict[str, Any], asked: dict[str, Any]) -> None:
    """Complain about what differs between a checkpoint's settings and those of this training."""
    # One level: of a model, "model.radius" differs, not all that it has.
    asked = json.loads(json.dumps(asked))  # as it would come back from a file
    found, asked = _flat(found), _flat(asked)

    # An older version wrote down less.
    unknown = {name.partition(".")[0] for name in asked} - {n.partition(".")[0] for n in found}
    if unknown:
        warnings.warn(
            f"{path} was written by an older version and does not say which "
            f"{', '.join(sorted(unknown))} it was trained with; it is taken for that of this "
            "training",
            stacklevel=4,
        )

    different = [
        name
        for name in {**found, **asked}
        if name.partition(".")[0] not in unknown
        and (name not in found or name not in asked or found[name] != asked[name])
    ]
    if different:
        advice = "use the same settings to continue, or another path"
        if different == ["total"]:
            advice += "; pass longer=True to go on to another number of steps"
        raise ValueError(
            f"the checkpoint {path} comes from a training with "
            f"{ {name: found.get(name) for name in different} }, this one has "
            f"{ {name: asked.get(name) for name in different} }; {advice}"
        )


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Turn ``{"model": {"radius": 2}}`` into ``{"model.radius": 2}``."""
    flat = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat.update({f"{name}.{key}": part for key, part in value.items()})
        else:
            flat[name] = value
    return flat
