"""What a model computes, written down by listening to it run."""

from .capture import CaptureError, capture
from .ir import Graph, Node
from .summary import Layer, Summary, summary

__all__ = ["CaptureError", "Graph", "Layer", "Node", "Summary", "capture", "summary"]
