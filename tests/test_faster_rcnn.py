"""Faster and Cascade R-CNN as detectors: the contract, the parts together, and odd input."""

from urllib.error import URLError

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torchvision.models import ResNet50_Weights

from detlearn import models
from detlearn.boxes import box_iou
from detlearn.models import CascadeRCNN, FasterRCNN, cascade_rcnn, faster_rcnn, small
from detlearn.models.roi_heads import RoIHeads, TwoMLPHead
from detlearn.models.rpn import RegionProposalNetwork
from detlearn.nets.fpn import PyramidBackbone
from detlearn.nets.small import SmallBackbone

BUILDERS = ["faster_rcnn", "cascade_rcnn"]
RPN_LOSSES = {"loss_objectness", "loss_rpn_box_reg"}


def build(name, num_classes=3, **options):
    torch.manual_seed(0)
    return models.BUILDERS[name](num_classes, **options)


def target(boxes, labels=None):
    boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    return {"boxes": boxes, "labels": torch.tensor(labels or [0] * len(boxes)).long()}


def loss_of(model, images, targets):
    model.train()
    losses = model(images, targets)
    total = sum(losses.values())
    total.backward()
    return losses, total


def gradients(model):
    return [p.grad for p in model.parameters() if p.grad is not None]


# --- the contract ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILDERS)
def test_training_and_detecting(name):
    model = build(name)
    images = [torch.rand(3, 64, 96), torch.rand(3, 50, 70)]
    losses, total = loss_of(
        model, images, [target([[4, 4, 30, 30]]), target([[5, 9, 60, 40]], [2])]
    )
    kinds = ["loss_classifier", "loss_box_reg"]
    if name == "cascade_rcnn":
        kinds = [f"{kind}_{i}" for i in (1, 2, 3) for kind in kinds]
    assert set(losses) == RPN_LOSSES | set(kinds)
    assert all(loss.ndim == 0 for loss in losses.values()) and total.isfinite()
    assert all(p.grad is not None for p in model.parameters()), "every weight is trained"
    model.eval()
    model.score_threshold = 0.0
    for image, found in zip(images, model(images), strict=True):
        assert (found["scores"].diff() <= 0).all() and 0 < len(found["scores"]) <= 100
        assert found["labels"].dtype == torch.int64
        assert set(found["labels"].tolist()) <= {0, 1, 2}
        height, width = image.shape[-2:]
        assert found["boxes"].min() >= 0
        assert found["boxes"][:, 2].max() <= width and found["boxes"][:, 3].max() <= height


@pytest.mark.parametrize("name", BUILDERS)
def test_an_image_is_seen_alike_alone_and_in_a_batch(name):
    model = build(name).eval()
    model.score_threshold = 0.1
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(3, *size, generator=generator) for size in ((64, 64), (96, 64), (64, 128))]
    together = model([images[1], images[1].flip(2)])
    for image, found in zip([images[1], images[1].flip(2)], together):
        (alone,) = model([image])
        for key in alone:
            assert_close(found[key], alone[key], rtol=1e-4, atol=1e-4)
    # In a larger batch the padding is zeros beyond the image: no box may reach there.
    for image, found in zip(images, model(images)):
        assert (found["boxes"][:, 2:] <= torch.tensor(image.shape[:0:-1])).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDERS)
def test_overfits_one_batch(name):
    model = build(name, 2)
    image = torch.zeros(3, 64, 64)
    image[0, 8:32, 8:40] = 1
    image[1, 36:60, 30:50] = 1
    goal = target([[8, 8, 40, 32], [30, 36, 50, 60]], [0, 1])
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    model.train()
    for _ in range(80):
        losses = model([image, image.flip(1)], [goal, flipped(goal)])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    found = model.eval()([image])[0]
    assert found["labels"][:2].sort().values.tolist() == [0, 1]
    for box, label in zip(goal["boxes"], goal["labels"]):
        best = found["boxes"][found["labels"] == label][0]
        assert box_iou(box[None], best[None]).item() > 0.75


def flipped(goal):
    boxes = goal["boxes"].clone()
    boxes[:, [1, 3]] = 64 - boxes[:, [3, 1]]
    return goal | {"boxes": boxes}


