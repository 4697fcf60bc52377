"""Plot of the loss of a fit over time, passes or rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parsgd.errors import InvalidArgumentError, choose
from parsgd.viz.plots import plot_style
from parsgd.viz.report.line_charts import ChartLine, loss_lines, score_lines

OVER = ("time", "passes", "rounds")


class LossDisplay:
    """Plot of the training loss or the validation score.

    Parameters
    ----------
    lines : sequence of ChartLine
        The lines; each has a ``name`` and ``points``, which are ``(x, y, text)``.
    x_title, y_title : str
        Titles of the axes, with units.

    Attributes
    ----------
    ax_, figure_ : matplotlib axes and figure

    Examples
    --------
    >>> from parsgd import SGDClassifier
    >>> from parsgd.plotting import LossDisplay
    >>> from sklearn.datasets import load_digits
    >>> model = SGDClassifier(n_jobs=2, algorithm="local", random_state=0).fit(*load_digits(return_X_y=True))
    >>> display = LossDisplay.from_estimator(model, over="passes")
    >>> display.ax_.get_xlabel()
    'passes over the rows'
    """

    def __init__(self, lines: Sequence[ChartLine], x_title: str, y_title: str = "training loss"):
        self.lines: Sequence[ChartLine] = lines
        self.x_title: str = x_title
        self.y_title: str = y_title

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, over: str | None = None, show: str = "loss", ax: Any = None, **settings: Any
    ) -> LossDisplay:
        """Plot the loss of a fitted estimator.

        Parameters
        ----------
        estimator : fitted parsgd estimator
        over : {"time", "passes", "rounds"} or None
            The x axis.  None: time; for a fit of one round, the passes of each worker.
        show : {"loss", "score"}
            The mean training loss of each round, or the validation score over passes.
        ax : matplotlib axes or None
            The axes to plot on.  None: a new figure.
        **settings
            Arguments of matplotlib's ``plot``.

        Raises
        ------
        InvalidArgumentError
            If the estimator is not fitted, or recorded no loss or score.
        """
        choose("time" if over is None else over, OVER, "over", "LossDisplay.from_estimator")
        choose(show, ("loss", "score"), "show", "LossDisplay.from_estimator")
        record = plot_style.record(estimator, "LossDisplay")
        if show == "score":
            lines, x_title = score_lines(record), "passes over the rows"
        else:
            lines, x_title = loss_lines(record, over or ("time" if len(record.history) > 1 else "passes"))
        if not lines:
            raise InvalidArgumentError(f"There is no {show} to plot: this fit recorded no finite {show}.")
        y_title = "training loss" if show == "loss" else "score on the validation rows"
        return cls(lines, x_title, y_title).plot(ax, **settings)

    def plot(self, ax: Any = None, **settings: Any) -> LossDisplay:
        """Plot on ``ax``, or on a new figure."""
        self.ax_: Any = plot_style.axes(ax)
        self.figure_: Any = self.ax_.figure
        plot_style.draw_lines(self.ax_, self.lines, **settings)
        log = plot_style.set_log_scale(self.ax_, [point[1] for line in self.lines for point in line.points])
        self.ax_.set_xlim(left=0)
        plot_style.finish(self.ax_, self.y_title.capitalize(), self.x_title, self.y_title + ", log scale" * log)
        return self
