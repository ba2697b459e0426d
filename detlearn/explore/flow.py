"""Drawn figures of a detector's data flow: its parts as boxes, the shapes of the tensors on arrows.

A figure is one inline SVG of plain elements: text and arrows take the colour of the text around it,
so it follows light and dark; a part keeps the colour that other figures give it.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

# The colour of a part, on its outline and, thinned, on its inside. On white and on near-black each
# differs from the ground by 3 : 1 or more.
PART_COLOURS = {
    "image": "#7d7d7d",
    "backbone": "#3b7fc4",
    "pyramid": "#1f8f84",
    "encoder": "#1f8f84",
    "scores": "#b87503",
    "boxes": "#8a5cc9",
    "first stage": "#b87503",
    "second stage": "#5b6cff",
    "decoder": "#5b6cff",
    "answer": "#c2503a",
    "training": "#7d7d7d",
}

TEXT = 14  # units of the drawing, 540 wide: at 390 pixels more than 9 pixels
LINE = 17  # from one line of text to the next
HEAD = 5  # half the width of an arrow's head

# The small backbone's maps: stride, channels, side; and those of a pyramid that adds them up.
SMALL_MAPS = (("4", 48, 32), ("8", 64, 16), ("16", 128, 8), ("32", 160, 4))
SMALL_PYRAMID = ("32 × 32 × 32", "32 × 16 × 16", "32 × 8 × 8", "32 × 4 × 4")

STYLE = """
.detlearn-flow { display: block; width: 100%; max-width: 560px; height: auto; margin: 0 auto; }
.detlearn-flow text { fill: currentColor; font: 14px system-ui, sans-serif; }
.detlearn-flow .name { font-weight: 600; }
.detlearn-flow .line { stroke: currentColor; stroke-width: 1.4; fill: none; }
.detlearn-flow .head { fill: currentColor; }
"""

# Side by side where there is room for more than one, below each other where there is not.
ROW_STYLE = """
.detlearn-flows { display: flex; flex-wrap: wrap; justify-content: center; gap: 1.6rem 1.2rem; }
.detlearn-flows > .detlearn-flow { flex: 1 1 205px; max-width: 320px; margin: 0; }
"""


class Flow:
    """A drawing of parts and arrows that a notebook shows as inline SVG.

    Args:
        width: of the drawing, in its own units.
        height: likewise.
        alt: what the figure says, in words.
    """

    def __init__(self, width: int, height: int, alt: str) -> None:
        self.width = width
        self.height = height
        self.alt = alt
        self.elements: list[str] = []

    def box(
        self,
        frame: tuple[float, float, float, float],
        lines: Sequence[str],
        part: str,
    ) -> None:
        """Draw a part.

        Args:
            frame: x, y, width, height.
            lines: of text in the middle, the first in bold.
            part: one of `PART_COLOURS`; "training" is dashed.
        """
        x, y, width, height = frame
        dashes = ' stroke-dasharray="6 4"' if part == "training" else ""
        self.elements.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5" '
            f'fill="{PART_COLOURS[part]}" fill-opacity="0.16" stroke="{PART_COLOURS[part]}" '
            f'stroke-width="1.6"{dashes}/>'
        )

        first = y + height / 2 - LINE * (len(lines) - 1) / 2
        for i, line in enumerate(lines):
            self.text((x + width / 2, first + i * LINE), line, name=i == 0)

    def line(self, *points: tuple[float, float]) -> None:
        """Draw a line through points."""
        path = "M" + " L".join(f"{x:g} {y:g}" for x, y in points)
        self.elements.append(f'<path class="line" d="{path}"/>')

    def arrow(self, *points: tuple[float, float]) -> None:
        """Draw a line through points, with a head at the last one."""
        self.line(*points)

        # The head points where the last stretch of the line goes, along x or along y.
        (x0, y0), (x, y) = points[-2:]
        along = 1 if (x + y) > (x0 + y0) else -1
        if y == y0:
            corners = ((x, y), (x - along * 2 * HEAD, y - HEAD), (x - along * 2 * HEAD, y + HEAD))
        else:
            corners = ((x, y), (x - HEAD, y - along * 2 * HEAD), (x + HEAD, y - along * 2 * HEAD))
        triangle = " ".join(f"{a:g},{b:g}" for a, b in corners)
        self.elements.append(f'<polygon class="head" points="{triangle}"/>')

    def text(
        self,
        at: tuple[float, float],
        words: str,
        anchor: str = "middle",
        name: bool = False,
    ) -> None:
        """Write words at a point, the middle of their height."""
        weight = ' class="name"' if name else ""
        self.elements.append(
            f'<text x="{at[0]:g}" y="{at[1] + 0.35 * TEXT:g}" text-anchor="{anchor}"{weight}>'
            f"{escape(words)}</text>"
        )

    def __repr__(self) -> str:
        return self.alt

    def _repr_html_(self) -> str:
        drawing = "".join(self.elements)
        return (
            f'<svg class="detlearn-flow" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(self.alt)}"><style>{STYLE}</style>{drawing}</svg>'
        )


class FlowRow:
    """Drawings that a notebook shows side by side, or below each other where it is narrow.

    Args:
        flows: from left to right, of the same size.
    """

    def __init__(self, flows: Sequence[Flow]) -> None:
        self.flows = list(flows)

    def __repr__(self) -> str:
        return " ".join(flow.alt for flow in self.flows)

    def _repr_html_(self) -> str:
        drawings = "".join(flow._repr_html_() for flow in self.flows)
        return f'<div class="detlearn-flows"><style>{ROW_STYLE}</style>{drawings}</div>'


def point_flow() -> Flow:
    """Draw the point detector of chapter 1, for images of 128 × 128 pixels and ten classes."""
    flow = Flow(
        540,
        660,
        "Data flow of the point detector. An image of 3 × 128 × 128 goes through a backbone that "
        "makes maps of stride 4, 8, 16 and 32 with 48, 64, 128 and 160 channels. A pyramid adds "
        "them up from the coarsest to the finest, each with 32 channels. From the sum of stride 4 "
        "one head reads ten heat maps of 32 × 32, another four distances at each location. In "
        "training both are compared with what was wanted. To detect, locations with a score become "
        "candidates, suppression drops duplicates, and a list of boxes with class and score is "
        "left.",
    )

    # Two columns: the backbone goes up to the coarsest map, the pyramid comes down again.
    left, right = 125, 415
    flow.text((left, 14), "backbone", name=True)
    flow.text((right, 14), "pyramid", name=True)
    for i, (stride, channels, side) in enumerate(SMALL_MAPS):
        y = 236 - 70 * i
        width = 190 - 24 * i
        shape = f"{channels} × {side} × {side}"
        flow.box((left - width / 2, y, width, 42), (f"stride {stride}", shape), "backbone")
        flow.box((right - width / 2, y, width, 42), (f"32 × {side} × {side}",), "pyramid")

        # 1 × 1 convolutions bring all maps to 32 channels.
        flow.arrow((left + width / 2 + 2, y + 21), (right - width / 2 - 3, y + 21))
        flow.text((270, y + 9), "1 × 1")
        if i > 0:
            flow.arrow((left, y + 69), (left, y + 45))
            flow.arrow((right, y + 43), (right, y + 67))
            flow.text((right + 10, y + 56), "enlarge, add", anchor="start")

    flow.box((30, 316, 190, 42), ("image", "3 × 128 × 128"), "image")
    flow.arrow((left, 315), (left, 281))

    # The sum of all maps feeds two heads.
    flow.box((320, 316, 190, 42), ("3 × 3 convolution", "32 × 32 × 32"), "pyramid")
    flow.arrow((right, 279), (right, 313))
    flow.arrow((345, 359), (345, 378), (150, 378), (150, 397))
    flow.arrow((right, 359), (right, 397))

    flow.box((30, 400, 235, 58), ("heat-map head", "is a centre here? 10 × 32 × 32"), "scores")
    flow.box((305, 400, 205, 58), ("box head", "4 distances: 4 × 32 × 32"), "boxes")

    # In training: what was wanted. To detect: from maps to a list.
    flow.arrow((150, 459), (150, 487))
    flow.arrow((right, 459), (right, 487))
    flow.text((275, 474), "in training")
    flow.box((55, 490, 210, 58), ("focal loss", "against the wanted maps"), "training")
    flow.box((305, 490, 185, 58), ("GIoU loss", "against the object’s box"), "training")

    flow.arrow((29, 429), (16, 429), (16, 625), (27, 625))
    flow.arrow((511, 429), (526, 429), (526, 567), (105, 567), (105, 593))
    flow.text((275, 582), "to detect")
    flow.box((30, 596, 150, 58), ("candidates", "score above 0.05"), "answer")
    flow.box((217, 596, 120, 58), ("NMS", "class by class"), "answer")
    flow.box((374, 596, 136, 58), ("detections", "at most 100"), "answer")
    flow.arrow((181, 625), (214, 625))
    flow.arrow((338, 625), (371, 625))
    return flow


def two_stage_flow() -> Flow:
    """Draw Faster R-CNN as chapter 2 builds it, for images of 128 × 128 and ten classes."""
    flow = Flow(
        540,
        916,
        "Data flow of Faster R-CNN. An image of 3 × 128 × 128 goes through a backbone that makes "
        "maps of stride 4, 8, 16 and 32. A pyramid adds them from coarse to fine and gives three "
        "maps of 32 channels, of stride 4, 8 and 16. The first stage predicts objectness and "
        "deltas for 8064 anchors and proposes 50 boxes in training, 100 at test time. The second "
        "stage cuts each proposal out of one of the three maps, 32 × 5 × 5, and a head gives 11 "
        "class scores and 11 × 4 deltas, which are decoded into detections. Objectness, the first "
        "deltas, the class scores and the second deltas each have a loss.",
    )

    # The image, and the backbone's maps from fine to coarse.
    flow.box((165, 4, 210, 32), ("image 3 × 128 × 128",), "image")
    flow.arrow((270, 37), (270, 50), (130, 50), (130, 81))
    flow.text((18, 68), "backbone", anchor="start", name=True)
    flow.text((432, 68), "pyramid", name=True)
    for i, (stride, channels, side) in enumerate(SMALL_MAPS):
        y = 84 + 62 * i
        shape = f"{channels} × {side} × {side}"
        flow.box((16, y, 168, 44), (f"stride {stride}", shape), "backbone")
        flow.text((222, y + 12), "1 × 1")
        if i < 3:
            flow.arrow((100, y + 45), (100, y + 60))

    # The pyramid: from the coarsest to the finest, each enlarged and added to the next.
    for i, (stride, _, side) in enumerate(SMALL_MAPS[:3]):
        y = 84 + 62 * i
        flow.arrow((185, y + 22), (255, y + 22))
        flow.box((258, y + 10, 24, 24), ("+",), "pyramid")
        flow.arrow((283, y + 22), (347, y + 22))
        flow.text((314, y + 12), "3 × 3")
        flow.box((350, y, 164, 44), (f"stride {stride}", f"32 × {side} × {side}"), "pyramid")
        flow.text((264, y + 54), "× 2", anchor="end")
        if i < 2:
            flow.arrow((270, y + 71), (270, y + 37))
    flow.arrow((185, 292), (270, 292), (270, 245))

    # The three maps go to both stages.
    flow.text((440, 290), "three maps", anchor="start")
    flow.arrow((432, 253), (432, 330), (380, 330), (380, 372))
    flow.arrow((432, 330), (526, 330), (526, 687), (489, 687))

    flow.text((16, 352), "first stage: is anything there?", anchor="start", name=True)
    head = ("RPN head", "3 × 3, then 1 × 1; one for all maps")
    flow.box((120, 375, 320, 44), head, "first stage")
    flow.arrow((198, 420), (198, 445))
    flow.arrow((360, 420), (360, 445))
    flow.box((16, 448, 100, 44), ("anchors", "8064 × 4"), "image")
    flow.box((128, 448, 140, 44), ("objectness", "8064 · loss 1"), "first stage")
    flow.box((280, 448, 160, 44), ("deltas", "8064 × 4 · loss 2"), "first stage")
    for x in (66, 198, 360):
        flow.arrow((x, 493), (x, 517))
    steps = ("propose", "the best: moved, clipped, tiny ones dropped, NMS")
    flow.box((16, 520, 424, 44), steps, "first stage")
    flow.text((400, 590), "proposals: 50 × 4, at test time 100 × 4", anchor="end")
    flow.arrow((410, 565), (410, 662))

    flow.text((16, 640), "second stage: what, and where exactly?", anchor="start", name=True)
    cut = ("RoIAlign", "each proposal out of its map: 32 × 5 × 5")
    flow.box((60, 665, 426, 44), cut, "second stage")
    flow.arrow((273, 710), (273, 731))
    flow.box((60, 734, 426, 44), ("head", "two linear layers: 800 → 512 → 512"), "second stage")
    flow.arrow((160, 779), (160, 801))
    flow.arrow((386, 779), (386, 801))
    flow.box((60, 804, 200, 44), ("class scores", "11 each · loss 3"), "second stage")
    flow.box((286, 804, 200, 44), ("deltas", "11 × 4 each · loss 4"), "second stage")
    flow.arrow((160, 849), (160, 875))
    flow.arrow((386, 849), (386, 875))
    flow.box((60, 878, 426, 32), ("decode: move, clip, NMS class by class → detections",), "answer")
    return flow


def yolo_flow() -> FlowRow:
    """Draw chapter 3's three generations of YOLO, for images of 128 × 128 and ten classes."""
    return FlowRow((yolov1_flow(), yolov3_flow(), yolov8_flow()))


