"""A few cases of ``fuzz/fuzz_kills.py``; many more are run by hand."""

import os
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(not hasattr(os, "fork"), reason="a run is a fork of the one that watches it")
def test_what_was_killed_goes_on(root):
    script = root / "tests" / "fuzz" / "fuzz_kills.py"
    words = "--jobs download train --kills 1 --just-kills --seed 2".split()
    result = subprocess.run(
        [sys.executable, str(script), *words],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.endswith("0 wrong\n")
