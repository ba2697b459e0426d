"""For the tests of detectors: targets in one line, scenes to learn by heart, the contract."""

import torch


def target(boxes, labels=None):
    boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    return {"boxes": boxes, "labels": torch.tensor(labels or [0] * len(boxes)).long()}


def check_contract(found, height, width, num_classes, limit=100):
    assert found.keys() == {"boxes", "scores", "labels"}
    boxes, scores, labels = found["boxes"], found["scores"], found["labels"]
    assert boxes.shape == (len(scores), 4) and labels.shape == scores.shape
    assert len(scores) <= limit and labels.dtype == torch.int64
    assert (scores[:-1] >= scores[1:]).all() and (scores > 0).all() and (scores <= 1).all()
    assert ((labels >= 0) & (labels < num_classes)).all()
    assert (boxes[:, 0] >= 0).all() and (boxes[:, 2] <= width).all()
    assert (boxes[:, 1] >= 0).all() and (boxes[:, 3] <= height).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def two_colours():
    """Four samples of 64 × 64 with two objects each, red of class 0 and green of class 1."""
    random = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(4):
        image, boxes = torch.full((3, 64, 64), 0.5), []
        for label, x in ((0, 4), (1, 36)):
            w, h = (torch.randint(12, 24, (2,), generator=random)).tolist()
            y = int(torch.randint(2, 36, (), generator=random))
            image[:, y : y + h, x : x + w] = 0.0
            image[label, y : y + h, x : x + w] = 1.0
            boxes.append([x, y, x + w, y + h])
        samples.append((image, target(boxes, [0, 1])))
    return samples


def check_two_colours(found, wanted):
    """The two best detections are the two objects, each side within four pixels."""
    first_two = found["labels"][:2].sort()
    assert first_two.values.tolist() == [0, 1]
    boxes = found["boxes"][:2][first_two.indices]
    assert (boxes - wanted["boxes"]).abs().max() < 4