@pytest.mark.parametrize("name", BUILDERS)
def test_who_learns_what(name):
    model = build(name)
    targets = [target([[4, 4, 30, 30], [40, 40, 60, 60]]), target([])]
    outputs = model.predict(torch.rand(2, 3, 64, 96), [(64, 96), (50, 70)])
    assignment = model.assign(outputs, targets)
    places = (16 * 24 + 8 * 12 + 4 * 6) * 6
    assert assignment.assigned.shape == (2, places) and assignment.points.shape == (places, 2)
    assert set(assignment.assigned[0].unique().tolist()) == {-2, -1, 0, 1}
    assert (assignment.assigned[1] == -1).all()
    # Every anchor stands in the middle of its cell.
    cells = assignment.points / assignment.strides[:, None]
    assert_close(cells % 1, torch.full_like(cells, 0.5))
    assert assignment.strides.unique().tolist() == [4, 8, 16]
    iou = box_iou(targets[0]["boxes"], assignment.anchors)
    assert torch.equal(assignment.assigned[0], model.rpn.matcher(iou))


def test_small_settings_are_those_of_the_chapter():
    """A sample of 32 in both stages, half of it positive in the second; 5 × 5 RoIs, 512 wide."""
    model = build("faster_rcnn")
    assert model.rpn.sampler.batch_size_per_image == 32
    assert model.rpn.matcher.high_threshold == 0.5
    assert model.roi_heads.sampler.batch_size_per_image == 32
    assert model.roi_heads.sampler.positive_fraction == 0.5
    assert model.roi_heads.box_roi_pool.output_size == (5, 5)
    assert model.roi_heads.box_predictor.cls_score.in_features == 512
    outputs = model.train().predict(torch.rand(1, 3, 128, 128))
    corner = torch.rand(60, 2) * 100
    boxes = torch.cat((corner, corner + 20), dim=1)
    sample = model.roi_heads.sample([boxes], [target([[4, 4, 30, 30]])])
    assert len(sample.labels) == 32 and len(outputs.rpn.proposals[0]) <= 50


# --- odd input -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILDERS)
def test_no_objects_at_all(name):
    model = build(name)
    losses, total = loss_of(model, [torch.rand(3, 64, 64)] * 2, [target([]), target([])])
    for key, loss in losses.items():
        assert (loss == 0) == ("box_reg" in key), key
    assert total.isfinite() and all(g.isfinite().all() for g in gradients(model))


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize(
    ("size", "boxes"),
    [
        ((64, 64), [[30, 30, 31, 31]]),  # one pixel
        ((64, 64), [[0, 0, 64, 3], [50, 50, 64, 64]]),  # at the border
        ((64, 64), [[-10, -5, 20, 20], [60, 60, 90, 80]]),  # across it
        ((33, 517), [[400, 2, 500, 31], [1, 1, 9, 9]]),  # a strip
    ],
)
def test_odd_sizes(name, size, boxes):
    model = build(name)
    _, total = loss_of(model, [torch.rand(3, *size)], [target(boxes)])
    assert total.isfinite() and all(g.isfinite().all() for g in gradients(model))
    model.eval()
    model.score_threshold = 0.0
    (found,) = model([torch.rand(3, *size)])
    assert len(found["boxes"]) > 0 and found["boxes"].isfinite().all()


@pytest.mark.parametrize("name", BUILDERS)
def test_five_hundred_objects(name):
    corner = torch.rand(500, 2) * 110
    boxes = torch.cat((corner, corner + 1 + torch.rand(500, 2) * 15), dim=1)
    goal = {"boxes": boxes, "labels": torch.randint(3, (500,))}
    model = build(name)
    _, total = loss_of(model, [torch.rand(3, 128, 128)], [goal])
    assert total.isfinite() and all(g.isfinite().all() for g in gradients(model))
    assert model.eval()([torch.rand(3, 128, 128)])[0]["boxes"].isfinite().all()


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize(
    ("boxes", "labels", "words"),
    [
        ([[1, 1, 9, 9], [9, 9, 2, 12]], [0, 0], r"targets\[1\].*\[1\] = .* has no area"),
        ([[70, 1, 90, 9]], [0], r"targets\[1\].*\[0\] = .* lies outside its image of 64 × 64"),
        ([[1, 1, 9, float("nan")]], [0], r"targets\[1\].*\[0\] = .* is not finite"),
        ([[1, 1, 9, 9]], [3], r"targets\[1\].*\[0\] = 3 is no label in 0 … 2"),
    ],
)
def test_bad_targets(name, boxes, labels, words):
    model = build(name).train()
    with pytest.raises(ValueError, match=words):
        model([torch.rand(3, 64, 64)] * 2, [target([]), target(boxes, labels)])


