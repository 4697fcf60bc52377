"""The parts of ``parsgd info``."""
