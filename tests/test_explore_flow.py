"""The drawn data flow says the shapes that the network has."""

import re
import xml.etree.ElementTree as ET

import torch

from detlearn import models
from detlearn.explore.flow import PART_COLOURS, point_flow

SVG = "{http://www.w3.org/2000/svg}"


def drawing() -> ET.Element:
    markup = point_flow()._repr_html_()
    return ET.fromstring(markup.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def words() -> list[str]:
    return [text.text for text in drawing().iter(f"{SVG}text")]


def shape(tensor: torch.Tensor) -> str:
    return " × ".join(str(side) for side in tensor.shape[1:])


def test_the_shapes_are_those_of_the_detector() -> None:
    model = models.create("point", num_classes=10).eval()
    image = torch.zeros(1, 3, 128, 128)
    maps = list(model.backbone(image).values())
    outputs = model.predict(image)
    text = words()

    assert shape(image) in text
    for stride, features, lateral in zip(model.backbone.strides, maps, model.lateral):
        assert f"stride {stride}" in text
        assert shape(features) in text
        assert shape(lateral(features)) in text

    assert f"is a centre here? {shape(outputs.heatmap_logits)}" in text
    assert "4 distances: 4 × 32 × 32" in text and outputs.boxes.shape == (1, 32, 32, 4)
    assert f"score above {model.score_threshold}" in text
    assert f"at most {model.max_detections}" in text


def test_everything_lies_inside() -> None:
    root = drawing()
    _, _, width, height = map(float, root.get("viewBox").split())

    for rect in root.iter(f"{SVG}rect"):
        x, y = float(rect.get("x")), float(rect.get("y"))
        assert x >= 0 and x + float(rect.get("width")) <= width
        assert y >= 0 and y + float(rect.get("height")) <= height

    for path in root.iter(f"{SVG}path"):
        numbers = [float(number) for number in re.findall(r"[\d.]+", path.get("d"))]
        assert all(0 <= x <= width for x in numbers[::2])
        assert all(0 <= y <= height for y in numbers[1::2])


def test_it_follows_the_page() -> None:
    markup = point_flow()._repr_html_()
    assert "currentColor" in markup and "<script" not in markup
    assert 'role="img"' in markup and "aria-label" in markup

    # Only the parts have colours of their own.
    colours = set(re.findall(r"#[0-9a-f]{6}", markup))
    assert colours <= set(PART_COLOURS.values())
