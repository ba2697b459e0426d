"""What all detectors have from their base class."""

import pytest
import torch

from detlearn.models import BUILDERS, create


def number_found(model, images, threshold):
    model.score_threshold = threshold
    return sum(len(found["scores"]) for found in model(images))


@torch.no_grad()
@pytest.mark.parametrize("name", BUILDERS)
def test_a_score_on_the_threshold_is_too_low(name):
    """As in torchvision: a detection has a score above the threshold, not at it."""
    torch.manual_seed(0)
    model = create(name, 2).eval()
    images = [torch.rand(3, 64, 64)]

    # The highest number that is compared with the threshold.
    model.score_threshold = 0.0
    highest = model(images)[0]["scores"].max().item()
    if name == "fcos":  # there it is the score of the class without the centerness
        outputs = model.predict(model.batcher(images)[0].images)
        highest = outputs.class_logits.sigmoid().max().item()

    assert number_found(model, images, highest) == 0
    just_below = torch.nextafter(torch.tensor(highest), torch.tensor(0.0)).item()
    assert number_found(model, images, just_below) > 0