def yolov1_flow() -> Flow:
    """Draw YOLOv1, the left one of `yolo_flow`."""
    flow = Flow(
        264,
        620,
        "Data flow of YOLOv1. An image of 3 × 128 × 128 goes through two maps of the backbone, of "
        "stride 4 and 8; nothing combines them. From the map of stride 8, 64 × 16 × 16, two "
        "convolutions read 20 numbers in each of 16 × 16 cells: ten class scores, two confidences "
        "and two boxes of four numbers. Decoded, these are 512 boxes. Scores above 0.05 go through "
        "NMS. An object is learnt by the cell that holds its centre, and there by the better of "
        "the two boxes.",
    )
    draw_backbone(flow, "YOLOv1, 2016", (("4", 48, 32), ("8", 64, 16)))

    # One map goes straight to the head.
    flow.text((184, 88), "one map,")
    flow.text((184, 105), "nothing combined")
    flow.arrow((109, 162), (184, 162), (184, 352), (66, 352), (66, 389))
    flow.arrow((184, 352), (198, 352), (198, 389))
    flow.text((176, 257), "64 × 16 × 16", anchor="end")
    flow.text((58, 340), "3 × 3, then 1 × 1", anchor="start")
    flow.text((132, 371), "20 × 16 × 16")

    draw_head(
        flow,
        scores=("scores", "10 classes,", "2 confidences", "12 × 16 × 16"),
        boxes=("two boxes", "x, y in the cell,", "√w, √h", "8 × 16 × 16"),
        decode=("decode", "512 boxes, score > 0.05, NMS"),
        learns=("the cell of its centre, and in it", "the better of the two boxes"),
    )
    return flow


