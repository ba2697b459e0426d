"""What the chapters use to show things: figures to explore, and the source of the package itself.

`page` says how a figure is made and how to add one.
"""

from detlearn.explore.anchors_and_objects import anchors_and_objects
from detlearn.explore.page import Explorable
from detlearn.explore.source import source

__all__ = ["Explorable", "anchors_and_objects", "source"]