@pytest.mark.parametrize("name", BUILDERS)
def test_bad_pixels(name):
    images = [torch.rand(3, 64, 64), torch.rand(3, 64, 64)]
    images[1][0, 3, 4] = torch.nan
    with pytest.raises(ValueError, match="image 1 holds pixels that are NaN or infinite"):
        build(name).eval()(images)


@pytest.mark.parametrize("name", BUILDERS)
def test_a_single_roi(name):
    """No proposal and one object: batch normalisation over one row has no variance."""
    model = build(name)
    model.rpn.min_size = 1e6
    _, total = loss_of(model, [torch.rand(3, 64, 64)], [target([[4, 4, 30, 30]], [1])])
    assert total.isfinite() and all(g.isfinite().all() for g in gradients(model))
    heads = [model.roi_heads] if name == "faster_rcnn" else model.stages
    assert all(m.training for head in heads for m in head.modules()), "left in training mode"


@pytest.mark.parametrize("name", BUILDERS)
def test_no_proposal(name):
    model = build(name)
    model.rpn.min_size = 1e6
    _, total = loss_of(model, [torch.rand(3, 64, 64)] * 2, [target([]), target([])])
    assert total.isfinite()
    for found in model.eval()([torch.rand(3, 64, 64)] * 2):
        assert found["boxes"].shape == (0, 4) and found["scores"].shape == (0,)


@pytest.mark.parametrize(
    "builder", [models.fasterrcnn_resnet50_fpn, models.fasterrcnn_resnet50_fpn_v2]
)
def test_offline_the_warning_names_the_line_that_called_the_builder(builder, monkeypatch):
    def offline(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr(ResNet50_Weights, "get_state_dict", offline)
    with torch.device("meta"), pytest.warns(UserWarning, match="was not loaded") as warned:
        builder(3, pretrained_backbone=True)
    assert [warning.filename for warning in warned] == [__file__]


def test_a_single_location():
    with pytest.raises(ValueError, match="one image of 32 × 32 pixels is a single location"):
        build("faster_rcnn").train()([torch.rand(3, 30, 20)], [target([[1, 1, 9, 9]])])
    assert build("faster_rcnn").eval()([torch.rand(3, 30, 20)])[0]["boxes"].shape[1] == 4
    loss_of(build("faster_rcnn"), [torch.rand(3, 30, 20)] * 2, [target([[1, 1, 9, 9]])] * 2)


def test_images_in_double_precision():
    model = build("faster_rcnn").eval()
    model.score_threshold = 0.0
    image = torch.rand(3, 64, 64)
    assert_close(model([image.double()]), model([image]))


def test_targets_as_lists():
    with pytest.raises(TypeError, match=r"targets\[0\]\['boxes'\] is a list; expected a tensor"):
        build("faster_rcnn").train()(
            [torch.rand(3, 64, 64)], [{"boxes": [[1, 1, 9, 9]], "labels": torch.tensor([0])}]
        )


@pytest.mark.parametrize("name", BUILDERS)
def test_boxes_are_clipped_to_their_own_image(name):
    """To the image, not to the padded batch: of `decode`, for the batcher clips once more."""
    model = build(name).eval()
    model.score_threshold = 0.0
    for head in [model.roi_heads] if name == "faster_rcnn" else model.stages:
        nn.init.constant_(head.box_predictor.bbox_pred.bias, 8.0)  # far right, down and larger
    sizes = [(64, 64), (40, 23), (17, 64)]
    with torch.no_grad():
        outputs = model.predict(torch.rand(3, 3, 64, 64), sizes)
        for (height, width), proposals, found in zip(
            sizes, outputs.rpn.proposals, model.decode(outputs), strict=True
        ):
            for boxes in (proposals, found["boxes"]):
                assert len(boxes) > 0 and boxes.min() >= 0
                assert boxes[:, 2].max() <= width and boxes[:, 3].max() <= height
            # Without clipping all of these would lie beyond.
            assert (found["boxes"][:, 2] == width).any() and (found["boxes"][:, 3] == height).any()


def test_parts_that_do_not_fit():
    backbone = small.small_pyramid()
    rpn, heads = small.small_rpn(backbone), small.small_heads(3, backbone)
    elsewhere = RegionProposalNetwork(32, strides=(8, 16, 32))
    with pytest.raises(ValueError, match=r"has strides \[8, 16, 32\], the backbone \[4, 8, 16\]"):
        FasterRCNN(3, backbone, elsewhere, heads)
    with pytest.raises(ValueError, match="0 stages: expected 3"):
        CascadeRCNN(3, backbone, rpn, [])
    with pytest.raises(ValueError, match="the detector has 5 classes, its second stage 3"):
        FasterRCNN(5, backbone, rpn, heads)
    with pytest.raises(ValueError, match="build them class_agnostic=True"):
        CascadeRCNN(3, backbone, rpn, [heads] * 3)
    agnostic = [small.small_heads(3, backbone, class_agnostic=True) for _ in range(3)]
    with pytest.raises(ValueError, match="the detector has 4 classes, its second stage 3"):
        CascadeRCNN(4, backbone, rpn, agnostic)


# --- Faster R-CNN ----------------------------------------------------------------------------


class OneMap(nn.Module):
    """A backbone with a single map, as in 2015."""

    out_channels, strides = [8], [16]

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 16, stride=16)

    def forward(self, images):
        return {"only": self.conv(images)}