def yolov3_flow() -> Flow:
    """Draw YOLOv3, the middle one of `yolo_flow`."""
    flow = Flow(
        264,
        620,
        "Data flow of YOLOv3. An image of 3 × 128 × 128 goes through four maps of the backbone, of "
        "stride 4, 8, 16 and 32. From the coarsest on, each is enlarged and joined to the next "
        "finer one. Three maps of stride 4, 8 and 16 come out, with 32, 48 and 64 channels. From "
        "each, two convolutions read 45 numbers in a cell: for each of three anchors ten class "
        "scores, objectness and four numbers of its box. Decoded, these are 4032 boxes. Scores "
        "above 0.001 go through NMS. An object is learnt in the cell of its centre, by the one of "
        "all nine anchors that is most like it in shape.",
    )
    draw_backbone(flow, "YOLOv3, 2018", SMALL_MAPS)
    draw_pyramid(
        flow,
        "enlarge, join",
        ("32 × 32 × 32", "48 × 16 × 16", "64 × 8 × 8", "64 × 4 × 4"),
    )
    flow.text((242, 340), "3 × 3, then 1 × 1, on each map", anchor="end")
    flow.text((132, 371), "45 in a cell")

    draw_head(
        flow,
        scores=("scores", "3 × 10 classes,", "3 × objectness", "4032 × 11"),
        boxes=("three anchors", "x, y in the cell,", "log w, log h", "4032 × 4"),
        decode=("decode", "4032 boxes, score > 0.001, NMS"),
        learns=("the cell of its centre, and in it, of", "all nine, the anchor most like it"),
    )
    return flow


