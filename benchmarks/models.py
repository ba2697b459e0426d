"""How fast are our detectors, beside the same detectors of torchvision and transformers?

**Beside theirs** (``--models``): same weights, same batch, same run.

For each model a forward pass and a training step (forward, backward, the optimizer's step) are
timed alternately, ours and theirs, and the median of the rounds is taken. Memory is the
highest that a fresh process needs for one forward pass, and for one step (on a GPU the most that
torch allocated). A ratio of 1 is theirs; less is faster or leaner. DETR stands beside that of
transformers, the others beside torchvision's.

Ours are measured as `fit` trains them, with the channels innermost (``channels_last``). How much
that helps depends on the processor: on a CPU without AVX-512 the backward pass of wide convolutions
on large maps is slower that way, which ``--memory-format contiguous`` shows.

Both models are given the samplers' choice by the same seed, and detect the same boxes: the tests
in tests/parity/ hold them to it. (transformers' decoder gives others when it is asked for the
losses of all layers, as DETR is trained; the work is the same.)

**Alone** (``--alone``): the small detectors on 128 × 128 pixels, 16 images at a time, and YOLOv3 on
416 × 416, one at a time: images a second through the whole detector, the multiply-adds of its
network for one image, and which share of the machine's peak these reach. The peak is that of a
product of two 2048 × 2048 matrices in the same run.

Usage: ``python benchmarks/models.py [--models …] [--alone …] [--rounds 5] [--size 480 640]
[--batch 2] [--memory-format contiguous] [--no-memory]``; without names all are measured.
"""

import argparse
import multiprocessing
import re
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import detection

from detlearn import models, pretrained
from detlearn.machine.hardware import default_device
from detlearn.models.base import Detector
from detlearn.models.detr import relative_targets

MODELS = [
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "retinanet_resnet50_fpn",
    "fcos_resnet50_fpn",
    "detr_resnet50",
]
NUM_CLASSES = 90
# `fit` trains our models in the first.
MEMORY_FORMATS = {
    "channels_last": torch.channels_last,
    "contiguous": torch.contiguous_format,
}
# Measured alone: name → how to build it, the side of its images, images at a time.
ALONE = {name: (lambda name=name: models.create(name, 10), 128, 16) for name in models.BUILDERS}
ALONE["yolov3_tiny"] = (models.yolov3_tiny, 416, 1)
ALONE["yolov3_darknet53"] = (models.yolov3_darknet53, 416, 1)


def build(name: str, whose: str, memory_format: str = "channels_last") -> nn.Module:
    """One of the two models, with the same random weights, in eval mode.

    Args:
        name: one of `MODELS`.
        whose: "ours" or "theirs".
        memory_format: of our weights and images; theirs stay as they are.
    """
    torch.manual_seed(0)
    if name == "detr_resnet50":
        model = build_detr(whose)
    else:
        model = getattr(detection, name)(
            weights=None, weights_backbone=None, num_classes=NUM_CLASSES + 1
        )
        if whose == "ours":
            model = pretrained.from_torchvision(name, model.state_dict())

    if whose == "ours":
        model = model.to(memory_format=MEMORY_FORMATS[memory_format])
        model.batcher.memory_format = MEMORY_FORMATS[memory_format]
    return model.to(default_device()).eval()


