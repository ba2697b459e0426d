"""The command line: ``detlearn train | evaluate | detect | grade | nbgrader | doctor``."""

from detlearn.cli.parser import main

__all__ = ["main"]
