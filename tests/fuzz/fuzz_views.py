"""Make the view of every exercise and look for answers in it, from outside and from inside.

    python tests/fuzz/fuzz_views.py
    python tests/fuzz/fuzz_views.py giou_loss nms

Ends with exit code 1 if something is found, or a right answer is not right beside its view.
"""

import argparse
import inspect
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "exercises"))

from views import Beside, trouble

from detlearn.check import EXERCISES


def main() -> int:
    """Look at the views of the exercises that are named, or of all."""
    parser = argparse.ArgumentParser(
        description=inspect.getdoc(inspect.getmodule(main)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("exercises", nargs="*", help="names (default: all)")
    names = parser.parse_args().exercises
    if unknown := set(names) - EXERCISES.keys():
        parser.error(f"no exercise is called {min(unknown)!r}; there are: {', '.join(EXERCISES)}")

    failed = False
    with tempfile.TemporaryDirectory() as folder, Beside(Path(folder)) as beside:
        for name in names or EXERCISES:
            said = trouble(name, Path(folder), beside)
            failed |= bool(said)
            print(name, "✓" if not said else "\n    ".join(["", *said]), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
