"""Pictures of a fit by matplotlib, in scikit-learn's convention: ``LossDisplay.from_estimator(model)``.

Each display has ``plot(ax=None)`` to draw again, and the attributes ``ax_`` and ``figure_``.  They show what the page
of :func:`parsgd.write_report` shows, in the same colours.  matplotlib is imported when something is drawn.
"""

from parsgd.viz.plots import GanttDisplay, LossDisplay, PlanDisplay, WeightsDisplay, WorkDisplay

__all__ = ["GanttDisplay", "LossDisplay", "PlanDisplay", "WeightsDisplay", "WorkDisplay"]