def yolov8_flow() -> Flow:
    """Draw the modern head, the right one of `yolo_flow`."""
    flow = Flow(
        264,
        620,
        "Data flow of the modern detector. An image of 3 × 128 × 128 goes through four maps of the "
        "backbone, of stride 4, 8, 16 and 32. From the coarsest on, each is enlarged and added to "
        "the next finer one. Three maps of stride 4, 8 and 16 come out, with 32 channels each. On "
        "each map stand two towers. One gives ten class scores at each location, the other the "
        "distances to the four sides, each as 16 bins; there are no anchors and no objectness. "
        "Decoded, these are 1344 boxes. Scores above 0.001 go through NMS. An object is learnt by "
        "the five locations inside it that do best at it, or by the best one where NMS is to be "
        "done without.",
    )
    draw_backbone(flow, "the modern head", SMALL_MAPS)
    draw_pyramid(flow, "enlarge, add", SMALL_PYRAMID)
    flow.text((242, 340), "3 × 3, then 1 × 1, on each map", anchor="end")
    flow.text((132, 371), "a tower for each")

    draw_head(
        flow,
        scores=("scores", "10 classes,", "no objectness", "1344 × 10"),
        boxes=("distances", "to the 4 sides,", "16 bins each", "1344 × 4 × 16"),
        decode=("decode", "1344 boxes, score > 0.001, NMS"),
        learns=("the 5 locations inside it that do", "best; without NMS, the best one"),
    )
    return flow


