"""Darknet's files: a network's plan (``.cfg``) and its weights (``.weights``), read and written.

A ``.cfg`` is a list of sections, ``[convolutional]``, ``[route]``, …, each with lines of the form
``key=value``; the first, ``[net]``, says how large the input is, every other one is a layer. Layers
take what the layer before them gave, but for ``[route]`` and ``[shortcut]``, which look further
back.

A ``.weights`` file has a header and then nothing but float32 numbers, in the order of the plan:

    header   three int32 (major, minor, revision) and the number of images seen in training,
             an int64 from version 0.2 on (20 bytes), before an int32 (16 bytes)
    body     of each convolution, with batch normalisation: β, γ, mean, variance, weight;
             without: bias, weight

Nothing in it says which number is whose, so a file is held against the network: all numbers must
be used, and none may be missing.

Source: Darknet (github.com/pjreddie/darknet), ``src/parser.c``; its licence is the public domain.

Where we differ from Darknet: layers, keys and values that we do not know are refused, where Darknet
passes over them. What only concerns training (learning rate, jitter, the loss of a later version)
is read, kept, and not followed: a detector read here is trained by our own loss.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from detlearn.machine.checkpoints import write_atomically
from detlearn.models.yolov3 import YOLOv3, YOLOv3Neck, darknet_batcher
from detlearn.nets.darknet import (
    BATCH_NORM_EPS,
    BATCH_NORM_MOMENTUM,
    LEAKY_SLOPE,
    DarknetMaxPool,
)

ACTIVATIONS = {
    "linear": nn.Identity,
    "leaky": lambda: nn.LeakyReLU(LEAKY_SLOPE, inplace=True),
    "relu": lambda: nn.ReLU(inplace=True),
    "logistic": nn.Sigmoid,
}

# The keys of each section: those that we follow, and those that change nothing in what is detected.
FOLLOWED = {
    "net": {"width", "height", "channels", "letter_box"},
    "convolutional": {
        *("filters", "size", "stride", "pad", "padding", "groups"),
        *("batch_normalize", "activation"),
    },
    "maxpool": {"size", "stride", "padding"},
    "route": {"layers", "groups", "group_id"},
    "shortcut": {"from", "activation"},
    "upsample": {"stride", "scale"},
    "dropout": {"probability"},
    "yolo": {"mask", "anchors", "classes", "num", "ignore_thresh", "scale_x_y", "new_coords"},
}
PASSED_OVER = {
    "net": {
        *("batch", "subdivisions", "time_steps", "momentum", "decay", "adam", "learning_rate"),
        *("burn_in", "max_batches", "policy", "steps", "scales", "power", "gamma", "step"),
        *("angle", "saturation", "exposure", "hue", "aspect", "flip", "mosaic", "mixup", "cutmix"),
        *("max_crop", "min_crop", "random", "ema_alpha"),
    },
    "yolo": {
        *("jitter", "random", "truth_thresh", "max", "resize", "label_smooth_eps"),
        *("iou_loss", "iou_thresh", "iou_normalizer", "cls_normalizer", "obj_normalizer"),
        *("max_delta", "nms_kind", "beta_nms"),
    },
}


# ---- the plan ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Section:
    """One section of a plan.

    Attributes:
        kind: "net", "convolutional", …
        options: its lines, key → value, as they stand.
        where: file and line, for messages.
    """

    kind: str
    options: Mapping[str, str]
    where: str

    def integer(self, key: str, default: int | None = None, least: int = 0) -> int:
        """Return a whole number; raise ValueError for what is none, or a missing key."""
        (number,) = self.integers(key, None if default is None else (default,), least, count=1)
        return number

    def integers(
        self,
        key: str,
        default: Sequence[int] | None = None,
        least: int | None = None,
        count: int | None = None,
    ) -> list[int]:
        """Return whole numbers with commas between; raise ValueError for what are none."""
        numbers = self.floats(key, default)
        for number in numbers:
            if number != int(number) or (least is not None and number < least):
                bound = "" if least is None else f" of at least {least}"
                raise ValueError(
                    f"{self.where}: [{self.kind}] has {key}={self.options[key]}: expected whole "
                    f"numbers{bound}"
                )
        if count is not None and len(numbers) != count:
            raise ValueError(
                f"{self.where}: [{self.kind}] has {key}={self.options[key]}: expected {count} "
                "number"
            )
        return [int(number) for number in numbers]

    def floats(self, key: str, default: Sequence[float] | None = None) -> list[float]:
        """Return numbers with commas between; raise ValueError for what are none."""
        if key not in self.options:
            if default is None:
                raise ValueError(f"{self.where}: [{self.kind}] lacks {key}")
            return list(default)

        try:
            numbers = [float(word) for word in self.options[key].split(",")]
        except ValueError:
            numbers = [math.nan]
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError(
                f"{self.where}: [{self.kind}] has {key}={self.options[key]}: expected numbers"
            )
        return numbers


def read_cfg(path: str | os.PathLike) -> list[Section]:
    """Read a plan.

    Args:
        path: the ``.cfg`` file.

    Returns:
        Its sections, ``[net]`` first.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for what is no plan, or asks for a layer or a setting that we do not have.
    """
    path = existing(path, "a Darknet configuration")
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text: expected a Darknet configuration") from None

    sections = []
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        line = "".join(line.split())  # blanks mean nothing, wherever they stand
        if not line or line[0] in "#;":
            continue

        if line[0] == "[":
            kind = line.strip("[]")
            sections.append(Section("net" if kind == "network" else kind, {}, where))
            continue

        key, equals, value = line.partition("=")
        if not (sections and key and equals and value):
            raise ValueError(f"{where} is {line!r}: expected [a section], and then key=value")
        if key in sections[-1].options:
            raise ValueError(f"{where} gives {key} a second time")
        sections[-1].options[key] = value

    if not sections or sections[0].kind != "net":
        raise ValueError(f"{path} does not begin with [net]: it is no Darknet configuration")
    for section in sections:
        check_section(section)
    return sections


def check_section(section: Section) -> None:
    """Raise ValueError for a section or a key that we do not know, or cannot follow."""
    if section.kind not in FOLLOWED:
        raise ValueError(
            f"{section.where}: no layer called [{section.kind}]; there are: "
            f"{', '.join(sorted(FOLLOWED))}"
        )

    known = FOLLOWED[section.kind] | PASSED_OVER.get(section.kind, set())
    for key in section.options:
        if key not in known:
            raise ValueError(
                f"{section.where}: [{section.kind}] has {key}={section.options[key]}, which is not "
                f"known here and might change what is found; known are {', '.join(sorted(known))}"
            )

    # Known, but only in the one value that does what we do.
    only = {"scale_x_y": 1, "new_coords": 0, "letter_box": 0, "scale": 1}
    for key, value in only.items():
        if key in section.options and section.floats(key) != [value]:
            raise ValueError(
                f"{section.where}: [{section.kind}] has {key}={section.options[key]}: only {value} "
                "can be read"
            )


def write_cfg(sections: Sequence[Section]) -> str:
    """Return the text of a plan, which `read_cfg` reads again."""
    blocks = []
    for section in sections:
        lines = [f"[{section.kind}]", *(f"{key}={value}" for key, value in section.options.items())]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


# ---- the network ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class MapShape:
    """What a layer gives: its channels, and the pixels of the image that a cell covers."""

    channels: int
    stride: float


class Route(nn.Module):
    """The maps of one or several layers, one behind the other, or a group of their channels.

    Args:
        layers: the numbers of these layers.
        groups: so many equal parts of each layer's channels …
        group_id: … of which this one is taken.
    """

    def __init__(self, layers: Sequence[int], groups: int, group_id: int) -> None:
        super().__init__()
        self.layers = list(layers)
        self.groups = groups
        self.group_id = group_id

    def forward(self, x: Tensor, before: Sequence[Tensor]) -> Tensor:
        """Return (B, C, H, W), whatever x is."""
        parts = [before[layer].chunk(self.groups, dim=1)[self.group_id] for layer in self.layers]
        return torch.cat(parts, dim=1)


class Shortcut(nn.Module):
    """The sum of the map that comes in and that of another layer.

    Args:
        layer: the other layer's number.
        activation: follows the sum.
    """

    def __init__(self, layer: int, activation: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.activation = activation

    def forward(self, x: Tensor, before: Sequence[Tensor]) -> Tensor:
        """Return (B, C, H, W)."""
        return self.activation(x + before[self.layer])


class DarknetNetwork(nn.Module):
    """The network of a plan, up to what its ``[yolo]`` layers read; a backbone for `YOLOv3`.

    Args:
        sections: the plan, from `read_cfg`.

    Attributes:
        sections: the same.
        input_size: height and width of the images.
        outputs: per ``[yolo]`` layer, finest first: its number among the layers.
        strides: per ``[yolo]`` layer, finest first: the pixels of a cell.
        out_channels: per ``[yolo]`` layer, finest first: A·(5 + K).

    Raises:
        ValueError: if layers do not fit together; the message names file and line.
    """

    def __init__(self, sections: Sequence[Section]) -> None:
        super().__init__()
        net, *plan = sections
        self.sections = list(sections)
        self.input_size = (net.integer("height", least=32), net.integer("width", least=32))

        layers, shapes = [], []
        shape = MapShape(net.integer("channels", 3, least=1), 1)
        if shape.channels != 3:
            raise ValueError(
                f"{net.where}: [net] has channels={shape.channels}: only 3 can be read"
            )
        for section in plan:
            layer, shape = build_layer(section, shape, shapes)
            layers.append(layer)
            shapes.append(shape)
        self.layers = nn.ModuleList(layers)

        outputs = [i for i, section in enumerate(plan) if section.kind == "yolo"]
        self.outputs = sorted(outputs, key=lambda i: shapes[i].stride)
        self.strides = [int(shapes[i].stride) for i in self.outputs]
        self.out_channels = [shapes[i].channels for i in self.outputs]
        if not self.outputs or len(set(self.strides)) < len(self.strides):
            raise ValueError(
                f"{net.where}: the network has [yolo] layers of the strides {self.strides}: "
                "expected at least one, and each stride once"
            )

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Compute raw maps (B, A·(5 + K), h, w) by stride, finest first, of images (B, 3, H, W)."""
        x, before = images, []
        for layer in self.layers:
            x = layer(x, before) if isinstance(layer, Route | Shortcut) else layer(x)
            before.append(x)

        return OrderedDict(
            (str(stride), before[i]) for stride, i in zip(self.strides, self.outputs)
        )

    def yolo_sections(self) -> list[Section]:
        """Return the ``[yolo]`` sections of the plan, finest stride first."""
        return [self.sections[1 + i] for i in self.outputs]  # [net] is no layer


