"""Darknet's files: plans and weights, read, written, and refused."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch.testing import assert_close

from detlearn import metrics
from detlearn.data import CocoDetection
from detlearn.models.yolov3 import ANCHORS, TINY_ANCHORS, YOLOv3, yolov3_darknet53, yolov3_tiny
from detlearn.nets.darknet import Darknet53
from detlearn.pretrained import from_darknet, load_darknet, save_darknet
from detlearn.pretrained.darknet import DarknetNetwork, read_cfg, write_cfg

# ---- plans ---------------------------------------------------------------------------------------


def section(kind, **options):
    return "\n".join([f"[{kind}]", *(f"{key}={value}" for key, value in options.items()), ""])


def conv(filters, size=3, stride=1, norm=1, activation="leaky", **more):
    norm = {"batch_normalize": norm} if norm else {}
    return section(
        "convolutional", **norm, filters=filters, size=size, stride=stride, pad=1,
        activation=activation, **more,
    )  # fmt: skip


def detection(mask, anchors, classes=80):
    channels = len(mask) * (5 + classes)
    flat = ",".join(f"{w},{h}" for w, h in anchors)
    yolo = section(
        "yolo", mask=",".join(map(str, mask)), anchors=flat, classes=classes, num=len(anchors),
        jitter=0.3, ignore_thresh=0.7, truth_thresh=1, random=1,
    )  # fmt: skip
    return conv(channels, size=1, norm=0, activation="linear") + yolo


def route(*layers):
    return section("route", layers=",".join(map(str, layers)))


def yolov3_plan(size=416):
    """``yolov3.cfg``, written from table 1 of the paper and the list of its 107 layers."""
    anchors = [anchor for level in ANCHORS for anchor in level]
    plan = [section("net", width=size, height=size, channels=3), conv(32)]
    channels = 32
    for blocks in (1, 2, 8, 8, 4):
        channels *= 2
        plan.append(conv(channels, stride=2))
        for _ in range(blocks):
            plan += [conv(channels // 2, size=1), conv(channels)]
            plan.append(section("shortcut", **{"from": -3}, activation="linear"))
    for level, (channels, earlier) in enumerate([(512, None), (256, 61), (128, 36)]):
        if earlier:
            plan += [route(-4), conv(channels, size=1), section("upsample", stride=2)]
            plan.append(route(-1, earlier))
        plan += [conv(channels, size=1), conv(2 * channels)] * 3
        plan.append(detection([6 - 3 * level + i for i in range(3)], anchors))
    return "\n".join(plan)


def tiny_plan(size=416):
    """``yolov3-tiny.cfg``."""
    anchors = [anchor for level in TINY_ANCHORS for anchor in level]
    plan = [section("net", width=size, height=size, channels=3)]
    for filters in (16, 32, 64, 128, 256):
        plan += [conv(filters), section("maxpool", size=2, stride=2)]
    plan += [conv(512), section("maxpool", size=2, stride=1), conv(1024)]
    plan += [conv(256, size=1), conv(512), detection([3, 4, 5], anchors)]
    plan += [route(-4), conv(128, size=1), section("upsample", stride=2), route(-1, 8)]
    plan += [conv(256), detection([0, 1, 2], anchors)]
    return "\n".join(plan)


# A network of all layers: groups, a shortcut, pooling at stride 1, a route of four, of half a
# layer's channels, two levels, of which the finer comes last.
MIXED = "\n".join(
    [
        "; a comment\n[net]\n width = 96 \nheight=64\n# another\nchannels=3\nbatch=1\nhue=.1\n",
        conv(8, stride=2),  # 0, stride 2
        conv(8, groups=8),  # 1
        conv(8, size=1, activation="linear"),  # 2
        section("dropout", probability=0.2),  # 3
        section("shortcut", **{"from": -4}, activation="linear"),  # 4: layers 3 and 0
        conv(16, size=5, stride=2),  # 5, stride 4
        section("maxpool", stride=2, size=2),  # 6, stride 8
        section("maxpool", stride=1, size=3),  # 7
        route(-2),  # 8: layer 6
        section("maxpool", stride=1, size=5),  # 9
        route(-1, -3, 6),  # 10: layers 9, 7, 6
        section("route", layers=-1, groups=2, group_id=1),  # 11: the second half
        conv(24, size=1, activation="relu"),  # 12
        detection([1, 2], [(5, 6), (20, 10), (30, 40)], classes=2),  # 13, 14
        route(12),  # 15
        section("upsample", stride=2),  # 16, stride 4
        route(-1, 5),  # 17: layers 16, 5
        conv(6, stride=1, size=3, norm=0, activation="logistic"),  # 18
        detection([0], [(5, 6), (20, 10), (30, 40)], classes=2),  # 19, 20
    ]
)


def naive_mixed(network, x):
    """The same network, layer after layer by hand."""

    def run(i, x, activation, groups=1):
        layer = network.layers[i]
        c = layer[0]
        k = c.weight.shape[-1]
        stride = {0: 2, 5: 2}.get(i, 1)
        x = F.conv2d(x, c.weight, c.bias, stride=stride, padding=k // 2, groups=groups)
        if c.bias is None:
            n = layer[1]
            shape = (1, -1, 1, 1)
            x = (x - n.running_mean.view(shape)) / (n.running_var.view(shape) + 1e-5).sqrt()
            x = x * n.weight.view(shape) + n.bias.view(shape)
        return activation(x)

    def leaky(x):
        return torch.where(x > 0, x, 0.1 * x)

    def pool(x, k):
        return F.max_pool2d(x, k, stride=1, padding=k // 2)

    x0 = run(0, x, leaky)
    x4 = run(2, run(1, x0, leaky, groups=8), lambda x: x) + x0
    x5 = run(5, x4, leaky)
    x6 = F.max_pool2d(x5, 2)
    x7 = pool(x6, 3)
    x10 = torch.cat((pool(x6, 5), x7, x6), dim=1)
    x12 = run(12, x10[:, 24:], lambda x: x.clamp(min=0))
    coarse = run(13, x12, lambda x: x)
    x17 = torch.cat((x12.repeat_interleave(2, 2).repeat_interleave(2, 3), x5), dim=1)
    return run(19, run(18, x17, torch.sigmoid), lambda x: x), coarse


def written(folder, text, name="plan.cfg"):
    path = folder / name
    path.write_text(text)
    return path


def randomise(model, seed=0):
    """Give every number of a file a value of its own; variances above 0."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if "running_var" in name:
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=random))
            elif tensor.is_floating_point() and "batcher" not in name:
                fan = max(1, tensor[0].numel() if tensor.ndim == 4 else 4)
                tensor.copy_(torch.randn(tensor.shape, generator=random) / fan**0.5)
    return model.eval()