def anchor_free_flow() -> FlowRow:
    """Draw chapter 4's three detectors, for images of 128 × 128 pixels and ten classes."""
    return FlowRow((retinanet_flow(), fcos_flow(), centernet_flow()))


def retinanet_flow() -> Flow:
    """Draw RetinaNet, the left one of `anchor_free_flow`."""
    flow = Flow(
        264,
        620,
        "Data flow of RetinaNet. An image of 3 × 128 × 128 goes through four maps of the backbone, "
        "of stride 4, 8, 16 and 32. From the coarsest on, each is enlarged and added to the next "
        "finer one. Three maps of stride 4, 8 and 16 come out, with 32 channels each. On each map "
        "stand two towers, the same for all maps. For each of two anchors at each of 1344 "
        "locations, 2688 in all, one gives ten class scores and the other four deltas. Scores "
        "above 0.05 go through NMS. An object is learnt by all anchors whose IoU with it is 0.4 "
        "or more; those between 0.3 and 0.4 are ignored.",
    )
    draw_backbone(flow, "RetinaNet, 2017", SMALL_MAPS)
    draw_pyramid(flow, "enlarge, add", SMALL_PYRAMID)
    flow.text((242, 340), "one head for all three maps", anchor="end")
    flow.text((132, 371), "a tower for each")

    draw_head(
        flow,
        scores=("scores", "2 anchors,", "10 classes", "2688 × 10"),
        boxes=("deltas", "from the anchor", "to the box", "2688 × 4"),
        decode=("decode", "2688 boxes, score > 0.05, NMS"),
        learns=("the anchors with an IoU of 0.4 or", "more; below 0.3: background"),
    )
    return flow


def fcos_flow() -> Flow:
    """Draw FCOS, the middle one of `anchor_free_flow`."""
    flow = Flow(
        264,
        620,
        "Data flow of FCOS. An image of 3 × 128 × 128 goes through four maps of the backbone, of "
        "stride 4, 8, 16 and 32. From the coarsest on, each is enlarged and added to the next "
        "finer one. Three maps of stride 4, 8 and 16 come out, with 32 channels each. On each map "
        "stand two towers, the same for all maps. At each of 1344 locations one gives ten class "
        "scores, the other the distances to the four sides and the centerness. There are no "
        "anchors. The root of score times centerness ranks the boxes for NMS. An object is learnt "
        "by the locations inside it and near its centre, on the level that its size belongs to.",
    )
    draw_backbone(flow, "FCOS, 2019", SMALL_MAPS)
    draw_pyramid(flow, "enlarge, add", SMALL_PYRAMID)
    flow.text((242, 340), "one head for all three maps", anchor="end")
    flow.text((132, 371), "a tower for each")

    draw_head(
        flow,
        scores=("scores", "10 classes,", "no anchors", "1344 × 10"),
        boxes=("distances", "to the 4 sides", "1344 × 4", "centerness 1344"),
        decode=("decode", "√(score · centerness), NMS"),
        learns=("locations inside it, near its centre,", "on the level of its size"),
    )
    return flow


