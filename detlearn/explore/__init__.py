"""What the chapters use to show things: for now, the source of the package itself."""

from detlearn.explore.source import source

__all__ = ["source"]
