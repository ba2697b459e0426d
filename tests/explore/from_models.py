"""Tensors as a model would give them, for the figures that show what a model does."""

from functools import cache

import torch

from detlearn import explore, models, results
from detlearn.boxes import box_convert
from detlearn.data import ToyTown
from detlearn.explore.accuracy_latency import FAMILIES
from detlearn.nets.deformable_attention import sampling_locations
from detlearn.results.detection_table import COLUMNS


@cache
def scene() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    return ToyTown(1, seed=3)[0]


def sampling(
    layers=2, queries=12, heads=4, sizes=((16, 16), (8, 8), (4, 4)), points=4, boxes=True, seed=0
) -> dict:
    """The arguments of `explore.deformable_sampling`."""
    draw = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=draw, dtype=torch.float64)

    # A star of directions, one a head, and some noise.
    shape = (layers, queries, heads, len(sizes), points)
    angles = torch.arange(heads) * (2 * torch.pi / heads)
    star = torch.stack((angles.cos(), angles.sin()), dim=-1)[:, None, None]  # (M, 1, 1, 2)
    star = star * torch.arange(1, points + 1)[:, None]
    offsets = star + 1.5 * torch.randn(*shape, 2, generator=draw, dtype=torch.float64)

    centres, sides = uniform(layers, queries, 2), 0.1 + 0.4 * uniform(layers, queries, 2)
    references = torch.cat((centres, sides), dim=-1) if boxes else centres
    each = references[:, :, None].expand(-1, -1, len(sizes), -1)
    logits = 2 * torch.randn(*shape, generator=draw, dtype=torch.float64)
    return {
        "image": scene()[0],
        "references": references,
        "locations": sampling_locations(each, offsets, torch.tensor(sizes)),
        "weights": logits.flatten(3).softmax(dim=-1).view(shape),
        "sizes": sizes,
    }


def attention(snapshots=4, layers=3, queries=6, cells=(8, 8), seed=0) -> dict:
    """The arguments of `explore.query_attention`: maps that narrow to a box while it is learnt."""
    draw = torch.Generator().manual_seed(seed)
    image, target = scene()
    shape = (snapshots, layers, queries)

    def uniform(*sizes: int) -> torch.Tensor:
        return torch.rand(sizes, generator=draw, dtype=torch.float64)

    # Boxes go from anywhere to the objects, later layers first.
    wanted = box_convert(target["boxes"].double(), "xyxy", "cxcywh") / image.shape[-1]
    wanted = wanted[torch.arange(queries) % len(wanted)]  # (Q, 4)
    learnt = torch.linspace(0, 1, snapshots + layers).unfold(0, layers, 1)[:snapshots]  # (S, D)
    learnt = learnt[..., None, None].double()
    boxes = learnt * wanted + (1 - learnt) * (0.2 + 0.5 * uniform(*shape, 4))

    # Attention is a bump about the middle of the box.
    rows, columns = ((torch.arange(n) + 0.5) / n for n in cells)
    centres, spread = boxes[..., None, None, :2], 0.5 - 0.35 * learnt[..., None]
    logits = -((rows[:, None] - centres[..., 1]) ** 2 + (columns - centres[..., 0]) ** 2)
    logits = logits / spread**2 + 0.5 * uniform(*shape, *cells)
    return {
        "image": image,
        "maps": logits.flatten(3).softmax(dim=-1).view(*shape, *cells),
        "boxes": boxes,
        "scores": (0.1 + 0.85 * learnt[..., 0] * uniform(*shape)).clamp(max=1),
        "labels": torch.randint(0, 10, shape, generator=draw),
        "steps": [250 * s for s in range(snapshots)],
        "class_names": ToyTown.class_names,
    }


def comparison() -> dict:
    """The argument of `explore.accuracy_latency`: numbers made up, of every family."""
    draw = torch.Generator().manual_seed(0)
    names = [name for members in FAMILIES.values() for name in members]
    names += ["torchvision fcos 128", "torchvision fcos 800"]

    table = results.DetectionTable(COLUMNS, machine="1 core of a test")
    for name in names:
        ap, cost = torch.rand(2, generator=draw, dtype=torch.float64).tolist()
        ms = 2 * 30**cost
        table.cells[name] = {
            **{column.key: None for column in COLUMNS},
            "ap": 0.2 + 0.6 * ap,
            "ms_batch_1": ms,
            "ms_batch_8": 5 * ms,
            "parameters": 1e6 * (1 + cost),
            "multiply_adds": 4e7 * (1 + ap),
        }
        table.spreads[name] = {} if name.startswith("torchvision") else {"ap": 0.02 * cost}
    return {"table": table}


@cache
def ways() -> dict[str, models.Detector]:
    """One detector of each form of assignment, with weights as they begin."""
    torch.manual_seed(0)
    return {name: models.create(name, 10).eval() for name in ("retinanet", "fcos", "detr")}


def assigned() -> dict:
    """The arguments of `explore.who_learns_what`."""
    image, target = scene()
    kept = {key: target[key][:5] for key in ("boxes", "labels")}
    names = ToyTown.class_names
    return {"image": image, "target": kept, "detectors": ways(), "class_names": names}


def figure_named(name: str) -> explore.Explorable:
    """Make a figure; what it needs of a model comes from above."""
    needs = {
        "accuracy_latency": comparison,
        "deformable_sampling": sampling,
        "query_attention": attention,
        "who_learns_what": assigned,
    }
    return getattr(explore, name)(**needs.get(name, dict)())