@pytest.mark.parametrize("pooling", ["align", "pool"])
def test_single_map_with_the_papers_anchors(pooling):
    model = FasterRCNN(4, OneMap(), pooling=pooling)
    anchors = model.rpn.anchors(torch.zeros(1, 8, 2, 2))[0]
    sizes = (anchors[:9, 2:] - anchors[:9, :2]).prod(1).sqrt()
    assert_close(sizes, torch.tensor([128.0, 256, 512]).repeat(3))
    assert type(model.roi_heads.box_roi_pool) is faster_rcnn.POOLINGS[pooling]
    _, total = loss_of(model, [torch.rand(3, 128, 160)], [target([[10, 10, 100, 90]])])
    assert total.isfinite()
    assert model.eval()([torch.rand(3, 128, 160)])[0]["boxes"].shape[1] == 4


def test_default_pyramid_has_one_size_per_level_and_pools_up_to_stride_32():
    model = FasterRCNN(4, PyramidBackbone(SmallBackbone((8, 8, 8, 8)), 8))
    sizes = [(a[:, 2:] - a[:, :2]).prod(1).sqrt() for a in model.rpn.anchor_generator.cell_anchors]
    for found, size in zip(sizes, (32, 64, 128, 256, 512), strict=True):
        assert_close(found, torch.full((3,), float(size)))
    assert model.roi_heads.box_roi_pool.featmap_names == ["4", "8", "16", "32"]


def test_unknown_pooling():
    with pytest.raises(ValueError, match="'max': expected one of align, pool"):
        build("faster_rcnn", pooling="max")


def test_class_agnostic_heads_detect():
    backbone = small.small_pyramid()
    heads = small.small_heads(3, backbone, class_agnostic=True)
    model = FasterRCNN(3, backbone, small.small_rpn(backbone), heads).eval()
    model.score_threshold = 0.0
    assert len(model([torch.rand(3, 64, 64)])[0]["boxes"]) > 0


def test_no_gradient_flows_through_proposals():
    """The second stage's loss must not reach the first stage's heads."""
    model = build("faster_rcnn").train()
    losses = model([torch.rand(3, 64, 64)], [target([[4, 4, 30, 30]])])
    (losses["loss_classifier"] + losses["loss_box_reg"]).backward()
    assert all(p.grad is None for p in model.rpn.parameters())
    assert any(p.grad is not None for p in model.backbone.parameters())


