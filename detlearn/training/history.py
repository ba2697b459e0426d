"""What happened during a training."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class History:
    """What happened during a training.

    Attributes:
        steps: numbers of the logged steps, from 1.
        total: the loss at each of them.
        losses: its terms, name → one value per logged step.
        lr: the learning rate of the first parameter group.
        val: (step, {"ap": …, "ap50": …, "ap75": …}) for each evaluation.
        images: images seen so far.
        seconds: time spent training, loading of images included, over all runs that a checkpoint
            joined.
        backbone_seconds: how many of these the backbone was trained alone; its images are among
            ``images``, its steps are not among ``steps``.
    """

    steps: list[int] = field(default_factory=list)
    total: list[float] = field(default_factory=list)
    losses: dict[str, list[float]] = field(default_factory=dict)
    lr: list[float] = field(default_factory=list)
    val: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    images: int = 0
    seconds: float = 0.0
    backbone_seconds: float = 0.0

    def log(self, step: int, terms: dict[str, float], lr: float) -> None:
        """Add one step.

        Args:
            step: its number, from 1.
            terms: the terms of the loss, name → value.
            lr: the learning rate of the first parameter group.
        """
        self.steps.append(step)
        self.total.append(sum(terms.values()))
        self.lr.append(lr)
        for name, value in terms.items():
            self.losses.setdefault(name, []).append(value)

    def __repr__(self) -> str:
        if not self.steps:
            return "History(no step yet)"

        speed = self.images / max(self.seconds, 1e-9)
        return (
            f"History({self.steps[-1]} steps, {self.images} images in {self.seconds:.0f} s "
            f"({speed:.0f} images/s), loss {self.total[0]:.2f} → {self.total[-1]:.2f})"
        )
