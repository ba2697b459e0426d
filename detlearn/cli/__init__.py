"""The command line: ``detlearn train | evaluate | detect | grade | nbgrader | doctor``."""

from detlearn.cli.main import main

__all__ = ["main"]