def test_decode_drops_the_backgrounds_box_and_score():
    """A head that always answers the same, so that the detections are known."""
    model = build("faster_rcnn", 2)
    predictor = model.roi_heads.box_predictor
    for layer in (predictor.cls_score, predictor.bbox_pred):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    with torch.no_grad():
        predictor.cls_score.bias.copy_(torch.tensor([5.0, 0.0, 3.0]))
        # The second class moves its box right by a tenth of its width; the background far down.
        predictor.bbox_pred.bias.copy_(torch.tensor([0, 90.0, 0, 0, 0, 0, 0, 0, 0.5, 0, 0, 0]))
    outputs = model.eval().predict(torch.zeros(1, 3, 64, 64))
    proposals = [torch.tensor([[10.0, 10, 30, 20]])]
    (found,) = model.decode(with_proposals(outputs, proposals))
    assert found["labels"].tolist() == [1]
    assert_close(found["boxes"], torch.tensor([[12.0, 10, 32, 20]]))
    wanted = torch.tensor([5.0, 0.0, 3.0]).softmax(0)[2]
    assert_close(found["scores"], wanted[None])


# --- Cascade R-CNN ---------------------------------------------------------------------------


def test_the_stages_differ_as_in_the_paper():
    model = CascadeRCNN(2, PyramidBackbone(SmallBackbone((8, 8, 8, 8)), 8))
    assert [stage.matcher.high_threshold for stage in model.stages] == [0.5, 0.6, 0.7]
    stretch = [stage.box_coder.weights for stage in model.stages]
    assert stretch == [(10, 10, 5, 5), (20, 20, 10, 10), (30, 30, 15, 15)]
    assert len({id(p) for p in model.stages.parameters()}) == 3 * 8, "weights of their own"
    with pytest.raises(ValueError, match="2 stages: expected 3"):
        CascadeRCNN(2, model.backbone, stages=list(model.stages)[:2])


def with_proposals(outputs, proposals):
    """Outputs of a first stage that proposed these boxes."""
    return outputs._replace(rpn=outputs.rpn._replace(proposals=proposals))


def watch_boxes(model):
    """A list that gets the first image's boxes of every call of a stage."""
    seen = []
    for stage in model.stages:
        stage.register_forward_pre_hook(lambda stage, args: seen.append(args[1][0]))
    return seen


def constant_stage(stage: RoIHeads, logits, delta):
    """Let a head answer the same for every box."""
    for layer in (stage.box_predictor.cls_score, stage.box_predictor.bbox_pred):
        nn.init.zeros_(layer.weight)
    with torch.no_grad():
        stage.box_predictor.cls_score.bias.copy_(torch.tensor(logits))
        stage.box_predictor.bbox_pred.bias.copy_(torch.tensor(delta))


def test_boxes_go_from_stage_to_stage_and_scores_are_averaged():
    model = build("cascade_rcnn", 1).eval()
    # Each moves right by a tenth of the width: dx = 0.1 times the stage's own weight.
    for stage, logit, dx in zip(model.stages, (0.0, 1.0, 2.0), (1.0, 2.0, 3.0)):
        constant_stage(stage, [0.0, logit], [dx, 0.0, 0, 0])
    outputs = with_proposals(
        model.predict(torch.zeros(1, 3, 64, 64)), [torch.tensor([[10.0, 10, 30, 20]])]
    )
    seen = watch_boxes(model)
    (found,) = model.decode(outputs)
    assert_close(torch.cat(seen)[:, 0], torch.tensor([10.0, 12, 14]))
    assert_close(found["boxes"], torch.tensor([[16.0, 10, 36, 20]]))
    wanted = torch.tensor([0.0, 1, 2]).sigmoid().mean()
    assert_close(found["scores"], wanted[None])


def test_training_goes_on_with_the_moved_boxes():
    """What the second and the third head see and learn are the boxes of the head before."""
    model = build("cascade_rcnn", 1).train()
    for stage, dx in zip(model.stages, (1.0, 2.0, 3.0)):
        constant_stage(stage, [0.0, 1.0], [dx, 0.0, 0, 0])
    goal = target([[14, 10, 34, 20]])
    outputs = with_proposals(
        model.predict(torch.rand(1, 3, 64, 64)), [torch.tensor([[10.0, 10, 30, 20]])]
    )
    seen = watch_boxes(model)
    losses = model.compute_loss(outputs, [goal])

    # The proposal and the object itself, both two pixels further right at each head.
    left = torch.stack([boxes[:, 0].sort().values for boxes in seen])
    assert_close(left, torch.tensor([[10.0, 14], [12, 16], [14, 18]]))
    # Of the third head's boxes one lies right, and should stay where the head moves it by a tenth
    # of its width, times the weight 30; the other is too far (IoU 2/3) and counts as background.
    wanted = 0.25 * (3 - 1 / 18) / 2
    assert losses["loss_box_reg_3"].item() == pytest.approx(wanted, rel=1e-4)


