"""The first code cell of every notebook, in one place.

A notebook opened in Colab or copied to another machine brings nothing with it, so its first cell
makes sure that ``detlearn`` can be imported. It is plain Python (no ``!`` and no ``%pip``), so it
means the same in Jupyter, in Colab and under nbval. It installs with ``--no-deps``: pulling in
another torch or numpy would break the live kernel. ``DETLEARN_SPEC`` names something else to
install, for example the path of a wheel.

``tests/notebooks`` asserts that the first code cell of every notebook equals ``SOURCE``.
"""

SOURCE = """\
# Makes sure that the package detlearn is here: in Colab, say, it installs it.
import importlib
import os
import subprocess
import sys

REPOSITORY = "https://github.com/detlearn/detlearn"
RELEASE = f"{REPOSITORY}/archive/refs/tags/v0.1.0.tar.gz"

try:
    import detlearn
except ImportError:
    wanted = os.environ.get("DETLEARN_SPEC") or RELEASE
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps"]
    subprocess.run([*pip, wanted], check=False)
    importlib.invalidate_caches()

try:
    import torchvision

    import detlearn
except (ImportError, RuntimeError) as problem:
    advice = "install detlearn as the book's start page says"
    if "torchvision::nms" in str(problem):
        advice = "install a torch and a torchvision that belong together"
    sentence = f"detlearn does not start ({problem}); {advice}, then restart."
    raise ImportError(sentence) from None"""


if __name__ == "__main__":
    print(SOURCE)