def centernet_flow() -> Flow:
    """Draw CenterNet, the right one of `anchor_free_flow`."""
    flow = Flow(
        264,
        620,
        "Data flow of CenterNet. An image of 3 × 128 × 128 goes through four maps of the backbone, "
        "of stride 4, 8, 16 and 32. From the coarsest on, each is enlarged and added to the next "
        "finer one. One map comes out, of stride 4, with 32 channels. From it one branch reads a "
        "heat map for each of ten classes, the others, at each of 32 × 32 locations, the "
        "logarithms of width and height, and where in its cell the centre lies. What is highest "
        "among its 3 × 3 neighbours is a peak; the 100 best peaks are "
        "the detections, without NMS. An object is learnt by the one location of its centre; "
        "around it, a Gaussian says where a high score costs less.",
    )
    draw_backbone(flow, "CenterNet, 2019", SMALL_MAPS)
    draw_pyramid(flow, "enlarge, add", SMALL_PYRAMID, num_out=1)
    flow.text((242, 340), "the map of stride 4 alone", anchor="end")
    flow.text((132, 371), "a branch for each")

    draw_head(
        flow,
        scores=("heat map", "is a centre here?", "one a class", "10 × 32 × 32"),
        boxes=("size, offset", "log w, log h; x, y,", "in strides; each", "2 × 32 × 32"),
        decode=("decode", "the 100 best peaks, no NMS"),
        learns=("the location of its centre; beside it,", "a high score costs less"),
    )
    return flow


def transformer_flow(
    num_queries: tuple[int, int] = (10, 20), num_encoder_layers: int = 0
) -> FlowRow:
    """Draw chapter 5's two detectors, for images of 128 × 128 pixels and ten classes.

    Args:
        num_queries: of DETR and of the deformable one.
        num_encoder_layers: of the deformable one, 0 or 1.
    """
    first, second = num_queries
    return FlowRow((detr_flow(first), deformable_detr_flow(second, num_encoder_layers)))


def detr_flow(num_queries: int = 10) -> Flow:
    """Draw DETR, the left one of `transformer_flow`.

    Args:
        num_queries: that are learnt.
    """
    flow = Flow(
        264,
        762,
        "Data flow of DETR. An image of 3 × 128 × 128 goes through three maps of the backbone, of "
        "stride 4, 8 and 16. The map of stride 16 becomes 64 tokens of 128 numbers. Codes of their "
        "rows and columns are added to queries and keys in every layer, never to values. In the "
        "encoder, of one layer, each token looks at all others. In the decoder, of three layers, "
        f"{num_queries} learnt queries look at each other and then at the 64 tokens. Each query "
        "gives scores of ten classes and of “no object”, and one box. These are the detections, "
        "without NMS. An object is learnt by one query alone, chosen so that the costs of all "
        "objects together are lowest.",
    )
    draw_backbone(flow, "DETR, 2020", SMALL_MAPS[:3])

    # The coarsest map, location after location, and where each of them lies.
    flow.arrow((56, 251), (56, 271))
    flow.text((64, 261), "1 × 1", anchor="start")
    flow.box((4, 274, 112, 44), ("tokens", "64 × 128"), "encoder")
    flow.arrow((56, 319), (56, 339))
    flow.box((132, 206, 128, 62), ("positions", "to queries, keys", "64 × 128"), "image")
    flow.arrow((196, 269), (196, 339))

    draw_transformer(
        flow,
        encoder=("encoder, 1 layer", "each token looks at all 64"),
        memory="64 × 128",
        decoder=("decoder, 3 layers", "at each other, then at the memory"),
    )
    flow.box((4, 404, 124, 44), ("queries", f"learnt, {num_queries} × 128"), "decoder")

    draw_head(
        flow,
        top=534,
        scores=("scores", "10 classes and", "“no object”", f"{num_queries} × 11"),
        boxes=("boxes", "centre, sides", "in [0, 1]", f"{num_queries} × 4"),
        decode=("decode", f"{num_queries} boxes, score > 0.05, no NMS"),
        learns=("one query: the one with which the", "costs of all together are lowest"),
    )
    return flow


