"""What a model computes, written down by listening to it run."""

from .summary import Layer, Summary, summary

__all__ = ["Layer", "Summary", "summary"]
