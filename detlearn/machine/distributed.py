"""Several processes that train one model.

Each process sees its share of every batch, and the gradients are averaged. Two things would still
make the result differ from one process with the whole batch: normalisers of a loss (the number of
objects in the batch) and the statistics of batch normalisation. Both are shared here, so that two
processes compute the gradients of one.
"""

from __future__ import annotations

import functools
import itertools
import os

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world_size() -> int:
    """Return the number of processes that train together, 1 outside of a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the index of this process among them, 0 outside of a process group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def mean_over_processes(value: float | Tensor, device: torch.device | None = None) -> float:
    """Return the mean of a number over all processes, the same in each.

    Args:
        value: the number of this process.
        device: where the processes exchange it; needed with the nccl backend.
    """
    if world_size() == 1:
        return float(value)

    total = torch.tensor(float(value), device=device)
    dist.all_reduce(total)  # a sum
    return float(total) / world_size()


def any_process(flag: bool, device: torch.device | None = None) -> bool:
    """Return whether a flag is set in at least one process, the same in each.

    Args:
        flag: that of this process.
        device: where the processes exchange it; needed with the nccl backend.
    """
    return mean_over_processes(flag, device) > 0


def wait_for_all() -> None:
    """Return when all processes have come here."""
    if world_size() > 1:
        dist.barrier()


def normaliser(count: float | Tensor, device: torch.device | None = None) -> float:
    """Return what a process divides its summed loss by: the count of all W processes over W.

    One process with the whole batch divides the sum of all losses by the count of all objects (or
    anchors, or boxes). W processes have a share of that sum each, and `DistributedDataParallel`
    averages their gradients, which divides them by W once more:

        1/W · Σ_w (losses of process w / normaliser)  =  Σ_w losses of process w / (W · normaliser)

    With the count of all divided by W as normaliser, W cancels, and W processes compute the
    gradients of one (as DETR does it). A mean over the process's own objects would not do: a
    process with few objects would weigh each of them more.

    Args:
        count: what this process counts: objects, sampled anchors, boxes that are learnt.
        device: where the processes exchange it; needed with the nccl backend.

    Returns:
        max(count of all processes, 1) / W: a batch without any object divides by one, not by zero.
    """
    at_least = 1 / world_size()
    return max(mean_over_processes(count, device), at_least)


def join_process_group(device: torch.device) -> bool:
    """Join the group that ``torchrun`` announces in the environment, if there is one.

    Args:
        device: decides the backend: nccl between GPUs, else gloo.

    Returns:
        True if this call made the group; then the caller also destroys it.
    """
    if "WORLD_SIZE" not in os.environ or dist.is_initialized():
        return False

    # Names of its own for each group: the store still holds the addresses of those left behind.
    store, own_rank, size = _meeting_point()
    store = dist.PrefixStore(f"detlearn group {next(_group_numbers)}", store)

    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=own_rank, world_size=size)
    return True


_group_numbers = itertools.count()


@functools.cache
def _meeting_point() -> tuple[dist.Store, int, int]:
    """Return the store in which the processes find each other, this one's rank, their number."""
    return next(dist.rendezvous("env://"))


class _SumOverProcesses(torch.autograd.Function):
    """all_reduce that also sums the gradients on the way back.

    The sum goes into the result of every process, so its gradient is the sum of theirs.
    """

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        x = x.clone()  # all_reduce works in place
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:
        grad = grad.contiguous().clone()
        dist.all_reduce(grad)
        return grad


class _SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over the batch of all processes.

    torch's SyncBatchNorm does the same on GPUs only; this one runs wherever all_reduce does.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (B, C, …) with the mean and variance over every process's values."""
        if not self.training or world_size() == 1:
            return super().forward(x)

        other_axes = [0, *range(2, x.ndim)]  # all but that of the channels
        shape = [1, -1] + [1] * (x.ndim - 2)  # in which (C,) meets x

        # In float32 even under autocast: a sum over 16 000 pixels does not fit into bfloat16.
        values = x.to(torch.promote_types(x.dtype, torch.float32))

        # Sums and count in one exchange; the counts differ where the processes' shares do.
        count = values.new_tensor([x.numel() / x.shape[1]])
        sums = _SumOverProcesses.apply(torch.cat((values.sum(other_axes), count)))  # (C + 1,)
        count = sums[-1]
        mean = sums[:-1] / count

        # Not E[x²] − E[x]², which rounding can make negative.
        deviations = (values - mean.view(shape)).square().sum(other_axes)
        var = _SumOverProcesses.apply(deviations) / count

        # As torch does it: the running variance is the unbiased one.
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * count / (count - 1).clamp(min=1), self.momentum)

        scale = self.weight * torch.rsqrt(var + self.eps)
        shift = self.bias - mean * scale
        return (values * scale.view(shape) + shift.view(shape)).to(x.dtype)


class SharedBatchNorm1d(_SharedBatchNorm, nn.BatchNorm1d):
    """The shared form of ``nn.BatchNorm1d``, for x (B, C)."""


class SharedBatchNorm2d(_SharedBatchNorm, nn.BatchNorm2d):
    """The shared form of ``nn.BatchNorm2d``, for x (B, C, H, W)."""


_SHARED = {nn.BatchNorm1d: SharedBatchNorm1d, nn.BatchNorm2d: SharedBatchNorm2d}


def share_batch_norm(model: nn.Module, shared: bool = True) -> None:
    """Switch every batch normalisation of a model to statistics over all processes, or back.

    Args:
        model: changed in place; weights, buffers and their names stay as they are.
        shared: False undoes it.
    """
    wanted = _SHARED if shared else {new: old for old, new in _SHARED.items()}

    for module in model.modules():
        if type(module) in wanted:
            module.__class__ = wanted[type(module)]  # same fields, another forward