class TestPlan:
    def test_every_layer_equals_the_network_by_hand(self, tmp_path):
        network = randomise(DarknetNetwork(read_cfg(written(tmp_path, MIXED))))
        assert network.input_size == (64, 96)
        assert network.strides == [4, 8] and network.out_channels == [7, 14]
        x = torch.randn(2, 3, 64, 96)
        with torch.no_grad():
            found, wanted = network(x), naive_mixed(network, x)
        assert list(found) == ["4", "8"]
        for a, b in zip(found.values(), wanted):
            assert_close(a, b, rtol=1e-4, atol=1e-5)

    def test_the_detector_has_the_plans_settings(self, tmp_path):
        plan = MIXED.replace("ignore_thresh=0.7", "ignore_thresh=.6")
        model = from_darknet(written(tmp_path, plan))
        assert isinstance(model, YOLOv3) and not model.training
        assert model.num_classes == 2 and model.ignore_threshold == 0.6
        assert model.anchors == [[(5, 6)], [(20, 10), (30, 40)]]
        assert model.strides == [4, 8] and model.batcher.fixed_size == (64, 96)
        batch, _ = model.batcher([torch.full((3, 10, 10), 0.25)])
        assert_close(batch.images, torch.full((1, 3, 64, 96), 0.25))

    def test_can_be_trained(self, tmp_path):
        torch.manual_seed(0)
        model = from_darknet(written(tmp_path, MIXED)).train()
        target = {"boxes": torch.tensor([[5.0, 5, 30, 40]]), "labels": torch.tensor([1])}
        sum(model([torch.rand(3, 64, 96)] * 2, [target] * 2).values()).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name

    def test_written_and_read_again(self, tmp_path):
        sections = read_cfg(written(tmp_path, MIXED))
        again = read_cfg(written(tmp_path, write_cfg(sections), "again.cfg"))
        assert [(s.kind, s.options) for s in again] == [(s.kind, s.options) for s in sections]
        assert sections[0].options["width"] == "96"

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (("[dropout]", "[gaussian_dropout]"), r"no layer called \[gaussian_dropout\]"),
            (("groups=8", "group=8"), r"\[convolutional\] has group=8, which is not known"),
            (("groups=8", "groups=5"), "groups=5, which does not divide its 8 channels"),
            (("activation=relu", "activation=mish"), "called 'mish'; there are: leaky"),
            (("filters=16", "filters=many"), r"filters=many: expected numbers"),
            (("filters=16", "filters=inf"), r"filters=inf: expected numbers"),
            (("filters=16", "filters=1.5"), r"filters=1.5: expected whole numbers"),
            (("filters=16", "filters=0"), r"filters=0: expected whole numbers of at least 1"),
            (("filters=16", "filters=16,16"), r"filters=16,16: expected 1 number"),
            (("filters=16", "filters"), r"line \d+ is 'filters': expected"),
            (("filters=16", "filters=16\nfilters=16"), "gives filters a second time"),
            (("from=-4", "from=-9"), r"\[shortcut\], layer 4, has from=-9, which is layer -5"),
            (("from=-4", "from=4"), "which is layer 4: expected one before it"),
            (("from=-4\n", ""), r"\[shortcut\] lacks from"),
            (("[shortcut]\nfrom=-4", "[shortcut]\nweights_type=relu"), "weights_type=relu, which"),
            (("layers=-1,5", "layers=-1,0"), r"\[route\] joins maps of 24 channels at stride 4"),
            (("group_id=1", "group_id=2"), "takes group 2 of 2 of 48 channels"),
            (("mask=1,2", "mask=1,3"), "mask=1,3, but 3 anchors"),
            (("mask=1,2", "mask=1"), "reads 14 channels: expected 7"),
            (("num=3", "num=4"), r"6 numbers of anchors: expected 2 × num = 8"),
            (("5,6,20,10,30,40", "5,6,20,10,30"), "5 numbers of anchors"),
            (("5,6,20,10,30,40", "5,6,20,10,30,-4"), "-4.0: expected positive numbers"),
            (("truth_thresh=1", "scale_x_y=1.05"), "scale_x_y=1.05: only 1 can be read"),
            (("truth_thresh=1", "new_coords=1"), "new_coords=1: only 0 can be read"),
            (("channels=3", "channels=1"), "channels=1: only 3 can be read"),
            (("channels=3", "letter_box=1"), "letter_box=1: only 0 can be read"),
            (("stride=1\nsize=3", "stride=1\nsize=3\npadding=0"), "padding=0: only size − 1 = 2"),
            (("[upsample]\nstride=2", "[upsample]\nstride=1"), "joins maps of 24 channels at"),
            (("[route]\nlayers=12", "[net]\nwidth=5"), r"\[net\] stands among the layers"),
            (("[net]", "[convolutional]"), r"does not begin with \[net\]"),
        ],
    )  # fmt: skip
    def test_a_plan_that_cannot_be_followed(self, tmp_path, change, says):
        assert change[0] in MIXED
        path = written(tmp_path, MIXED.replace(*change))
        with pytest.raises(ValueError, match=says):
            from_darknet(path)

    def test_levels_must_agree(self, tmp_path):
        first, last = MIXED.rsplit("[convolutional]", 1)
        last = last.replace("classes=2", "classes=3").replace("filters=7", "filters=8")
        with pytest.raises(ValueError, match=r"\[yolo\] has 2 classes, another one 3"):
            from_darknet(written(tmp_path, f"{first}[convolutional]{last}"))
        twice = MIXED.replace("[upsample]\nstride=2", "[upsample]\nstride=1").replace(
            "-1,5", "-1,7"
        )
        with pytest.raises(
            ValueError, match=r"of the strides \[8, 8\]: expected .* each stride once"
        ):
            from_darknet(written(tmp_path, twice))
        with pytest.raises(ValueError, match=r"of the strides \[\]: expected at least one"):
            from_darknet(written(tmp_path, section("net", width=64, height=64) + conv(8)))

    def test_what_is_no_plan(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no file .*none: expected a Darknet conf"):
            from_darknet(tmp_path / "none")
        for content, says in (
            (b"\xff\xfe\x00", "is no text"),
            (b"", r"does not begin with \[net\]"),
        ):
            (tmp_path / "bad").write_bytes(content)
            with pytest.raises(ValueError, match=says):
                from_darknet(tmp_path / "bad")


# ---- weights -------------------------------------------------------------------------------------

SMALL = (
    section("net", width=64, height=32) + conv(4, stride=2) + detection([0], [(8, 8)], classes=1)
)
# The first convolution has 4 shifts, scales, means, variances and 4 · 3 · 9 weights, the second
# 6 biases and 6 · 4 weights.
SMALL_FLOATS = 4 * 4 + 108 + 6 + 24


HEADER = struct.pack("<iiiq", 0, 2, 5, 32000)


def weights_file(path, floats, header=HEADER):
    path.write_bytes(header + np.asarray(floats, dtype="<f4").tobytes())
    return path


class TestWeights:
    def test_order_by_hand(self, tmp_path):
        plan = written(tmp_path, SMALL)
        numbers = np.arange(SMALL_FLOATS) + 1.0
        model = from_darknet(plan, weights_file(tmp_path / "w", numbers))
        (conv1, norm, _), (conv2, _) = model.backbone.layers[0], model.backbone.layers[1]
        assert norm.bias.tolist() == [1, 2, 3, 4]
        assert norm.weight.tolist() == [5, 6, 7, 8]
        assert norm.running_mean.tolist() == [9, 10, 11, 12]
        assert norm.running_var.tolist() == [13, 14, 15, 16]
        # out, in, row, column: the last changes fastest
        assert conv1.weight[0, 0].tolist() == [[17, 18, 19], [20, 21, 22], [23, 24, 25]]
        assert conv1.weight[1, 0, 0, 0] == 17 + 27 and conv1.weight[0, 1, 0, 0] == 17 + 9
        assert conv2.bias.tolist() == [125, 126, 127, 128, 129, 130]
        assert conv2.weight.flatten().tolist() == list(range(131, SMALL_FLOATS + 1))

    @pytest.mark.parametrize(
        ("version", "seen"),
        [((0, 1, 0), "i"), ((0, 2, 0), "q"), ((0, 2, 5), "q"), ((1, 0, 0), "q")],
    )
    def test_both_headers(self, tmp_path, version, seen):
        header = struct.pack(f"<iii{seen}", *version, 7)
        assert len(header) == (16 if seen == "i" else 20)
        path = weights_file(tmp_path / "w", np.arange(SMALL_FLOATS) + 1.0, header)
        model = from_darknet(written(tmp_path, SMALL), path)
        assert model.backbone.layers[1][0].weight.flatten()[-1] == SMALL_FLOATS

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (lambda good: good[:-4], rf"holds {SMALL_FLOATS - 1} numbers .* has {SMALL_FLOATS}"),
            (lambda good: good[:-1], rf"holds {SMALL_FLOATS - 0.25} numbers .* has {SMALL_FLOATS}"),
            (lambda good: good + b"\0" * 4, rf"holds {SMALL_FLOATS + 1} numbers .* {SMALL_FLOATS}"),
            (lambda good: good[:20], r"holds 0 numbers of float32 after a header of 20 bytes"),
            (lambda good: good[:12], "has 12 bytes, less than a header"),
            (lambda good: b"", "has 0 bytes"),
            (lambda good: b"\x89PNG\r\n\x1a\n" + good[8:], "where the version stands"),
            (lambda good: struct.pack("<iiii", 0, 1, 0, 7) + good[20:-4], "header of 16 bytes"),
            (lambda good: good[:-4] + struct.pack("<f", float("nan")), "a weight would be NaN"),
            (lambda good: good[:68] + struct.pack("<f", -1) + good[72:], "a variance would be"),
        ],
    )  # fmt: skip
    def test_another_file_is_refused_and_changes_nothing(self, tmp_path, content, says):
        good = weights_file(tmp_path / "w", np.arange(SMALL_FLOATS) + 1.0).read_bytes()
        (tmp_path / "bad").write_bytes(content(good))
        model = from_darknet(written(tmp_path, SMALL))
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with pytest.raises(ValueError, match=says):
            load_darknet(model, tmp_path / "bad")
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name]), name

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no file .*none: expected Darknet weights"):
            from_darknet(written(tmp_path, SMALL), tmp_path / "none")

    def test_written_and_read_again(self, tmp_path):
        model = randomise(from_darknet(written(tmp_path, MIXED)))
        save_darknet(model, tmp_path / "our.weights", tmp_path / "our.cfg", images_seen=2**33)
        assert struct.unpack("<iiiq", (tmp_path / "our.weights").read_bytes()[:20]) == (
            *(0, 2, 5),
            2**33,
        )
        again = from_darknet(tmp_path / "our.cfg", tmp_path / "our.weights")
        assert again.anchors == model.anchors and again.num_classes == model.num_classes
        wanted = model.state_dict()
        for name, value in again.state_dict().items():
            assert "num_batches" in name or torch.equal(value, wanted[name]), name
        image = torch.rand(3, 50, 70)
        with torch.no_grad():
            model.score_threshold = again.score_threshold = 0.0
            (before,), (after,) = model([image]), again([image])
        assert len(before["scores"]) > 0
        assert all(torch.equal(before[name], after[name]) for name in before)

    def test_a_plan_is_written_only_where_there_is_one(self, tmp_path):
        with pytest.raises(ValueError, match="YOLOv3 was not built from a plan"):
            save_darknet(yolov3_tiny(1), tmp_path / "w", tmp_path / "cfg")
        assert not list(tmp_path.iterdir())


