"""The drawn data flows say the shapes that the networks have."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable

import pytest
import torch

from detlearn import models
from detlearn.explore.flow import (
    PART_COLOURS,
    Flow,
    FlowRow,
    anchor_free_flow,
    centernet_flow,
    comparison_flow,
    debugging_flow,
    deformable_detr_flow,
    detr_flow,
    fcos_flow,
    point_flow,
    retinanet_flow,
    transformer_flow,
    two_stage_flow,
    yolo_flow,
    yolov1_flow,
    yolov3_flow,
    yolov8_flow,
)
from detlearn.models.yolov3 import decode_levels
from detlearn.nets.deformable_attention import DeformableAttention
from detlearn.nets.fpn import PyramidBackbone
from detlearn.nets.small import SmallBackbone

SVG = "{http://www.w3.org/2000/svg}"


ALONE = [point_flow(), two_stage_flow(), debugging_flow(), comparison_flow(240, 3, 2000, 500)]
IN_ROWS = [*yolo_flow().flows, *anchor_free_flow().flows, *transformer_flow().flows]
IN_ROWS += [deformable_detr_flow(num_encoder_layers=1)]
FIRST_IN_ROWS = tuple(f"Data flow of {name}." for name in ("YOLOv1", "RetinaNet", "DETR"))
FLOWS = pytest.mark.parametrize("flow", ALONE + IN_ROWS)


def drawing(flow: Flow) -> ET.Element:
    markup = flow._repr_html_()
    return ET.fromstring(markup.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def words(flow: Flow) -> list[str]:
    return [text.text for text in drawing(flow).iter(f"{SVG}text")]


def shape(tensor: torch.Tensor) -> str:
    return " × ".join(str(side) for side in tensor.shape[1:])


def test_the_shapes_are_those_of_the_point_detector() -> None:
    model = models.create("point", num_classes=10).eval()
    image = torch.zeros(1, 3, 128, 128)
    maps = list(model.backbone(image).values())
    outputs = model.predict(image)
    text = words(point_flow())

    assert shape(image) in text
    for stride, features, lateral in zip(model.backbone.strides, maps, model.lateral):
        assert f"stride {stride}" in text
        assert shape(features) in text
        assert shape(lateral(features)) in text

    assert f"is a centre here? {shape(outputs.heatmap_logits)}" in text
    assert "4 distances: 4 × 32 × 32" in text and outputs.boxes.shape == (1, 32, 32, 4)
    assert f"score above {model.score_threshold}" in text
    assert f"at most {model.max_detections}" in text


def test_the_shapes_are_those_of_faster_rcnn() -> None:
    model = models.create("faster_rcnn", num_classes=10).eval()
    with torch.no_grad():
        maps = model.backbone.body(torch.zeros(1, 3, 128, 128))
        outputs = model.predict(torch.zeros(1, 3, 128, 128))
        logits, deltas = model.roi_heads(outputs.features, outputs.rpn.proposals, (128, 128))
    text = words(two_stage_flow())

    for stride, features in zip(model.backbone.body.strides, maps.values()):
        assert f"stride {stride}" in text
        assert shape(features) in text
    for features in outputs.features.values():
        assert shape(features) in text

    num_anchors = len(outputs.rpn.anchors)
    assert f"{num_anchors} × 4" in text and f"{num_anchors} · loss 1" in text
    assert "proposals: {} × 4, at test time {} × 4".format(*model.rpn.post_nms_top_n) in text
    assert f"{logits.shape[1]} each · loss 3" in text
    assert f"{deltas.shape[1]} × 4 each · loss 4" in text


def test_the_shapes_are_those_of_yolov1() -> None:
    model = models.create("yolov1", num_classes=10).eval()
    image = torch.zeros(1, 3, 128, 128)
    maps = model.backbone(image).values()
    outputs = model.predict(image)
    text = words(yolov1_flow())

    assert f"image {shape(image)}" in text
    says_maps(text, model.backbone.strides, maps)
    assert "stride 16" not in text

    size, num_boxes = model.head.grid_size, model.head.num_boxes
    assert shape(outputs.grid.permute(0, 3, 1, 2)) in text
    assert f"{num_boxes} confidences" in text and num_boxes == 2  # "two boxes"
    assert f"{10 + num_boxes} × {size} × {size}" in text
    assert f"{4 * num_boxes} × {size} × {size}" in text
    assert f"{num_boxes * size**2} boxes, score > {model.score_threshold:g}, NMS" in text


def test_the_shapes_are_those_of_yolov3() -> None:
    model = models.create("yolov3", num_classes=10).eval()
    maps = model.backbone(torch.zeros(1, 3, 128, 128))
    joined = model.neck(maps)
    outputs = model.predict(torch.zeros(1, 3, 128, 128))
    boxes, _, class_scores = decode_levels(outputs)
    text = words(yolov3_flow())

    says_maps(text, model.backbone.strides, maps.values())
    says_maps(text, outputs.strides, joined.values())
    assert [text.count(f"stride {stride}") for stride in model.backbone.strides] == [2, 2, 2, 2]
    coarsest = model.neck.blocks[-1](maps["32"])
    assert shape(coarsest) in text

    assert {x.shape[1] for x in outputs.raw} == {45} and "45 in a cell" in text
    assert {len(level) for level in outputs.anchors} == {3}
    assert f"{class_scores.shape[1]} × {class_scores.shape[2] + 1}" in text  # and objectness
    assert f"{boxes.shape[1]} × 4" in text
    assert f"{boxes.shape[1]} boxes, score > {model.score_threshold:g}, NMS" in text


def test_the_shapes_are_those_of_the_modern_head() -> None:
    model = models.create("yolov8", num_classes=10).eval()
    maps = model.backbone.body(torch.zeros(1, 3, 128, 128))
    pyramid = model.backbone(torch.zeros(1, 3, 128, 128))
    outputs = model.predict(torch.zeros(1, 3, 128, 128))
    text = words(yolov8_flow())

    says_maps(text, model.backbone.body.strides, maps.values())
    says_maps(text, model.backbone.strides, pyramid.values())
    assert [text.count(f"stride {stride}") for stride in (4, 8, 16, 32)] == [2, 2, 2, 2]
    assert shape(model.backbone.fpn.lateral[-1](maps["32"])) in text

    head = outputs.heads["one_to_many"]
    assert shape(head.class_logits) in text
    assert shape(head.distance_logits) in text
    assert f"{len(outputs.points)} boxes, score > {model.score_threshold:g}, NMS" in text
    assert any(f"the {model.topk['one_to_many']} locations" in line for line in text)


def test_the_shapes_are_those_of_retinanet() -> None:
    model = models.create("retinanet", num_classes=10).eval()
    outputs = model.predict(torch.zeros(1, 3, 128, 128))
    text = words(retinanet_flow())

    says_pyramid(retinanet_flow(), model.backbone)
    assert f"{len(outputs.anchors) // 1344} anchors," in text
    assert shape(outputs.class_logits) in text
    assert shape(outputs.deltas) in text
    assert f"{len(outputs.anchors)} boxes, score > {model.score_threshold:g}, NMS" in text
    high, low = model.thresholds
    assert any(f"an IoU of {high:g} or" in line for line in text)
    assert any(f"below {low:g}: background" in line for line in text)


def test_the_shapes_are_those_of_fcos() -> None:
    model = models.create("fcos", num_classes=10).eval()
    outputs = model.predict(torch.zeros(1, 3, 128, 128))
    text = words(fcos_flow())

    says_pyramid(fcos_flow(), model.backbone)
    assert shape(outputs.class_logits) in text
    assert shape(outputs.distances) in text
    assert f"centerness {shape(outputs.centerness_logits)}" in text


def test_the_shapes_are_those_of_centernet() -> None:
    model = models.create("centernet", num_classes=10).eval()
    outputs = model.predict(torch.zeros(1, 3, 128, 128))
    text = words(centernet_flow())

    says_pyramid(centernet_flow(), model.backbone)
    assert shape(outputs.heatmap_logits) in text
    assert shape(outputs.log_wh) in text and outputs.log_wh.shape == outputs.offset.shape
    assert f"the {model.max_detections} best peaks, no NMS" in text


def test_the_shapes_are_those_of_detr() -> None:
    model = models.create("detr", num_classes=10).eval()
    image = torch.zeros(1, 3, 128, 128)
    with torch.no_grad():
        outputs = model.predict(image)
    num_queries = outputs.pred_boxes.shape[1]
    text = words(detr_flow(num_queries))

    says_maps(text, (4, 8, 16), maps_of(model.backbone, image))
    assert text.count(shape(outputs.memory.tokens)) == 3  # of tokens, positions and memory
    assert len(model.transformer.encoder.layers) == 1 and "encoder, 1 layer" in text
    assert f"each token looks at all {outputs.memory.tokens.shape[1]}" in text
    assert f"decoder, {len(model.transformer.decoder.layers)} layers" in text

    queries, _ = model.first_queries(1)
    assert f"learnt, {shape(queries)}" in text
    assert shape(outputs.class_logits) in text and outputs.class_logits.shape[-1] == 10 + 1
    assert shape(outputs.pred_boxes) in text
    assert f"{num_queries} boxes, score > {model.score_threshold:g}, no NMS" in text


def test_the_shapes_are_those_of_deformable_detr() -> None:
    model = models.create("deformable_detr", num_classes=10).eval()
    image = torch.zeros(1, 3, 128, 128)
    num_encoder_layers = len(model.transformer.encoder.layers)
    with torch.no_grad():
        memory = model.encode(image, [(128, 128)])
        outputs = model.predict(image)
    num_queries = outputs.pred_boxes.shape[1]
    text = words(deformable_detr_flow(num_queries, num_encoder_layers))

    says_maps(text, (4, 8, 16), maps_of(model.backbone, image))
    for height, width in memory.map_sizes:
        assert f"{height * width} tokens" in text
    assert shape(memory.tokens) in text and f"to {memory.tokens.shape[-1]}" in " ".join(text)
    assert f"decoder, {len(model.transformer.decoder.layers)} layers" in text

    # Points that a token of the encoder reads, and a query of the decoder.
    modules = [m for m in model.modules() if isinstance(m, DeformableAttention)]
    points = {m.num_heads * m.num_levels * m.num_points for m in modules}
    (num_points,) = points
    says_encoder = f"each token reads {num_points} points" in text
    assert says_encoder == (num_encoder_layers == 1) != ("no encoder" in text)
    assert f"reads {num_points} points, corrects its box" in text

    assert f"{num_queries} best of {memory.tokens.shape[1]}" in text
    assert model.proposals_per_object == 4 and "four of the proposals" in text
    assert shape(outputs.class_logits) in text and shape(outputs.pred_boxes) in text
    assert f"{num_queries} × 10 scores, no NMS" in text


def maps_of(backbone: SmallBackbone, images: torch.Tensor) -> list[torch.Tensor]:
    """All maps from fine to coarse, also those that the backbone does not hand out."""
    maps = [backbone.stem(images)]
    for stage in backbone.stages:
        maps.append(stage(maps[-1]))
    return maps


def says_pyramid(flow: Flow, backbone: PyramidBackbone) -> None:
    """The drawing has the maps of the body and of the pyramid, and those that go to the head."""
    maps = backbone.body(torch.zeros(1, 3, 128, 128))
    pyramid = backbone(torch.zeros(1, 3, 128, 128))
    text = words(flow)
    says_maps(text, backbone.body.strides, maps.values())
    says_maps(text, backbone.strides, pyramid.values())
    assert [text.count(f"stride {stride}") for stride in (4, 8, 16, 32)] == [2, 2, 2, 2]
    assert shape(backbone.fpn.lateral[-1](maps["32"])) in text

    # Lines from the right side of a map to the way down to the head: one a map that goes there.
    paths = [path.get("d") for path in drawing(flow).iter(f"{SVG}path")]
    assert sum(path.startswith("M237 ") for path in paths) == len(pyramid)


def says_maps(text: list[str], strides: list[int], maps: Iterable[torch.Tensor]) -> None:
    for stride, features in zip(strides, maps, strict=True):
        assert f"stride {stride}" in text
        assert shape(features) in text


def test_the_comparison_says_its_sizes() -> None:
    text = " | ".join(words(comparison_flow(90.5, 4, 1200, 300)))
    for part in ("90.5 s, divided", "from 4 seeds", "1200 scenes", "on 300 other scenes"):
        assert part in text


@pytest.mark.parametrize("row", [yolo_flow(), anchor_free_flow(), transformer_flow()])
def test_they_stand_side_by_side_or_below_each_other(row: FlowRow) -> None:
    """Each says in its last box who learns what; the row has room for as many as fit."""
    markup = row._repr_html_()
    assert markup.count("<svg") == len(row.flows) > 1 and "flex-wrap: wrap" in markup
    assert all("Who learns an object?" in words(flow)[-3:] for flow in row.flows)
    assert len({(flow.width, flow.height) for flow in row.flows}) == 1
    assert repr(row).startswith(FIRST_IN_ROWS)


@FLOWS
def test_everything_lies_inside(flow: Flow) -> None:
    root = drawing(flow)
    _, _, width, height = map(float, root.get("viewBox").split())

    for rect in root.iter(f"{SVG}rect"):
        x, y = float(rect.get("x")), float(rect.get("y"))
        assert x >= 0 and x + float(rect.get("width")) <= width
        assert y >= 0 and y + float(rect.get("height")) <= height

    for path in root.iter(f"{SVG}path"):
        numbers = [float(number) for number in re.findall(r"[\d.]+", path.get("d"))]
        assert all(0 <= x <= width for x in numbers[::2])
        assert all(0 <= y <= height for y in numbers[1::2])


@FLOWS
def test_it_follows_the_page(flow: Flow) -> None:
    markup = flow._repr_html_()
    assert "currentColor" in markup and "<script" not in markup
    assert 'role="img"' in markup and "aria-label" in markup

    # Only the parts have colours of their own.
    colours = set(re.findall(r"#[0-9a-f]{6}", markup))
    assert colours <= set(PART_COLOURS.values())