def deformable_detr_flow(num_queries: int = 20, num_encoder_layers: int = 0) -> Flow:
    """Draw the two-stage Deformable DETR, the right one of `transformer_flow`.

    Args:
        num_queries: proposals that become queries.
        num_encoder_layers: 0 or 1.
    """
    if num_encoder_layers == 0:
        encoder = ("no encoder", "the tokens stay as they are")
        encoder_in_words = "There is no encoder."
    else:
        encoder = ("encoder, 1 layer", "each token reads 32 points")
        encoder_in_words = (
            "In the encoder, of one layer, codes of row, column and level are added to queries; "
            "each token reads 32 points, four in each of four heads on each of two levels."
        )

    flow = Flow(
        264,
        762,
        "Data flow of the two-stage Deformable DETR. An image of 3 × 128 × 128 goes through three "
        "maps of the backbone, of stride 4, 8 and 16. The maps of stride 8 and 16 become 256 and "
        f"64 tokens, 320 in all, of 128 numbers each. {encoder_in_words} Each token proposes a "
        f"box; the {num_queries} best proposals are the queries. In the decoder, of three layers, "
        "each query reads 32 points in and near its box and corrects the box. Each gives scores of "
        "ten classes and a box, the detections, without NMS. An object is learnt by one query, as "
        "in DETR, and by four proposals.",
    )
    maps = (("4", 48, 32), ("8", 64, 16), ("16", 96, 8))
    draw_backbone(flow, "Deformable DETR, 2021", maps)

    # Two maps become one list of tokens.
    for y, tokens in ((140, 256), (206, 64)):
        flow.arrow((109, y + 22), (129, y + 22))
        flow.box((132, y, 104, 44), (f"{tokens} tokens", "1 × 1, to 128"), "encoder")
        flow.line((237, y + 22), (252, y + 22))
    flow.arrow((252, 162), (252, 296), (196, 296), (196, 339))
    flow.text((188, 318), "320 × 128", anchor="end")
    if num_encoder_layers > 0:  # nobody but the encoder asks where a token stands
        flow.box((4, 274, 104, 44), ("positions", "and the level"), "image")
        flow.arrow((56, 319), (56, 339))

    draw_transformer(
        flow,
        encoder=encoder,
        memory="320 × 128",
        decoder=("decoder, 3 layers", "reads 32 points, corrects its box"),
    )
    flow.arrow((66, 387), (66, 401))
    flow.box((4, 404, 124, 44), ("proposals", f"{num_queries} best of 320"), "first stage")

    draw_head(
        flow,
        top=534,
        scores=("scores", "10 classes, each", "a yes or no", f"{num_queries} × 10"),
        boxes=("boxes", "corrected in", "every layer", f"{num_queries} × 4"),
        decode=("decode", f"{num_queries} × 10 scores, no NMS"),
        learns=("one query, as in DETR; and before,", "four of the proposals"),
    )
    return flow


def draw_transformer(
    flow: Flow, *, encoder: Sequence[str], memory: str, decoder: Sequence[str]
) -> None:
    """Draw encoder and decoder, and what goes from one to the other; the queries stand beside."""
    flow.box((4, 342, 256, 44), encoder, "encoder")
    flow.arrow((232, 387), (232, 463))
    flow.text((224, 417), "memory", anchor="end")
    flow.text((224, 434), memory, anchor="end")
    flow.arrow((66, 449), (66, 463))
    flow.box((4, 466, 256, 44), decoder, "decoder")
    flow.arrow((66, 511), (66, 531))
    flow.arrow((198, 511), (198, 531))


def draw_backbone(flow: Flow, title: str, maps: Sequence[tuple[str, int, int]]) -> None:
    """Draw the image and, from fine to coarse, the backbone's maps: stride, channels and side."""
    flow.text((132, 10), title, name=True)
    flow.box((4, 24, 256, 30), ("image 3 × 128 × 128",), "image")
    flow.arrow((56, 55), (56, 71))

    for i, (stride, channels, side) in enumerate(maps):
        y = 74 + 66 * i
        shape = f"{channels} × {side} × {side}"
        flow.box((4, y, 104, 44), (f"stride {stride}", shape), "backbone")
        if i > 0:
            flow.arrow((56, y - 21), (56, y - 3))


def draw_pyramid(flow: Flow, how: str, shapes: Sequence[str], num_out: int = 3) -> None:
    """Draw how four maps are combined, and the way of the `num_out` finest ones to the head."""
    for i, shape in enumerate(shapes):
        y = 74 + 66 * i
        flow.arrow((109, y + 22), (129, y + 22))
        flow.box((132, y, 104, 44), (f"stride {4 * 2**i}", shape), "pyramid")
        if i > 0:
            flow.arrow((142, y - 1), (142, y - 19))
            flow.text((150, y - 11), how, anchor="start")

    # The coarser maps feed the others, and no head.
    flow.arrow((237, 96), (252, 96), (252, 352), (66, 352), (66, 389))
    flow.arrow((252, 352), (198, 352), (198, 389))
    for i in range(1, num_out):
        flow.line((237, 96 + 66 * i), (252, 96 + 66 * i))