def build_layer(
    section: Section, shape: MapShape, shapes: Sequence[MapShape]
) -> tuple[nn.Module, MapShape]:
    """Build one layer.

    Args:
        section: what the plan says of it.
        shape: of the map that comes in.
        shapes: of the maps of all layers before.

    Returns:
        The layer, and the shape of its map.

    Raises:
        ValueError: if the layer cannot be built, or not on these maps.
    """
    if section.kind == "convolutional":
        layer = convolution(section, shape.channels)
        stride = section.integer("stride", 1, least=1)
        return layer, MapShape(layer[0].out_channels, shape.stride * stride)

    if section.kind == "maxpool":
        return max_pool(section), MapShape(
            shape.channels, shape.stride * section.integer("stride", 1, least=1)
        )

    if section.kind == "route":
        return route(section, shapes)

    if section.kind == "shortcut":
        (other,) = layer_numbers(section, "from", len(shapes))
        if shapes[other] != shape:
            raise ValueError(
                f"{section.where}: [shortcut] adds a map of {described(shape)} and one of "
                f"{described(shapes[other])}: expected equals"
            )
        return Shortcut(other, activation(section, "linear")), shape

    if section.kind == "upsample":
        stride = section.integer("stride", 2, least=1)
        return nn.Upsample(scale_factor=stride), MapShape(shape.channels, shape.stride / stride)

    if section.kind == "dropout":
        return nn.Dropout(section.floats("probability", [0.5])[0]), shape

    if section.kind == "yolo":
        expected = len(section.integers("mask")) * (5 + section.integer("classes", least=1))
        if shape.channels != expected:
            raise ValueError(
                f"{section.where}: [yolo] reads {shape.channels} channels: expected {expected}, "
                "anchors of the mask × (5 + classes)"
            )
        return nn.Identity(), shape

    raise ValueError(f"{section.where}: [{section.kind}] stands among the layers")


