"""Checkpoints: what it takes to go on with a fit that was ended from outside, kept in a folder while it runs."""

from parsgd.checkpointing.settings import Checkpoint

__all__ = ["Checkpoint"]
