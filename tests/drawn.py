"""For the tests of `detlearn.plotting`: objects in one line, drawn artists in plain words."""

import torch
from matplotlib.colors import to_hex

from detlearn.plotting import style

NAMES = ["person", "phone", "car"]


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def target(*rows, labels=None):
    labels = range(len(rows)) if labels is None else labels
    return {"boxes": boxes(*rows), "labels": torch.tensor(list(labels), dtype=torch.int64)}


def detections(*rows, labels=None, scores=None):
    scores = torch.linspace(0.9, 0.5, len(rows)) if scores is None else torch.tensor(scores)
    return target(*rows, labels=labels) | {"scores": scores}


def outlines(ax):
    """(x1, y1, x2, y2) → line style name and colour, of every box drawn."""
    found = {}
    for patch in ax.patches:
        corners = (patch.get_x(), patch.get_y())
        corners += (patch.get_x() + patch.get_width(), patch.get_y() + patch.get_height())
        found[tuple(round(v, 3) for v in corners)] = (dashes(patch), to_hex(patch.get_edgecolor()))
    return found


def dashes(artist):
    """Names the line style of a patch."""
    given = artist.get_linestyle()
    names = {style.DASHED: "dashed", style.DOTTED: "dotted"}
    return "solid" if given in ("-", "solid") else names[(given[0], tuple(given[1]))]


def tags(ax):
    return [text.get_text() for text in ax.texts]


def scatters(ax):
    """Colour and positions of every group of markers that belongs to an object."""
    return [
        (
            to_hex(group.get_facecolor()[0]) if len(group.get_facecolor()) else None,
            group.get_offsets(),
        )
        for group in ax.collections
        if hasattr(group, "get_sizes")
    ]


class Scenes(torch.utils.data.Dataset):
    class_names = NAMES

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return torch.rand(3, 48, 64), target((4, 4, 20, 20), labels=[index % 3])
