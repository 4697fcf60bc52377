"""Descriptions of the installation, models, checkpoints and data, for ``parsgd info``."""
