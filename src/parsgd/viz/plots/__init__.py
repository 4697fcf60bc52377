"""Plots of a fit by matplotlib; the public module is :mod:`parsgd.plotting`."""

from parsgd.viz.plots.gantt_display import GanttDisplay
from parsgd.viz.plots.loss_display import LossDisplay
from parsgd.viz.plots.plan_display import PlanDisplay
from parsgd.viz.plots.weights_display import WeightsDisplay
from parsgd.viz.plots.work_display import WorkDisplay

__all__ = ["GanttDisplay", "LossDisplay", "PlanDisplay", "WeightsDisplay", "WorkDisplay"]