def convolution(section: Section, in_channels: int) -> nn.Sequential:
    """Build a ``[convolutional]``: convolution, its normalisation if there is one, activation."""
    size = section.integer("size", 1, least=1)
    groups = section.integer("groups", 1, least=1)
    filters = section.integer("filters", 1, least=1)
    if in_channels % groups or filters % groups:
        raise ValueError(
            f"{section.where}: [convolutional] has groups={groups}, which does not divide its "
            f"{in_channels} channels and {filters} filters"
        )

    # pad=1 says that the map keeps its size at stride 1, whatever padding says.
    same = section.integer("pad", 0) != 0
    normalised = section.integer("batch_normalize", 0) != 0
    layers: list[nn.Module] = [
        nn.Conv2d(
            in_channels,
            filters,
            size,
            stride=section.integer("stride", 1, least=1),
            padding=size // 2 if same else section.integer("padding", 0),
            groups=groups,
            bias=not normalised,
        )
    ]
    if normalised:
        layers.append(nn.BatchNorm2d(filters, eps=BATCH_NORM_EPS, momentum=BATCH_NORM_MOMENTUM))
    return nn.Sequential(*layers, activation(section, "logistic"))


def activation(section: Section, default: str) -> nn.Module:
    """Build the activation that a section names."""
    name = section.options.get("activation", default)
    if name not in ACTIVATIONS:
        raise ValueError(
            f"{section.where}: no activation called {name!r}; there are: "
            f"{', '.join(sorted(ACTIVATIONS))}"
        )
    return ACTIVATIONS[name]()


