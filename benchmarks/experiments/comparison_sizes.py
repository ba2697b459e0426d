"""How large the comparison is: one set of numbers for the book, one for trying the scripts out.

All parts of the comparison (``comparison.py`` lists them) read their sizes here, so that the tests
can run the same code in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from detlearn import models

# One network with two heads: the second needs no NMS. In the matrix alone.
NMS_FREE = "yolov8, no NMS"
CHECKPOINTS = Path("runs") / "experiments"


@dataclass(frozen=True)
class Sizes:
    """What decides how long the comparison takes.

    Attributes:
        detectors: what `detlearn.models.create` calls them.
        peers: torchvision's, see ``comparison_peers.py``.
        peer_lrs: learning rates of which each peer gets its best.
        peer_side: the side of an image for which torchvision's detectors are trained.
        full_side: torchvision's default, at which a step of them is timed; None leaves it out.
        seeds: of a row of the table and of the matrix.
        live: the detectors that the chapter trains itself.
        live_seeds: of these, stored; the chapter takes another one.
        calibration_seconds: for how long a detector is trained to learn how long a step takes.
        table_seconds, matrix_seconds, live_seconds: how long each training may take, the
            backbone's steps included.
        train_scenes: of ToyTown's default.
        label_counts: smaller training sets, by their number of images.
        test_scenes: on which the table is measured.
        curve_scenes, moments: a training is looked at so often on the way, on so many scenes.
        scenario_train, scenario_test: scenes of each scenario, for the matrix.
        rounds: of the measurement of latency.
    """

    detectors: tuple[str, ...] = tuple(models.BUILDERS)
    peers: tuple[str, ...] = ("fasterrcnn", "fcos", "retinanet")
    peer_lrs: tuple[float, ...] = (5e-4, 1e-3, 2e-3)
    peer_side: int = 128
    full_side: int | None = 800
    seeds: tuple[int, ...] = (0, 1, 2)
    live: tuple[str, ...] = ("point", "yolov8")
    live_seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    calibration_seconds: float = 15.0
    table_seconds: float = 240.0
    matrix_seconds: float = 240.0
    live_seconds: float = 80.0
    train_scenes: int = 2000
    label_counts: tuple[int, ...] = (100, 500)
    test_scenes: int = 500
    curve_scenes: int = 100
    moments: int = 16
    scenario_train: int = 250
    scenario_test: int = 200
    rounds: int = 21

    def variants_of_matrix(self) -> tuple[str, ...]:
        """Return the rows of the matrix: the detectors, and the head without NMS beside its own."""
        if "yolov8" not in self.detectors:
            return self.detectors
        after = self.detectors.index("yolov8") + 1
        return (*self.detectors[:after], NMS_FREE, *self.detectors[after:])


FULL = Sizes()
TINY = Sizes(
    detectors=("point", "yolov8"),
    peers=("fcos",),
    peer_lrs=(1e-3,),
    # At 64 pixels torchvision's FCOS under bfloat16 has gradients that are not finite.
    peer_side=128,
    full_side=None,
    seeds=(0, 1),
    live=("point",),
    live_seeds=(0, 1),
    calibration_seconds=0.5,
    table_seconds=1.0,
    matrix_seconds=1.0,
    live_seconds=0.5,
    train_scenes=24,
    label_counts=(4,),
    test_scenes=12,
    curve_scenes=4,
    moments=2,
    scenario_train=3,
    scenario_test=3,
    rounds=2,
)
