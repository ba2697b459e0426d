"""The batch of each training step as a function of the step's number.

Which images a step sees and how they are augmented depends on the seed and the number of the step
alone, not on what was drawn before. So a training can stop and continue anywhere, several processes
can share its batches, and loading can run ahead in other processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils.data import Dataset

from detlearn.data.transforms import Transform, resize
from detlearn.machine import distributed


class StepBatches(Dataset):
    """The batch of every step as a function of its number.

    Args:
        dataset: samples ``(image, target)``.
        batch_size: images of a step, over all processes.
        seed: decides order and augmentation.
        augment: transform of a sample, or None.
        multi_scale: ``(sizes, k)``: every k steps the longer side gets another of these sizes.

    An epoch visits every sample once, in an order of its own; a batch may span two epochs.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        seed: int = 0,
        augment: Transform | None = None,
        multi_scale: tuple[Sequence[int], int] | None = None,
    ) -> None:
        self.dataset, self.batch_size, self.seed = dataset, batch_size, seed
        self.augment, self.multi_scale = augment, multi_scale
        # Asked here: a process that loads images may know nothing of the group.
        self._share = slice(distributed.rank(), None, distributed.world_size())
        self._epoch, self._permutation = -1, torch.empty(0)

    def __getitem__(self, step: int) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
        """This process's images and targets of a step; crowd objects are left out."""
        first = step * self.batch_size
        positions = range(first, first + self.batch_size)
        images, targets = zip(*(self._sample(p, step) for p in positions[self._share]))
        return list(images), list(targets)

    def _sample(self, position: int, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        epoch, place = divmod(position, len(self.dataset))
        image, target = self.dataset[int(self._order(epoch)[place])]
        if "iscrowd" in target:
            kept = target["iscrowd"] == 0
            target = {**target, "boxes": target["boxes"][kept], "labels": target["labels"][kept]}
        target = {"boxes": target["boxes"], "labels": target["labels"]}
        with seeded(self.seed, position):
            if self.augment is not None:
                image, target = self.augment(image, target)
        if self.multi_scale is not None:
            sizes, every = self.multi_scale
            with seeded(self.seed, step // every):
                image, target = resize(image, target, sizes[int(torch.randint(len(sizes), ()))])
        return image, target

    def _order(self, epoch: int) -> Tensor:
        if self._epoch != epoch:
            generator = torch.Generator().manual_seed(_mix(self.seed, epoch))
            self._epoch = epoch
            self._permutation = torch.randperm(len(self.dataset), generator=generator)
        return self._permutation


def _mix(seed: int, number: int) -> int:
    """One seed from two numbers; an odd factor keeps neighbours apart."""
    return (seed * 0x9E3779B97F4A7C15 + number * 0xD1B54A32D192ED03) % 2**63


@contextmanager
def seeded(seed: int, number: int, devices: Sequence[int] = ()) -> Iterator[None]:
    """Seed torch's global generator for a block and give it back its state afterwards."""
    with torch.random.fork_rng(devices=devices):
        # torch.manual_seed would also reach for the GPUs, which costs more than an augmentation.
        torch.default_generator.manual_seed(_mix(seed, number))
        for device in devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(_mix(seed, number))
        yield
