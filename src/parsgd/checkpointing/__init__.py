"""Checkpoints: files in a folder, written during a fit, from which an interrupted fit resumes."""

from parsgd.checkpointing.settings import Checkpoint

__all__ = ["Checkpoint"]
