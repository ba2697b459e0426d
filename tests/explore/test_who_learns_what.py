"""Who learns what, all ways: the marks are the assignments of the detectors."""

import pytest
import torch
from from_models import assigned, ways

from detlearn import explore
from detlearn.plotting.locations import look_through


def made():
    return explore.who_learns_what(**assigned())


def test_the_places_are_those_of_the_detectors(open_figures) -> None:
    given = assigned()
    figure = open_figures(made())
    for way, (name, model) in enumerate(ways().items()):
        _, _, found = look_through(model, given["image"], given["target"])
        learns = (found.assigned[0] >= 0).nonzero()[:, 0]
        objects = found.assigned[0][learns].tolist()
        counts = [objects.count(n) for n in range(len(given["target"]["boxes"]))]

        figure.set({"way": way, "object": -1})
        got = figure.get()
        assert got["name"] == name and got["counts"] == counts
        assert [place["object"] for place in got["shown"]] == objects
        points = found.points.view(-1, 2)[learns]
        shown = torch.tensor([place["at"] for place in got["shown"]], dtype=torch.float32)
        assert torch.allclose(shown, points.float(), atol=0.06)
        assert all(("anchor" in place) == (name == "retinanet") for place in got["shown"])

        figure.set({"object": 0})
        assert len(figure.get()["shown"]) == counts[0]


def test_every_object_has_one_query(open_figures) -> None:
    """DETR: one query each, and no stride."""
    figure = open_figures(made())
    figure.set({"way": 2})
    got = figure.get()
    assert got["counts"] == [1] * len(got["counts"])
    assert all(place["stride"] is None for place in got["shown"])
    assert "queries learn an object" in figure.page.locator(".stage").inner_text()


def test_one_click_from_one_to_the_next(open_figures) -> None:
    figure = open_figures(made())
    figure.page.get_by_text("fcos", exact=True).click()
    assert figure.get()["name"] == "fcos"
    marks = figure.page.locator(".stage svg > g > rect").count()
    figure.page.locator("label", has_text="B ").first.click()
    assert figure.get()["object"] == 1
    assert figure.page.locator("tr.chosen").count() == 1
    assert figure.page.locator(".stage svg > g > rect").count() <= marks


def test_the_anchors_of_one_object_are_drawn(open_figures) -> None:
    figure = open_figures(made())
    figure.set({"way": 0, "object": 0})
    shown = len(figure.get()["shown"])
    outlines = figure.page.locator(".stage svg > g > rect[fill=none]").count()
    assert shown > 0 and outlines == shown
    figure.set({"object": -1})
    assert figure.page.locator(".stage svg > g > rect[fill=none]").count() == 0


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits(open_figures, width: int) -> None:
    page = open_figures(made(), width=width).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_what_cannot_be_drawn_is_refused() -> None:
    given = assigned()
    with pytest.raises(ValueError, match="got no detectors"):
        explore.who_learns_what(**{**given, "detectors": {}})
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    with pytest.raises(ValueError, match="has 0 objects: expected 1 to 5"):
        explore.who_learns_what(**{**given, "target": nothing})
    many = {"boxes": torch.ones(6, 4), "labels": torch.zeros(6, dtype=torch.int64)}
    with pytest.raises(ValueError, match="has 6 objects"):
        explore.who_learns_what(**{**given, "target": many})
    with pytest.raises(ValueError, match=r"shape \(3, 128, 96\): expected \(3, S, S\)"):
        explore.who_learns_what(**{**given, "image": given["image"][:, :, :96]})
    with pytest.raises(ValueError, match=r"class_names has 1 names"):
        explore.who_learns_what(**{**given, "class_names": ("ball",)})


def test_it_is_small_and_has_a_still_picture() -> None:
    figure = made()
    assert len(figure._repr_html_().encode()) <= 60_000
    assert figure.still.count("<image") == 1 and "<circle" in figure.still