class TransformersDETR(nn.Module):
    """transformers' DETR behind our contract; images are resized and padded as for ours.

    Args:
        ours: a detector whose weights it takes over.
    """

    # From the published names, which are ours, to transformers'.
    RENAMES = (
        (r"^backbone\.0\.body\.", "model.backbone.model."),
        (r"^input_proj\.", "model.input_projection."),
        (r"^query_embed\.", "model.query_position_embeddings."),
        (r"^class_embed\.", "class_labels_classifier."),
        (r"^bbox_embed\.", "bbox_predictor."),
        (r"^transformer\.decoder\.norm\.", "model.decoder.layernorm."),
        (r"^transformer\.", "model."),
        (r"\.linear(\d)\.", r".mlp.fc\1."),
        (r"\.multihead_attn\.", ".encoder_attn."),
        (r"\.out_proj\.", ".o_proj."),
        (r"\.norm1\.", ".self_attn_layer_norm."),
        (r"(decoder.*)\.norm2\.", r"\1.encoder_attn_layer_norm."),
        (r"\.norm[23]\.", ".final_layer_norm."),
    )

    def __init__(self, ours: Detector) -> None:
        super().__init__()
        from transformers import DetrConfig, DetrForObjectDetection

        # Dropout as in the published code: of the attention's weights, too.
        config = DetrConfig(num_labels=ours.num_classes, auxiliary_loss=True, attention_dropout=0.1)
        self.model = DetrForObjectDetection(config)
        self.model.load_state_dict(self.renamed(ours.state_dict()))
        self.batcher = ours.batcher

    def renamed(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Bring the published names to transformers'."""
        found = {}
        for name, value in weights.items():
            for pattern, theirs in self.RENAMES:
                name = re.sub(pattern, theirs, name)
            if "in_proj_" not in name:
                found[name] = value
                continue
            for which, part in zip("qkv", value.chunk(3)):
                found[name.replace("in_proj_", f"{which}_proj.")] = part
        return found

    def forward(self, images: list[Tensor], targets: list[dict] | None = None) -> object:
        """Losses in training mode, else boxes and scores of all queries."""
        batch, targets = self.batcher(images, targets if self.training else None)
        mask = torch.zeros(batch.images.shape[0], *batch.images.shape[-2:], dtype=torch.int64)
        for i, (height, width) in enumerate(batch.sizes):
            mask[i, :height, :width] = 1
        mask = mask.to(batch.images.device)

        if targets is None:
            outputs = self.model(batch.images, pixel_mask=mask)
            return outputs.logits.softmax(dim=-1)[..., :-1].max(dim=-1), outputs.pred_boxes

        relative = relative_targets(targets, batch.sizes)
        labels = [{"boxes": t["boxes"], "class_labels": t["labels"]} for t in relative]
        return {"loss": self.model(batch.images, pixel_mask=mask, labels=labels).loss}


def build_detr(whose: str) -> nn.Module:
    """Our DETR or transformers', with the same random weights and the same parts frozen."""
    ours = models.detr_resnet50()
    ours.backbone[0]["body"].freeze(trainable_layers=3)
    if whose == "theirs":
        return TransformersDETR(ours)
    return ours


def make_batch(batch: int, size: tuple[int, int], offset: int) -> tuple[list, list]:
    """Random images with eight objects each; labels from 0, or from 1 for torchvision."""
    generator = torch.Generator().manual_seed(0)
    device, limit = default_device(), torch.tensor([size[1], size[0]])
    images, targets = [], []
    for _ in range(batch):
        images.append(torch.rand(3, *size, generator=generator).to(device))
        corner = torch.rand(8, 2, generator=generator) * limit * 0.7
        sides = 16 + torch.rand(8, 2, generator=generator) * limit * 0.25
        labels = torch.randint(NUM_CLASSES, (8,), generator=generator) + offset
        boxes = torch.cat((corner, corner + sides), dim=1)
        targets.append({"boxes": boxes.to(device), "labels": labels.to(device)})
    return images, targets


def tasks(model: nn.Module, images: list, targets: list) -> dict[str, Callable[[], None]]:
    """What is timed."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)

    def forward() -> None:
        with torch.no_grad():
            model.eval()(images)

    def step() -> None:
        torch.manual_seed(0)
        losses = model.train()(images, targets)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()

    return {"forward": forward, "training step": step}


def seconds(task: Callable[[], None]) -> float:
    """Wall time of one call."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    task()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def alternate(pair: dict[str, dict], task: str, rounds: int) -> dict[str, list[float]]:
    """Times of both, after one call that does not count; who goes first changes every round."""
    times = {whose: [] for whose in pair}
    for whose in pair:
        pair[whose][task]()
    for i in range(rounds):
        for whose in list(pair)[:: 1 if i % 2 else -1]:
            times[whose].append(seconds(pair[whose][task]))
    return times


def peak_memory(
    name: str, whose: str, memory_format: str, task: str, batch: int, size: tuple[int, int]
) -> float:
    """The most memory that the third call of a task needs, in MiB; to be run in a fresh process."""
    model = build(name, whose, memory_format)
    call = tasks(model, *make_batch(batch, size, offset=0 if whose == "ours" else 1))[task]
    for _ in range(2):
        call()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        call()
        return torch.cuda.max_memory_allocated() / 2**20
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")  # forget the peak so far (Linux)
    call()
    return (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        if not clear.exists()
        else high_water()
    )


def high_water() -> float:
    """The peak of resident memory since it was last forgotten, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10


def matmul_peak(rounds: int) -> float:
    """Multiply-adds a second of a product of two large matrices: the best of some."""
    a = torch.rand(2048, 2048, device=default_device())
    times = [seconds(lambda: a @ a) for _ in range(rounds + 1)]
    return 2048**3 / min(times[1:])


def multiply_adds(model: nn.Module, side: int) -> float:
    """Of a network, for one image; what comes after it (NMS, decoding) is not counted."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval().predict(torch.rand(1, 3, side, side, device=default_device()))
    return counter.get_total_flops() / 2


def measure_alone(names: list[str], rounds: int) -> None:
    """Print a table of what the detectors reach by themselves."""
    peak = matmul_peak(rounds)
    print(f"a product of matrices: {peak / 1e9:.0f} billion multiply-adds a second")
    print(f"{'':20}{'pixels':>8}{'images/s':>10}{'million multiply-adds':>23}{'of the peak':>13}")

    for name in names:
        builder, side, batch = ALONE[name]
        torch.manual_seed(0)
        model = builder().to(default_device(), memory_format=torch.channels_last)
        images, _ = make_batch(batch, (side, side), offset=0)
        count = multiply_adds(model, side)

        forward = tasks(model, images, [])["forward"]
        forward()
        speed = batch / statistics.median(seconds(forward) for _ in range(rounds))
        print(
            f"{name:20}{side:>8}{speed:10.1f}{count / 1e6:23.0f}{speed * count / peak:13.0%}",
            flush=True,
        )


def measure_pairs(args: argparse.Namespace) -> None:
    """Print a table of our detectors beside the same ones of others."""
    size = tuple(args.size)
    print(
        f"{args.batch} images of {size[0]} × {size[1]}, resized to 800; {default_device()}, "
        f"{torch.get_num_threads()} threads; ours in {args.memory_format}; "
        f"median of {args.rounds} alternating rounds"
    )
    print(f"{'':42}{'ours':>9}{'theirs':>9}{'ratio':>7}{'rounds':>16}")
    context = multiprocessing.get_context("spawn")
    for name in args.models or MODELS:
        pair = {
            whose: tasks(
                build(name, whose, args.memory_format), *make_batch(args.batch, size, offset)
            )
            for whose, offset in (("ours", 0), ("theirs", 1))
        }
        for task in pair["ours"]:
            times = alternate(pair, task, args.rounds)
            ours, theirs = (statistics.median(times[whose]) for whose in ("ours", "theirs"))
            ratios = sorted(a / b for a, b in zip(times["ours"], times["theirs"]))
            print(
                f"{name:27} {task:13}{ours:8.2f}s{theirs:8.2f}s{ours / theirs:7.2f}"
                f"{ratios[0]:9.2f} …{ratios[-1]:5.2f}",
                flush=True,
            )
        del pair
        for task in ("forward", "training step") if args.memory else ():
            peaks = []
            for whose in ("ours", "theirs"):
                wanted = (name, whose, args.memory_format, task, args.batch, size)
                with context.Pool(1) as pool:
                    peaks.append(pool.apply(peak_memory, wanted))
            print(
                f"{name:27} {task:13}{peaks[0]:6.0f}MiB{peaks[1]:6.0f}MiB"
                f"{peaks[0] / peaks[1]:7.2f}",
                flush=True,
            )


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="*", choices=MODELS, metavar="NAME")
    parser.add_argument("--alone", nargs="*", choices=list(ALONE), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, nargs=2, default=[480, 640], metavar=("H", "W"))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--memory-format", choices=list(MEMORY_FORMATS), default="channels_last")
    parser.add_argument("--no-memory", dest="memory", action="store_false")
    args = parser.parse_args()

    # What is not asked for is left out, unless nothing is.
    everything = args.models is None and args.alone is None
    if everything or args.alone is not None:
        measure_alone(args.alone or list(ALONE), args.rounds)
    if everything or args.models is not None:
        measure_pairs(args)


if __name__ == "__main__":
    main()