# ---- the published networks ----------------------------------------------------------------------


class TestPublished:
    @pytest.mark.parametrize(
        ("plan", "builder", "floats", "layers"),
        [
            (tiny_plan, yolov3_tiny, 8_858_734, 24),
            pytest.param(
                yolov3_plan, yolov3_darknet53, 62_001_757, 107, marks=pytest.mark.slow
            ),
        ],
    )  # fmt: skip
    def test_our_own_form_finds_what_the_plan_finds(self, tmp_path, plan, builder, floats, layers):
        """Both are given the numbers 1 … N of one file, in whatever order they take them."""
        ours = randomise(builder(size=96))
        save_darknet(ours, tmp_path / "w")
        assert (tmp_path / "w").stat().st_size == 20 + 4 * floats

        planned = from_darknet(written(tmp_path, plan(96)), tmp_path / "w")
        assert len(planned.backbone.layers) == layers
        assert planned.anchors == [[tuple(a) for a in level] for level in ours.anchors]
        images = torch.rand(2, 3, 96, 96)
        with torch.no_grad():
            found, wanted = planned.predict(images), ours.predict(images)
        assert found.strides == wanted.strides
        for a, b in zip(found.raw, wanted.raw):
            assert_close(a, b, rtol=1e-3, atol=1e-3 * b.abs().max().item())

        other = builder(size=96)
        load_darknet(other, tmp_path / "w")
        for name, value in other.state_dict().items():
            assert "num_batches" in name or torch.equal(value, ours.state_dict()[name]), name

    def test_a_backbone_alone(self, tmp_path):
        """``darknet53.conv.74`` holds 40 620 640 numbers."""
        backbone = randomise(Darknet53())
        save_darknet(backbone, tmp_path / "w")
        assert (tmp_path / "w").stat().st_size == 20 + 4 * 40_620_640
        other = Darknet53()
        load_darknet(other, tmp_path / "w")
        for a, b in zip(other.parameters(), backbone.parameters()):
            assert torch.equal(a, b)

    def test_weights_of_another_network(self, tmp_path):
        save_darknet(yolov3_tiny(3), tmp_path / "w")
        with pytest.raises(ValueError, match=r"holds \d+ numbers .* the network has 8858734"):
            load_darknet(yolov3_tiny(80), tmp_path / "w")


