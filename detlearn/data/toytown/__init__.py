"""ToyTown: scenes drawn in code, as many and as hard as one asks for.

From the data set down to the pen:

- scenes.py: `ToyTown`, the data set; knobs.py: what it can be asked for.
- layout.py: which objects stand where; classes.py: the ten classes.
- painting.py: objects and clutter over a ground, in the light of a time of day.
- grounds.py, materials.py: what they stand on; clutter.py, objects/: the drawings.
- pen.py: the few strokes of which every drawing is made.
"""

from detlearn.data.toytown.knobs import SCENARIOS
from detlearn.data.toytown.scenes import ToyTown

__all__ = ["SCENARIOS", "ToyTown"]
