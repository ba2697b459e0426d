"""``detlearn doctor``."""

from __future__ import annotations

import argparse

ABOUT = "Print versions and what is wrong with them."
EXAMPLES = """\
examples:
  detlearn doctor        exit status 0 if all is well, 1 if not"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command understands: nothing."""


def run(options: argparse.Namespace) -> int:
    """Print the report."""
    from detlearn.machine.doctor import report

    text, is_well = report()
    print(text)
    return 0 if is_well else 1