def max_pool(section: Section) -> DarknetMaxPool:
    """Build a ``[maxpool]``."""
    stride = section.integer("stride", 1, least=1)
    size = section.integer("size", stride, least=1)
    if section.integer("padding", size - 1) != size - 1:
        raise ValueError(
            f"{section.where}: [maxpool] has padding={section.options['padding']}: only size − 1 "
            f"= {size - 1}, Darknet's default, can be read"
        )
    return DarknetMaxPool(size, stride)


def route(section: Section, shapes: Sequence[MapShape]) -> tuple[Route, MapShape]:
    """Build a ``[route]``."""
    numbers = layer_numbers(section, "layers", len(shapes))
    groups = section.integer("groups", 1, least=1)
    group_id = section.integer("group_id", 0)

    chosen = [shapes[number] for number in numbers]
    if len({shape.stride for shape in chosen}) > 1:
        maps = " and ".join(described(shape) for shape in chosen)
        raise ValueError(f"{section.where}: [route] joins maps of {maps}: expected one stride")
    if group_id >= groups or any(shape.channels % groups for shape in chosen):
        raise ValueError(
            f"{section.where}: [route] takes group {group_id} of {groups} of "
            f"{', '.join(str(shape.channels) for shape in chosen)} channels"
        )

    channels = sum(shape.channels // groups for shape in chosen)
    return Route(numbers, groups, group_id), MapShape(channels, chosen[0].stride)


def layer_numbers(section: Section, key: str, here: int) -> list[int]:
    """Return which layers a section looks back at; a negative number counts from itself."""
    numbers = [here + n if n < 0 else n for n in section.integers(key)]
    for number in numbers:
        if not 0 <= number < here:
            raise ValueError(
                f"{section.where}: [{section.kind}], layer {here}, has {key}="
                f"{section.options[key]}, which is layer {number}: expected one before it"
            )
    return numbers


def described(shape: MapShape) -> str:
    """Return a map's shape in words."""
    return f"{shape.channels} channels at stride {shape.stride:g}"


# ---- the detector --------------------------------------------------------------------------------


def from_darknet(cfg: str | os.PathLike, weights: str | os.PathLike | None = None) -> YOLOv3:
    """Build a detector from a Darknet plan, with its weights.

    Images are squashed to the plan's size, as Darknet's own training does, and colours stay as they
    are. Boxes are decoded by `detlearn.models.yolov3`.

    Args:
        cfg: the plan, of YOLOv3, YOLOv3-tiny, Yolo-Fastest or another network of these layers.
        weights: the weights; random ones by default.

    Returns:
        The detector in eval mode.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the plan asks for what we do not have, or the weights are not of this plan.
    """
    network = DarknetNetwork(read_cfg(cfg))
    yolos = network.yolo_sections()

    num_classes = yolos[0].integer("classes", least=1)
    for yolo in yolos:
        if yolo.integer("classes") != num_classes:
            raise ValueError(
                f"{yolo.where}: [yolo] has {yolo.integer('classes')} classes, another one "
                f"{num_classes}: expected equal numbers"
            )

    model = YOLOv3(
        num_classes,
        backbone=network,
        neck=nn.Identity(),  # the plan's layers do all of it
        head=nn.Identity(),
        anchors=[masked_anchors(yolo) for yolo in yolos],
        ignore_threshold=yolos[0].floats("ignore_thresh", [0.5])[0],
        batcher=darknet_batcher(network.input_size),
    )
    if weights is not None:
        load_darknet(model, weights)
    return model.eval()


def masked_anchors(yolo: Section) -> list[tuple[float, float]]:
    """Return the anchors (width, height) that a ``[yolo]`` layer's mask picks."""
    numbers = yolo.floats("anchors")
    pairs = list(zip(numbers[0::2], numbers[1::2]))
    if len(numbers) % 2 or len(pairs) != yolo.integer("num", len(pairs)):
        raise ValueError(
            f"{yolo.where}: [yolo] has {len(numbers)} numbers of anchors: expected 2 × num = "
            f"{2 * yolo.integer('num', len(pairs))}"
        )

    mask = yolo.integers("mask", least=0)
    if max(mask) >= len(pairs):
        raise ValueError(
            f"{yolo.where}: [yolo] has mask={yolo.options['mask']}, but {len(pairs)} anchors"
        )
    return [pairs[i] for i in mask]


# ---- the weights ---------------------------------------------------------------------------------


def load_darknet(model: nn.Module, weights: str | os.PathLike) -> None:
    """Read a ``.weights`` file into a network.

    The file does not name its numbers: they go to the convolutions in the order in which Darknet
    has them.

    Args:
        model: of `from_darknet`, `yolov3_darknet53` or `yolov3_tiny`; or a backbone alone, such as
            `Darknet53`, for a file of its layers (``darknet53.conv.74``).
        weights: the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has more or fewer numbers than the network, or no possible ones. The model
            is then left as it was.
    """
    path = existing(weights, "Darknet weights")
    tensors = list(tensors_in_order(model))
    expected = sum(tensor.numel() for _, tensor in tensors)
    numbers = read_numbers(path, expected)

    # A variance below 0 shows that numbers stand in other places than they are looked for.
    parts = numbers.split([tensor.numel() for _, tensor in tensors])
    for (name, _), part in zip(tensors, parts):
        if not part.isfinite().all() or (name == "variance" and (part < 0).any()):
            raise ValueError(
                f"{path} has as many numbers as the network, but not of this network: a {name} "
                "would be NaN, infinite or, for a variance, negative"
            )

    with torch.no_grad():
        for (_, tensor), part in zip(tensors, parts):
            tensor.copy_(part.view(tensor.shape))


def save_darknet(
    model: nn.Module,
    weights: str | os.PathLike,
    cfg: str | os.PathLike | None = None,
    *,
    images_seen: int = 0,
) -> None:
    """Write a network as `load_darknet` and `from_darknet` read it, atomically.

    Args:
        model: as for `load_darknet`.
        weights: the file of its weights, with the header of version 0.2.5.
        cfg: the file of its plan, for a detector of `from_darknet`.
        images_seen: how many images it was trained on, for the header.

    Raises:
        ValueError: if a plan is asked for, and the model was not built from one.
    """
    network = getattr(model, "backbone", model)
    if cfg is not None and not isinstance(network, DarknetNetwork):
        raise ValueError(
            f"{type(model).__name__} was not built from a plan, so there is none to write: leave "
            "cfg out"
        )

    header = np.array([0, 2, 5], dtype="<i4").tobytes()
    header += np.array([images_seen], dtype="<i8").tobytes()
    body = [
        tensor.detach().cpu().float().contiguous().numpy().astype("<f4").tobytes()
        for _, tensor in tensors_in_order(model)
    ]
    write_atomically(Path(weights), header + b"".join(body))
    if cfg is not None:
        write_atomically(Path(cfg), write_cfg(network.sections).encode())


def tensors_in_order(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield what a ``.weights`` file holds, with a word for what it is, in the file's order."""
    modules = [module for part in parts_in_order(model) for module in part.modules()]
    for i, conv in enumerate(modules):
        if not isinstance(conv, nn.Conv2d):
            continue

        # In all our networks a convolution's normalisation follows it directly.
        norm = modules[i + 1] if i + 1 < len(modules) else None
        if isinstance(norm, nn.BatchNorm2d):
            yield "shift", norm.bias
            yield "scale", norm.weight
            yield "mean", norm.running_mean
            yield "variance", norm.running_var
        else:
            yield "bias", conv.bias
        yield "weight", conv.weight


def parts_in_order(model: nn.Module) -> list[nn.Module]:
    """Return the parts of a network in the order in which Darknet has them.

    Darknet predicts on a level as soon as its map is there, so neck and head alternate, from the
    coarsest level to the finest.
    """
    if not isinstance(model, YOLOv3) or not isinstance(model.neck, YOLOv3Neck):
        return [model]

    parts: list[nn.Module] = [model.backbone]
    coarsest = len(model.neck.blocks) - 1
    for level in range(coarsest, -1, -1):
        if level < coarsest:
            parts.append(model.neck.laterals[level])
        parts += [model.neck.blocks[level], model.head.towers[level]]
    return parts


def read_numbers(path: Path, expected: int) -> Tensor:
    """Return the numbers of a ``.weights`` file (N,) float32; raise ValueError if N is another."""
    content = path.read_bytes()
    if len(content) < 16:
        raise ValueError(f"{path} has {len(content)} bytes, less than a header: no Darknet weights")

    major, minor, _ = np.frombuffer(content, "<i4", count=3).tolist()
    if not (0 <= major < 1000 and 0 <= minor < 1000):
        raise ValueError(
            f"{path} begins with {major}, {minor}, where the version stands: no Darknet weights"
        )

    # The count of images seen, which follows, was enlarged with version 0.2.
    header = 20 if 10 * major + minor >= 2 else 16
    if len(content) != header + 4 * expected:
        found = (len(content) - header) / 4
        raise ValueError(
            f"{path} holds {found:.10g} numbers of float32 after a header of {header} bytes, the "
            f"network has {expected}: the file is cut off, or of another network"
        )
    return torch.from_numpy(np.frombuffer(content, "<f4", offset=header).copy())


def existing(path: str | os.PathLike, what: str) -> Path:
    """Return a path; raise FileNotFoundError if there is no file, saying what should be there."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: expected {what}")
    return path
