"""Matplotlib displays of a fit, with scikit-learn's convention: ``LossDisplay.from_estimator(model)``.

Each display has ``plot(ax=None)`` to draw again, and the attributes ``ax_`` and ``figure_``.  The displays show the
figures of :func:`parsgd.write_report` in the same colors.  Matplotlib is imported at the first plot.
"""

from parsgd.viz.plots.bar_displays import GanttDisplay, WorkDisplay
from parsgd.viz.plots.line_displays import LossDisplay, PlanDisplay, SearchDisplay, WeightsDisplay

__all__ = ["GanttDisplay", "LossDisplay", "PlanDisplay", "SearchDisplay", "WeightsDisplay", "WorkDisplay"]