def test_training_clips_the_moved_boxes_to_their_own_image():
    """Both images lie in a batch of 64 × 64; every head moves boxes far right, down and larger."""
    model = build("cascade_rcnn", 1).train()
    for stage in model.stages:
        constant_stage(stage, [0.0, 1.0], [8.0, 8.0, 8.0, 8.0])
    sizes = [(64, 64), (40, 23)]
    outputs = model.predict(torch.rand(2, 3, 64, 64), sizes)
    outputs = with_proposals(outputs, [torch.tensor([[4.0, 4, 20, 20]])] * 2)

    seen = []
    for stage in model.stages[1:]:
        stage.register_forward_pre_hook(lambda stage, args: seen.append(args[1]))
    model.compute_loss(outputs, [target([[4, 4, 20, 20]])] * 2)

    assert len(seen) == 2
    for boxes in seen:
        for (height, width), image_boxes in zip(sizes, boxes, strict=True):
            assert image_boxes[:, 2].max() == width and image_boxes[:, 3].max() == height


def test_later_stages_are_relabelled_and_detached():
    model = build("cascade_rcnn", 1).train()
    goal = target([[10, 10, 30, 30]])
    for stage in model.stages:
        constant_stage(stage, [0.0, 0.0], [0.0, 0, 0, 0])
    # IoU .55 with the object: positive for the first head, background for the others.
    sloppy = torch.tensor([[10.0, 10, 30, 21]])
    outputs = with_proposals(model.predict(torch.rand(1, 3, 64, 64)), [sloppy])
    labels, label = [], RoIHeads.label

    def spy(stage, boxes, targets):
        labels.append((boxes[0], label(stage, boxes, targets)))
        assert not boxes[0].requires_grad
        return labels[-1][1]

    for stage in model.stages:
        stage.label = spy.__get__(stage)
    losses = model.compute_loss(outputs, [goal])
    # The first call draws the sample; then each head labels what it is given.
    for (boxes, sample), threshold in zip(labels[1:], (0.5, 0.6, 0.7), strict=True):
        iou = box_iou(boxes, goal["boxes"])[:, 0]
        assert torch.equal(sample.labels > 0, iou >= threshold)
        assert len(boxes) == 2, "the proposal and the object, through all stages"
    losses["loss_box_reg_3"].backward()
    assert all(p.grad is None for p in model.stages[0].box_predictor.parameters())


def test_loss_weights():
    """With heads of equal answers on the object itself, the terms are 1 : 0.5 : 0.25."""
    model = build("cascade_rcnn", 1).train()
    for stage in model.stages:
        constant_stage(stage, [0.0, 1.0], [0.0, 0, 0, 0])
    goal = target([[10, 10, 30, 30]])
    outputs = with_proposals(model.predict(torch.rand(1, 3, 64, 64)), [goal["boxes"]])
    losses = model.compute_loss(outputs, [goal])
    terms = torch.stack([losses[f"loss_classifier_{i}"] for i in (1, 2, 3)])
    assert_close(terms / terms[0], torch.tensor(cascade_rcnn.LOSS_WEIGHTS))
    assert cascade_rcnn.LOSS_WEIGHTS == (1.0, 0.5, 0.25)


def test_empty_boxes_keep_their_row():
    model = build("cascade_rcnn", 1).eval()
    constant_stage(model.stages[0], [0.0, 0.0], [-1000.0, 0, 0, 0])  # out of the image, no area
    for stage in model.stages[1:]:
        constant_stage(stage, [0.0, 0.0], [0.0, 0, 0, 0])
    outputs = model.predict(torch.zeros(2, 3, 64, 64))
    proposals = [torch.tensor([[10.0, 10, 30, 20]] * 3), torch.tensor([[1.0, 1, 9, 9]])]
    found = model.decode(with_proposals(outputs, proposals))
    assert [len(d["boxes"]) for d in found] == [0, 0]
    assert model.refine(model.stages[0], proposals, torch.zeros(4, 1, 4), [(64, 64)] * 2)[
        0
    ].shape == (3, 4)


def test_head_sizes_follow_the_backbone():
    head = TwoMLPHead(32 * 25, 128)
    assert head(torch.zeros(2, 32, 5, 5)).shape == (2, 128)
