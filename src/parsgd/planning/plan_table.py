"""Training plans: a table of candidates, the recommended one, and the measurements behind them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from parsgd.core import CostModel
from parsgd.errors import MissingDependencyError
from parsgd.planning import recommendation
from parsgd.planning.gradient_noise import GradientNoise
from parsgd.planning.trials.candidates import Candidate
from parsgd.planning.trials.independent_runs import RunVariance
from parsgd.viz import number_format

HEADER = ("workers", "algorithm", "on", "passes", "per round", "time", "speed-up", "basis")
# Fields of a candidate in tables of numbers.
COLUMNS = (
    *("n_workers", "label", "engine", "passes", "passes_low", "passes_high", "seconds", "low", "high", "speedup"),
    *("pass_s", "rounds", "round_s", "basis"),
)
_ON = {"serial": "here", "threads": "here", "simulated": "cluster"}
_BASES = {
    "rehearsed": "trial",
    "begun": "trial of the first passes",
    "undecided": "trial undecided",
    "others": "no trial, better ones fail",
    "no time": "no trial",
}
# Bounds are printed if they differ by more than this fraction.
_NOTABLE_WIDTH = 0.1


@dataclass(frozen=True)
class TrainingPlan:
    """Result of :func:`parsgd.plan`.

    Attributes
    ----------
    cells : tuple of Candidate
        Serial SGD first, then each number of workers with each algorithm.
    best : Candidate
        The recommendation; ``best.parameters`` are for the estimator's ``set_params``.
    why : str
        One sentence on the recommendation.
    noise : GradientNoise
        ``noise.scale`` is the gradient noise scale in rows.
    spread : RunVariance or None
        ``noise`` and ``bias`` of one-shot averages; None without a trial of them.
    costs : CostModel
        Measurements of the machine and parameters of the cluster.
    goal, passes : float
        Loss to reach, and passes of the serial fit.
    seconds : float
        Duration of the planning, without the loading of compiled code.
    notes : tuple of str
        Limitations of this plan.
    """

    cells: tuple[Candidate, ...]
    best: Candidate
    why: str
    noise: GradientNoise
    spread: RunVariance | None
    costs: CostModel
    goal: float
    passes: float
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def noise_scale(self) -> float:
        """Gradient noise scale in rows, see :class:`parsgd.planning.gradient_noise.GradientNoise`."""
        return self.noise.scale

    @property
    def best_here(self) -> Candidate:
        """Recommendation among the candidates that run on this machine's threads."""
        return recommendation.best([cell for cell in self.cells if cell.engine != "simulated"])

    def rows(self) -> list[tuple[str, ...]]:
        """Return the candidates as strings, with the columns of ``HEADER``."""
        return [_row(cell) for cell in self.cells]

    def facts(self) -> list[str]:
        """Return the measurements as lines of text."""
        costs = self.costs
        facts = [
            f"goal: loss {self.goal:.4g}, where serial SGD ends after {self.passes:.3g} passes",
            f"a pass of one worker: {number_format.seconds(costs.pass_s)}",
            f"noise scale: {self.noise.scale:,.0f} rows"
            if math.isfinite(self.noise.scale)
            else "noise scale: infinite",
        ]
        facts += [
            f"{n} threads: {factor:.2f} times the seconds per row of one thread, with the fastest algorithm"
            for n, factor in costs.contention.items()
        ]
        if self.spread is not None:
            s = self.spread
            facts.append(
                f"one average of {s.n_workers} at the end: {s.noise:.3g} of a worker's loss is noise, which averaging"
                f" removes; {max(s.bias, 0.0):.3g} is bias, which remains"
            )
        return [*facts, f"planned in {self.seconds:.2g} s", *self.notes]

    def __str__(self) -> str:
        table = [HEADER, *self.rows()]
        widths = [max(len(row[i]) for row in table) for i in range(len(HEADER))]
        aligned = ["  ".join(f"{text:<{w}}" for text, w in zip(row, widths, strict=True)).rstrip() for row in table]
        return "\n".join([*aligned, "", *self.facts(), "", self.why])

    def to_frame(self) -> Any:
        """Return the candidates as a pandas DataFrame with numeric columns."""
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingDependencyError("to_frame needs pandas: pip install 'parsgd[frames]'") from error
        return pd.DataFrame({name: [getattr(cell, name) for cell in self.cells] for name in COLUMNS})


def _row(cell: Candidate) -> tuple[str, ...]:
    if cell.seconds is None:
        columns = ("-", "-", "not known", "-")
    elif not cell.reaches:
        columns = ("-", "-", "never", "-")
    else:
        round_s = number_format.seconds(cell.round_s) if cell.round_s else "-"
        columns = (_passes(cell), round_s, format_time(cell), f"{cell.speedup:.1f}")
    return (str(cell.n_workers), cell.label, _ON[cell.engine], *columns, _BASES[cell.basis])


def _passes(cell: Candidate) -> str:
    if _is_wide(cell.passes_low, cell.passes_high):
        return f"{cell.passes_low:.2f} to {cell.passes_high:.2f}"
    return f"{cell.passes:.2f}"


def format_time(cell: Candidate) -> str:
    """Format the predicted time of a candidate that reaches the goal, with its bounds if they differ.

    >>> cell = Candidate(2, "local", "threads", "local", 1.0, 0.05, 2.0, low=0.04, high=0.06)
    >>> format_time(cell)
    '40 to 60 ms'
    """
    return (
        number_format.span(cell.low, cell.high)
        if _is_wide(cell.low, cell.high)
        else number_format.seconds(cell.seconds)
    )


def _is_wide(low: float | None, high: float | None) -> bool:
    return low is not None and high is not None and high > (1.0 + _NOTABLE_WIDTH) * low
