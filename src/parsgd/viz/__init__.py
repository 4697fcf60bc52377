"""Views of a fit: progress while it runs, plots, and the report page."""
