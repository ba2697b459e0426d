"""The batch of each training step as a function of the step's number.

Which images a step sees and how they are augmented depends on the seed and the number of the step
alone, not on what was drawn before. So a training can stop and continue anywhere, several processes
can share its batches, and loading can run ahead in other processes.

All samples of a training stand in one long row, epoch after epoch. A sample's place in it is called
its position: step t has the positions t·b … t·b + b − 1 where b is the batch size. Where the image
size changes and the batch with it (`detlearn.training.multi_scale`), they begin at the sum of the
batches before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils.data import Dataset

from detlearn.data.transforms import Transform
from detlearn.machine import distributed
from detlearn.training.multi_scale import MultiScale, batch_size_for, complete, multi_scale_batch


class BrokenSample(ValueError):
    """A sample that no step can learn from; the message names the step and the sample."""


class StepBatches(Dataset):
    """The batch of every step as a function of its number.

    Args:
        dataset: samples ``(image, target)``.
        batch_size: images of a step, over all processes.
        seed: decides order, augmentation and sizes.
        augment: transform of a sample, or None.
        multi_scale: at which sizes to look at the images; None to leave them as they are.

    An epoch visits every sample once, in an order of its own; a batch may span two epochs.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        seed: int = 0,
        augment: Transform | None = None,
        multi_scale: MultiScale | Sequence | None = None,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.augment = augment
        self.multi_scale = None if multi_scale is None else complete(multi_scale)

        # Of W processes, the one of rank r has positions r, r + W, r + 2W, … of a step. Asked here:
        # a process that loads images may know nothing of the group.
        self._share = slice(distributed.rank(), None, distributed.world_size())

        # The order of the latest epoch: the next sample is most likely of the same one.
        self._epoch = -1
        self._permutation = torch.empty(0)

        # The first positions of groups of k steps with one size, as far as they were asked for.
        self._group_starts = [0]

    def __getitem__(self, step: int) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
        """Return this process's images and targets of a step; crowd objects are left out.

        Raises:
            BrokenSample: if one cannot be read or augmented, or is not finite.
        """
        positions = range(self.first_position(step), self.first_position(step + 1))[self._share]

        samples = []
        for position in positions:
            try:
                samples.append(self._sample(position))
            except Exception as error:  # a data set may raise anything
                kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
                name = self._name(position)
                raise BrokenSample(f"step {step + 1}, {name}: {kind}{error}") from error

        images = [image for image, _ in samples]
        targets = [target for _, target in samples]
        if self.multi_scale is not None:
            size = self._size(step // self.multi_scale.every)
            images, targets, _ = multi_scale_batch(images, targets, None, size)
        return images, targets

    def first_position(self, step: int) -> int:
        """Return the position of a step's first sample: how many images were seen before it."""
        if self.multi_scale is None:
            return step * self.batch_size

        # From one group of k steps to the next, until this step's.
        every = self.multi_scale.every
        group, steps_in_group = divmod(step, every)
        while len(self._group_starts) <= group:
            last = len(self._group_starts) - 1
            start = self._group_starts[last] + every * self._batch_size(last)
            self._group_starts.append(start)
        return self._group_starts[group] + steps_in_group * self._batch_size(group)

    def num_steps(self, epochs: float) -> int:
        """Return how many steps see the data set so many times, at least one."""
        num_images = epochs * len(self.dataset)
        if self.multi_scale is None:
            return max(1, round(num_images / self.batch_size))

        step = 1
        while self.first_position(step) < num_images:
            step += 1
        return step

    def _size(self, group: int) -> int:
        """Return the image size of a group of k steps, drawn from its number."""
        sizes = self.multi_scale.sizes
        generator = torch.Generator().manual_seed(_mix(self.seed, group))
        return sizes[int(torch.randint(len(sizes), (), generator=generator))]

    def _batch_size(self, group: int) -> int:
        """Return the images of each step of a group, over all processes."""
        return batch_size_for(self._size(group), self.multi_scale.base_size, self.batch_size)

    def _sample(self, position: int) -> tuple[Tensor, dict[str, Tensor]]:
        epoch, place = divmod(position, len(self.dataset))
        index = int(self._order(epoch)[place])
        image, target = self.dataset[index]

        # A crowd is no object to learn. Area and number of the image are for metrics.
        boxes, labels = target["boxes"], target["labels"]
        if "iscrowd" in target:
            kept = target["iscrowd"] == 0  # (N,)
            boxes, labels = boxes[kept], labels[kept]
        target = {"boxes": boxes, "labels": labels}

        if self.augment is not None:
            with seeded(self.seed, position):
                image, target = self.augment(image, target)

        # One such value makes all weights NaN, and a step later nobody can tell whose it was.
        for name, values in {"image": image, "boxes": target["boxes"]}.items():
            # The sum shows it, in a tenth of the time; it may also be too large on its own.
            if not values.sum().isfinite() and not values.isfinite().all():
                raise ValueError(f"{name} with values that are not finite (NaN or infinity)")
        return image, target

    def _name(self, position: int) -> str:
        """Say which sample stands at a position, in all words by which one may look for it."""
        epoch, place = divmod(position, len(self.dataset))
        index = int(self._order(epoch)[place])
        name = f"sample {index} of the data set"

        # The ones that are known without reading it, which may be what failed.
        facts = []
        if hasattr(self.dataset, "target"):
            facts.append(f"image_id {int(self.dataset.target(index)['image_id'])}")
        if hasattr(self.dataset, "image_paths"):
            facts.append(str(self.dataset.image_paths[index]))
        return f"{name} ({', '.join(facts)})" if facts else name

    def _order(self, epoch: int) -> Tensor:
        """Return the permutation of the data set's indices in this epoch."""
        if self._epoch != epoch:
            generator = torch.Generator().manual_seed(_mix(self.seed, epoch))
            self._permutation = torch.randperm(len(self.dataset), generator=generator)
            self._epoch = epoch
        return self._permutation


def _mix(seed: int, number: int) -> int:
    """Make one seed of two numbers; an odd factor keeps neighbours apart."""
    return (seed * 0x9E3779B97F4A7C15 + number * 0xD1B54A32D192ED03) % 2**63


@contextmanager
def seeded(seed: int, number: int, devices: Sequence[int] = ()) -> Iterator[None]:
    """Seed torch's global generators for a block and give them back their state afterwards.

    Args:
        seed: of the training.
        number: of the step, sample or epoch.
        devices: the GPUs whose generators are seeded, too.
    """
    with torch.random.fork_rng(devices=devices):
        # torch.manual_seed would also reach for the GPUs, which costs more than an augmentation.
        torch.default_generator.manual_seed(_mix(seed, number))
        for device in devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(_mix(seed, number))
        yield
