"""What the chapters use to show things: figures to explore, and the source of the package itself.

`page` says how a figure is made and how to add one.
"""

from detlearn.explore.accuracy_latency import accuracy_latency
from detlearn.explore.anchors_and_objects import anchors_and_objects
from detlearn.explore.centre_gaussian import centre_gaussian
from detlearn.explore.deformable_sampling import deformable_sampling
from detlearn.explore.fcos_levels import fcos_levels
from detlearn.explore.focal_loss import focal_loss
from detlearn.explore.hungarian import hungarian_costs
from detlearn.explore.page import Explorable
from detlearn.explore.play import Player, play
from detlearn.explore.query_attention import query_attention
from detlearn.explore.roi_sampling import roi_sampling
from detlearn.explore.scores_to_ap import scores_to_ap
from detlearn.explore.source import source
from detlearn.explore.training_steps import training_steps
from detlearn.explore.two_boxes import two_boxes
from detlearn.explore.who_learns_what import who_learns_what
from detlearn.explore.yolo_assignment import yolo_assignment

__all__ = [
    "Explorable",
    "Player",
    "accuracy_latency",
    "anchors_and_objects",
    "centre_gaussian",
    "deformable_sampling",
    "fcos_levels",
    "focal_loss",
    "hungarian_costs",
    "play",
    "query_attention",
    "roi_sampling",
    "scores_to_ap",
    "source",
    "training_steps",
    "two_boxes",
    "who_learns_what",
    "yolo_assignment",
]
