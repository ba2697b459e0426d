"""Several processes that train one model compute what one process computes."""

import copy
import itertools
import os
import socket
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
from torch import nn

from detlearn.machine import distributed
from detlearn.machine.distributed import (
    SharedBatchNorm2d,
    mean_over_processes,
    normaliser,
    share_batch_norm,
)
from detlearn.nets import small
from detlearn.nets.small import SmallBackbone
from detlearn.training import MultiScale
from detlearn.training.steps import StepBatches

# What each of two processes does; it leaves its results in the folder given as argument.
SCRIPT = """
import os, signal, sys, time
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from detlearn import training
from detlearn.machine import distributed
from detlearn.data import transforms
from detlearn.models.point import PointDetector
from detlearn.nets.small import SmallBackbone

torch.set_num_threads(1)
folder = sys.argv[1]


def samples(counts):
    random = torch.Generator().manual_seed(0)
    found = []
    for count in counts:
        corners = torch.rand(count, 2, generator=random) * 40
        sides = 4 + torch.rand(count, 2, generator=random) * 20
        boxes = torch.cat((corners, corners + sides), dim=-1)
        labels = torch.randint(2, (count,), generator=random)
        image = torch.rand(3, 64, 64, generator=random)
        found.append((image, {"boxes": boxes, "labels": labels}))
    return found


def detector():
    torch.manual_seed(0)
    return PointDetector(2, SmallBackbone((4, 8, 8, 8)), channels=8)


def gradients(counts):
    # Counts of objects per image: process 0 has the even images, process 1 the odd ones.
    model = detector()
    distributed.share_batch_norm(model)
    replica = DistributedDataParallel(model) if distributed.world_size() > 1 else model
    mine = samples(counts)[distributed.rank() :: distributed.world_size()]
    losses = replica([image for image, _ in mine], [target for _, target in mine])
    sum(losses.values()).backward()
    state = {f"gradient of {name}": p.grad for name, p in model.named_parameters()}
    return {**state, **model.state_dict()}


def batch_norm_of_vectors():
    torch.manual_seed(1)
    layer = nn.BatchNorm1d(3).double()
    nn.init.normal_(layer.weight), nn.init.normal_(layer.bias)
    distributed.share_batch_norm(layer)
    whole, factor = torch.randn(6, 3).double() * 5 + 2, torch.randn(6, 3).double()
    # One row alone in a process, which has no variance of its own.
    cuts = {1: [slice(0, 6)], 2: [slice(0, 5), slice(5, 6)]}[distributed.world_size()]
    share = cuts[distributed.rank()]
    x = whole[share].clone().requires_grad_()
    out = layer(x)
    (out * factor[share]).square().sum().backward()
    local = {"weight.grad": layer.weight.grad, "bias.grad": layer.bias.grad}
    results = {"out": out.detach(), "x.grad": x.grad, "sum": local}
    return {**results, "state": layer.state_dict()}


def batch_norm(dtype):
    torch.manual_seed(1)
    layer = nn.BatchNorm2d(3).to(dtype)
    nn.init.normal_(layer.weight), nn.init.normal_(layer.bias)
    distributed.share_batch_norm(layer)
    whole = torch.randn(6, 3, 5, 4, dtype=dtype) * torch.tensor([1.0, 20, 0.1])[:, None, None]
    whole = whole + torch.tensor([0.0, -7, 300])[:, None, None]
    whole[:, 0, 0] = 0.5
    factor = torch.randn(6, 3, 5, 4, dtype=dtype)
    # Shares of unequal size: images 0 to 3 and images 4 to 5.
    cuts = {1: [slice(0, 6)], 2: [slice(0, 4), slice(4, 6)]}[distributed.world_size()]
    share = cuts[distributed.rank()]
    x = whole[share].clone().requires_grad_()
    out = layer(x)
    (out * factor[share]).square().sum().backward()
    results = {"out": out.detach(), "x.grad": x.grad}
    local = {"weight.grad": layer.weight.grad, "bias.grad": layer.bias.grad}
    return {**results, "sum": local, "state": layer.state_dict()}


def fitted(file="/fit.safetensors", after_step=None):
    torch.manual_seed(distributed_rank_before_the_group() * 100)  # rank 0's weights count
    model = PointDetector(2, SmallBackbone((4, 8, 8, 8)), channels=8)
    history = training.fit(
        model, samples([3, 1, 0, 5, 2, 2, 1]), steps=3, batch_size=4, lr=1e-3, amp=False,
        progress=False, augment=transforms.flip, checkpoint=folder + file,
        after_step=after_step,
    )
    types = sorted({type(m).__name__ for m in model.modules() if isinstance(m, nn.BatchNorm2d)})
    return {"state": model.state_dict(), "images": history.images, "types": types}


def stopped_and_continued():
    def interrupt(step, model):  # Ctrl-C comes earlier in process 0 than in the other
        if step == 2 + distributed.rank():
            os.kill(os.getpid(), signal.SIGINT)

    # A shell's background job ignores Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        fitted("/stopped.safetensors", interrupt)
        message = "was not stopped"
    except KeyboardInterrupt as stop:
        message = str(stop)
    finally:
        signal.signal(signal.SIGINT, before)
    return {"message": message, "state": fitted("/stopped.safetensors")["state"]}


def fitted_at_several_sizes():
    # 3 images at 96 pixels: one process has two of them, the other one.
    torch.manual_seed(7)
    model = PointDetector(2, SmallBackbone((4, 8, 8, 8)), channels=8)
    history = training.fit(
        model, samples([3, 1, 0, 5, 2, 2, 1]), steps=4, batch_size=8, lr=1e-3, amp=False, ema=None,
        progress=False, multi_scale=training.MultiScale((64, 96, 128), 1, 64), seed=1,
    )
    return {"state": model.state_dict(), "images": history.images, "total": history.total}


def distributed_rank_before_the_group():
    return int(os.environ.get("RANK", 0))


def everything():
    results = {"fit": fitted(), "several sizes": fitted_at_several_sizes()}
    results["stopped"] = stopped_and_continued()
    assert not dist.is_initialized()  # fit left the group that it joined
    # A process that comes late must not be sought at its address in the group that was left.
    time.sleep(1.0 if distributed_rank_before_the_group() == 0 else 0)
    distributed.join_process_group(torch.device("cpu"))
    counts = {"many": [7, 0, 1, 2], "one": [1, 0, 0, 0], "none": [0, 0, 0, 0], "odd": [0, 3]}
    results["gradients"] = {name: gradients(c) for name, c in counts.items()}
    for dtype in (torch.float32, torch.float64):
        results[str(dtype)] = batch_norm(dtype)
    results["vectors"] = batch_norm_of_vectors()
    results["rank"], results["size"] = distributed.rank(), distributed.world_size()
    results["mean"] = distributed.mean_over_processes(3.0 + distributed.rank())
    counts = ((7, 4), (1, 0), (0, 0))  # of process 0 and of process 1
    mine = [count[distributed.rank()] for count in counts]
    results["normalisers"] = [distributed.normaliser(count) for count in mine]
    results["joined twice"] = distributed.join_process_group(torch.device("cpu"))
    history = training.fit(  # inside a group that somebody else made
        detector(), samples([1, 1]), steps=1, batch_size=2, progress=False, amp=False
    )
    results["group kept"] = dist.is_initialized() or distributed.world_size() == 1
    name = f"{distributed.world_size()}-{distributed.rank()}.pt"
    torch.save(results, os.path.join(folder, name))
    if dist.is_initialized():
        dist.destroy_process_group()


everything()
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def torchrun(*arguments):
    """Run a script on two processes of this machine."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    kept = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    result = subprocess.run(
        [*command, *map(str, arguments)],
        env={**kept, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-4000:]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What one process found, and what each of two did."""
    if not dist.is_available():
        pytest.skip("this torch has no torch.distributed")
    folder = tmp_path_factory.mktemp("processes")
    (folder / "script.py").write_text(SCRIPT)
    torchrun(folder / "script.py", folder)
    threads, arguments = torch.get_num_threads(), sys.argv
    try:
        sys.argv = ["script.py", str(folder / "alone")]
        exec(compile(SCRIPT, "script.py", "exec"), {"__name__": "script"})
    finally:
        torch.set_num_threads(threads)
        sys.argv = arguments
    alone = torch.load(folder / "alone" / "1-0.pt")
    return alone, *(torch.load(folder / f"2-{rank}.pt") for rank in range(2))


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(900)
class TestTwoProcesses:
    def test_know_each_other(self, results):
        alone, first, second = results
        assert (alone["rank"], alone["size"], alone["mean"]) == (0, 1, 3.0)
        assert (first["rank"], second["rank"]) == (0, 1)
        assert first["size"] == second["size"] == 2
        assert first["mean"] == second["mean"] == 3.5
        # (7 + 4) / 2, (1 + 0) / 2, and 1 / 2 where there is nothing to count
        assert first["normalisers"] == second["normalisers"] == [5.5, 0.5, 0.5]
        assert alone["normalisers"] == [7, 1, 1]
        assert not first["joined twice"] and first["group kept"] and second["group kept"]

    @pytest.mark.parametrize("case", ["many", "one", "none", "odd"])
    def test_gradients_equal_those_of_one(self, results, case):
        """With batch norm and unequal counts of objects: 8 and 2, 1 and 0, none, 0 and 3."""
        alone, *both = results
        wanted = alone["gradients"][case]
        assert any(value.abs().max() > 1e-3 for name, value in wanted.items() if "gradient" in name)
        for process in both:
            found = process["gradients"][case]
            assert found.keys() == wanted.keys()
            for name, value in wanted.items():
                # relative to the largest entry: sums are taken in another order
                scale = max(float(value.abs().max()), 1e-2)
                assert (found[name] - value).abs().max() <= 2e-4 * scale, name

    @pytest.mark.parametrize(
        ("dtype", "tolerance"),
        [("torch.float64", 1e-9), ("torch.float32", 2e-3), ("vectors", 1e-9)],
    )
    def test_batch_norm_equals_that_of_the_whole_batch(self, results, dtype, tolerance):
        alone, *both = results
        wanted, found = alone[dtype], [process[dtype] for process in both]
        close = {"rtol": tolerance, "atol": tolerance}
        for name in ("out", "x.grad"):
            together = torch.cat([part[name] for part in found])
            assert together.dtype == wanted[name].dtype
            torch.testing.assert_close(together, wanted[name], **close)
        for name, value in wanted["sum"].items():
            torch.testing.assert_close(sum(part["sum"][name] for part in found), value, **close)
        for part in found:
            for name, value in wanted["state"].items():
                torch.testing.assert_close(part["state"][name], value, **close)

    def test_fit_ends_with_the_weights_of_one(self, results):
        alone, first, second = results
        for name, value in first["fit"]["state"].items():
            assert torch.equal(second["fit"]["state"][name], value), name
            wanted = alone["fit"]["state"][name]
            # AdamW's first steps have length lr whatever the gradient: one whose sign is
            # decided by rounding may differ by 2 · lr = 2 · 1e-3 · 3 / 50 a step.
            torch.testing.assert_close(value, wanted, rtol=1e-3, atol=3e-4)
        assert alone["fit"]["images"] == first["fit"]["images"] == second["fit"]["images"] == 12
        assert first["fit"]["types"] == ["BatchNorm2d"]  # and not the shared one

    def test_stop_after_the_same_step_and_go_on(self, results):
        """Ctrl-C has reached one of the two when both stop, and the step is written."""
        for result in results:
            assert result["stopped"]["message"].startswith("stopped after step 2, which")
            for name, value in result["fit"]["state"].items():
                assert torch.equal(result["stopped"]["state"][name], value), name

    def test_fit_at_several_sizes_ends_with_the_weights_of_one(self, results):
        """A batch that the processes cannot share evenly is still the batch of one."""
        alone, first, second = (result["several sizes"] for result in results)
        steps = StepBatches([0] * 7, 8, 1, None, MultiScale((64, 96, 128), 1, 64))
        starts = [steps.first_position(step) for step in range(5)]
        sizes = [later - start for start, later in itertools.pairwise(starts)]
        assert 3 in sizes and len(set(sizes)) > 1
        assert alone["images"] == first["images"] == second["images"] == sum(sizes)
        for name, value in first["state"].items():
            assert torch.equal(second["state"][name], value), name
            torch.testing.assert_close(value, alone["state"][name], rtol=1e-3, atol=4e-4)


class TestOneProcess:
    def test_outside_of_a_group(self, monkeypatch):
        for name in ("RANK", "WORLD_SIZE"):
            monkeypatch.delenv(name, raising=False)
        assert distributed.rank() == 0 and distributed.world_size() == 1
        assert mean_over_processes(torch.tensor(2.5)) == 2.5
        assert normaliser(torch.tensor(3)) == normaliser(3) == 3.0
        assert normaliser(0) == 1.0
        assert distributed.join_process_group(torch.device("cpu")) is False

    def test_share_batch_norm_and_back(self):
        class Own(nn.BatchNorm2d):
            pass

        model = nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm2d(3)), Own(3))
        names = list(model.state_dict())
        share_batch_norm(model)
        assert [type(m) for m in (model[0], model[1][0])] == [SharedBatchNorm2d] * 2
        assert type(model[2]) is Own
        assert list(model.state_dict()) == names
        share_batch_norm(model, False)
        assert [type(m) for m in (model[0], model[1][0])] == [nn.BatchNorm2d] * 2

    def test_alone_the_shared_batch_norm_is_torchs(self):
        x = torch.randn(4, 3, 5, 5)
        ours, torchs = SharedBatchNorm2d(3), nn.BatchNorm2d(3)
        assert torch.equal(ours(x), torchs(x))
        assert torch.equal(ours.eval()(x), torchs.eval()(x))
        assert torch.equal(ours.running_var, torchs.running_var)


def test_batch_norm_of_a_constant_channel(monkeypatch):
    """A mean far from zero and no variance at all: no NaN from rounding."""
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda x: x.mul_(2))  # both processes see the same
    layer = SharedBatchNorm2d(2)
    x = torch.full((2, 2, 8, 8), 1000.1, requires_grad=True)
    out = layer(x)
    assert torch.isfinite(out).all() and out.abs().max() < 0.1
    out.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_a_single_location_in_each_of_two_processes(monkeypatch):
    """Two processes with one small image each: what one process does with both."""
    backbone = SmallBackbone((4, 4, 4, 4))
    with pytest.raises(ValueError, match="single location"):
        backbone(torch.rand(1, 3, 32, 32))

    for module in (distributed, small):
        monkeypatch.setattr(module, "world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda x: x.mul_(2))  # both processes see the same
    share_batch_norm(backbone)
    together = copy.deepcopy(backbone)
    share_batch_norm(together, False)
    image = torch.rand(1, 3, 32, 32)
    found, wanted = backbone(image), together(torch.cat((image, image)))
    for stride, x in wanted.items():
        torch.testing.assert_close(found[stride], x[:1])
    for name, x in together.state_dict().items():
        torch.testing.assert_close(backbone.state_dict()[name], x)
