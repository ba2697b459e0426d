"""What the server of processes does once, so that the processes forked from it need not.

Importing this module has effects; only the server does it.
"""

import gc

import torch

import detlearn.check
import detlearn.grading.examiner  # noqa: F401  what every process needs
from detlearn.grading import references

torch.set_num_threads(1)
references.functions()
references.operators()
gc.collect()
gc.freeze()  # a collection in a forked process then leaves these pages alone, and shared
