"""Visualization of a fit: progress displays, matplotlib plots and the HTML report."""
