"""Distil large image-restoration networks into tiny real-time ones."""

__version__ = "0.1.0"