# ---- Yolo-Fastest: weights that others trained ---------------------------------------------------


@pytest.fixture(scope="module")
def fastest():
    """The folder of its weights, beside the data sets; without it the tests are skipped."""
    data = os.environ.get("DETLEARN_DATA")
    folder = Path(data or "").parent / "weights" / "yolo-fastest"
    if not data or not folder.is_dir():
        pytest.skip("Yolo-Fastest is not here: set DETLEARN_DATA to the folder beside weights/")
    return folder


def yolo_fastest(folder, name):
    return from_darknet(folder / f"{name}.cfg", folder / f"{name}.weights")


class TestYoloFastest:
    @pytest.mark.parametrize(
        ("name", "floats"), [("yolo-fastest-1.1", 346_062), ("yolo-fastest-1.1-xl", 923_486)]
    )
    def test_every_number_is_used(self, fastest, name, floats):
        model = yolo_fastest(fastest, name)
        parameters = sum(p.numel() for p in model.parameters())
        running = sum(b.numel() for n, b in model.named_buffers() if "running" in n)
        assert parameters + running == floats

    def test_finds_dog_bicycle_and_car(self, fastest):
        model = yolo_fastest(fastest, "yolo-fastest-1.1-xl")
        names = (fastest / "coco.names").read_text().split("\n")
        pixels = np.array(Image.open(fastest / "dog.jpg").convert("RGB"))
        with torch.no_grad():
            (found,) = model([torch.from_numpy(pixels).permute(2, 0, 1) / 255])
        best = {}
        for label, score, box in zip(*(found[key] for key in ("labels", "scores", "boxes"))):
            best.setdefault(names[label], (score.item(), [round(v) for v in box.tolist()]))
        for name, score in (("dog", 0.96), ("bicycle", 0.89), ("car", 0.84)):
            assert best[name][0] == pytest.approx(score, abs=0.005)
        # In the picture of 768 × 576 pixels the dog sits at the left, the bicycle behind it.
        for name, wanted in (("dog", (114, 189, 385, 535)), ("bicycle", (113, 127, 573, 497))):
            assert best[name][1] == pytest.approx(wanted, abs=3)

    def test_average_precision_on_free_photographs(self, fastest, data_root, capsys):
        free = data_root / "coco_free"
        if not free.is_dir():
            pytest.skip("coco_free is not in DETLEARN_DATA")
        photographs = CocoDetection(free / "images", free / "instances.json")
        model = yolo_fastest(fastest, "yolo-fastest-1.1-xl")
        model.score_threshold = 0.005  # as Darknet measures

        # The same 80 classes in the same order; six have another name in Darknet.
        names = (fastest / "coco.names").read_text().splitlines()
        pairs = zip(names, photographs.class_names, strict=True)
        assert [ours for ours, theirs in pairs if ours != theirs] == [
            *("motorbike", "aeroplane", "sofa", "pottedplant", "diningtable", "tvmonitor"),
        ]
        scores = metrics.evaluate(model, photographs, progress=False)
        with capsys.disabled():
            print(f"\nYolo-Fastest 1.1-xl on 33 photographs: AP {scores.ap:.3f}, {scores.ap50:.3f}")
        assert scores.ap50 > 0.5
