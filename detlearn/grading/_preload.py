"""What the server of processes does once, so that the processes forked from it need not.

Importing this module has effects; only the server does it.
"""

import contextlib
import gc
import importlib
import pkgutil

import torch

import detlearn
import detlearn.grading.examiner
from detlearn.grading import references

torch.set_num_threads(1)

# What the chapters import. Matplotlib, which comes with plotting, looks for the machine's fonts
# when it is imported for the first time: that may take longer than an exercise has.
for module in pkgutil.iter_modules(detlearn.__path__, "detlearn."):
    if module.name not in ("detlearn.grading", "detlearn.cli"):
        with contextlib.suppress(Exception):
            importlib.import_module(module.name)
with contextlib.suppress(Exception):
    import matplotlib.pyplot  # noqa: F401

references.functions()
references.operators()

# A collection in a forked process then leaves these pages alone, and shared.
gc.collect()
gc.freeze()
