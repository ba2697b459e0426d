"""Reference implementations for the book *Object detection from scratch*."""

__version__ = "0.1.0"
