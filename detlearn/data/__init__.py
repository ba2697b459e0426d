"""Data sets of samples ``(image, target)``: drawn in code, or read from COCO and Pascal VOC files."""