def draw_head(
    flow: Flow,
    *,
    scores: Sequence[str],
    boxes: Sequence[str],
    decode: Sequence[str],
    learns: Sequence[str],
    top: int = 392,
) -> None:
    """Draw, from `top` on, what is predicted, what becomes of it, and who learns what."""
    flow.box((4, top, 124, 84), scores, "scores")
    flow.box((136, top, 124, 84), boxes, "boxes")
    flow.arrow((66, top + 85), (66, top + 103))
    flow.arrow((198, top + 85), (198, top + 103))
    flow.box((4, top + 106, 256, 44), decode, "answer")
    flow.box((4, top + 162, 256, 62), ("Who learns an object?", *learns), "training")


def debugging_flow() -> Flow:
    """Draw chapter 8's search: from a symptom to its cause, and back to a number."""
    flow = Flow(
        540,
        430,
        alt="The search. A symptom, which is a number, leads to a question with two or more "
        "suspects; the question to an experiment whose outcome differs from suspect to suspect; "
        "the experiment to one cause, or back to another question; the cause to a cure, and the "
        "cure back to the number, which is measured again.",
    )

    flow.box((20, 10, 330, 62), ("symptom", "a number that is not what it should be"), "answer")
    flow.box((20, 112, 330, 62), ("question", "which suspects could make this number?"), "scores")
    flow.box(
        (20, 214, 330, 80),
        ("experiment", "one that comes out differently for them,", "in seconds, on few images"),
        "backbone",
    )
    flow.box((20, 336, 154, 80), ("cause", "the one suspect", "that is left"), "boxes")
    flow.box((196, 336, 154, 80), ("cure", "one change, and the", "number again"), "pyramid")

    flow.arrow((185, 72), (185, 112))
    flow.arrow((185, 174), (185, 214))
    flow.arrow((97, 294), (97, 336))
    flow.arrow((174, 376), (196, 376))

    # What does not tell them apart asks another question; a cure is measured by the symptom.
    flow.line((350, 254), (400, 254))
    flow.line((400, 254), (400, 143))
    flow.arrow((400, 143), (350, 143))
    flow.text((408, 190), "no difference:", "start")
    flow.text((408, 190 + LINE), "ask again", "start")
    flow.line((350, 376), (525, 376))
    flow.line((525, 376), (525, 41))
    flow.arrow((525, 41), (350, 41))
    flow.text((408, 396), "is it mended?", "start")
    return flow


def comparison_flow(seconds: float, num_seeds: int, train_scenes: int, test_scenes: int) -> Flow:
    """Draw how chapter 7 compares: what is equal for all detectors, and what is measured.

    Args:
        seconds: of each training, as the calibration counts them.
        num_seeds: trainings of each detector.
        train_scenes: on which they train.
        test_scenes: on which they are measured.
    """
    flow = Flow(
        540,
        452,
        alt="How detectors are compared. Each detector's training step is timed alone, on one "
        f"machine. {seconds:g} seconds divided by that time are its steps. With these steps each "
        f"detector is trained from {num_seeds} seeds by one trainer on the same {train_scenes} "
        f"scenes. What it has learnt is measured on {test_scenes} other scenes, and its calls are "
        "timed in turns with those of all others. Accuracy, with its spread over the seeds, and "
        "cost make one row of the table.",
    )

    # Time becomes steps.
    flow.box(
        (20, 10, 300, 62), ("a step, timed alone", "one machine, one thread, batch 16"), "image"
    )
    flow.box((20, 112, 300, 62), ("steps", f"{seconds:g} s, divided by that time"), "scores")
    flow.arrow((170, 73), (170, 109))

    # What is equal for all goes in from the side.
    flow.box((374, 112, 156, 62), ("equal for all", "trainer, image size"), "training")
    flow.box((374, 214, 156, 62), (f"{train_scenes} scenes", "the same for all"), "training")
    flow.box(
        (20, 214, 300, 62), ("training", f"from {num_seeds} seeds, weights at random"), "backbone"
    )
    flow.arrow((170, 175), (170, 211))
    flow.arrow((373, 245), (323, 245))
    flow.line((373, 143), (346, 143), (346, 245))

    # Two kinds of numbers, one row.
    flow.box((20, 316, 240, 62), ("accuracy", f"AP on {test_scenes} other scenes"), "boxes")
    flow.box((290, 316, 240, 62), ("cost", "calls, in turns with all others"), "second stage")
    flow.arrow((140, 277), (140, 313))
    flow.arrow((270, 277), (270, 296), (410, 296), (410, 313))
    flow.box(
        (20, 414, 510, 34),
        ("one row of the table: AP ± its spread, milliseconds, memory",),
        "answer",
    )
    flow.arrow((140, 379), (140, 411))
    flow.arrow((410, 379), (410, 411))
    return flow
