"""What a plan says: a table of cells, the one to take, and what it rests on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from parsgd.errors import MissingDependencyError
from parsgd.planning.candidates import Candidate
from parsgd.planning.gradient_noise import GradientNoise
from parsgd.planning.independent_runs import RunVariance
from parsgd.planning.recommendation import in_words
from parsgd.training.cost_model import CostModel

HEADER = ("workers", "algorithm", "on", "passes", "a round", "time", "speed-up", "basis")
_ON = {"serial": "here", "threads": "here", "simulated": "cluster"}
_BASES = {
    "rehearsed": "rehearsed",
    "begun": "its beginning rehearsed",
    "others": "better ones fail",
    "alike": "as one like it",
    "no time": "not rehearsed",
}


@dataclass(frozen=True)
class TrainingPlan:
    """The outcome of :func:`parsgd.plan`.

    ``cells``: serial SGD first, then each number of workers with each algorithm.  ``best`` is the one to take, with
    ``best.parameters`` for the estimator's ``set_params``, and ``why`` says so in a sentence.  ``noise.scale`` is the
    gradient noise scale in rows; ``spread`` takes one-shot averages apart into ``noise`` and ``bias`` (None where none
    were rehearsed).  ``costs`` are what was measured of the machine and given of the cluster.  ``goal``: the loss to
    reach; ``passes``: those of the serial fit; ``seconds``: what the plan took, without the loading of compiled code;
    ``notes``: what it could not do.
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
        """Rows; see :class:`parsgd.planning.gradient_noise.GradientNoise`."""
        return self.noise.scale

    @property
    def best_here(self) -> Candidate:
        """The fastest cell of this machine's own threads."""
        return min((c for c in self.cells if c.reaches and c.engine != "simulated"), key=lambda c: c.seconds)

    def rows(self) -> list[tuple[str, ...]]:
        """The cells in words, as the columns of ``HEADER``."""
        return [_row(cell) for cell in self.cells]

    def facts(self) -> list[str]:
        """What was measured, a line each."""
        costs = self.costs
        facts = [
            f"goal: loss {self.goal:.4g}, where serial SGD ends after {self.passes:.3g} passes",
            f"a pass of one worker: {in_words(costs.pass_s)}",
            f"noise scale: {self.noise.scale:,.0f} rows" if math.isfinite(self.noise.scale) else "noise scale: endless",
        ]
        facts += [
            f"{n} threads: each {factor:.2f} times as long for a row; a round costs {in_words(costs.wake_s[n])}"
            for n, factor in costs.contention.items()
        ]
        if self.spread is not None:
            s = self.spread
            facts.append(
                f"one average of {s.n_workers} at the end: {s.noise:.3g} of a worker's loss is noise, which averages"
                f" away; {max(s.bias, 0.0):.3g} is bias, which stays"
            )
        return [*facts, f"planned in {self.seconds:.2g} s", *self.notes]

    def __str__(self) -> str:
        table = [HEADER, *self.rows()]
        widths = [max(len(row[i]) for row in table) for i in range(len(HEADER))]
        aligned = ["  ".join(f"{text:<{w}}" for text, w in zip(row, widths, strict=True)).rstrip() for row in table]
        return "\n".join([*aligned, "", *self.facts(), "", self.why])

    def to_frame(self) -> Any:
        """The cells as a pandas DataFrame, numbers as numbers."""
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingDependencyError("to_frame needs pandas: pip install 'parsgd[frames]'") from error
        names = ("n_workers", "label", "engine", "passes", "seconds", "speedup", "rounds", "round_s", "basis")
        return pd.DataFrame({name: [getattr(cell, name) for cell in self.cells] for name in names})


def _row(cell: Candidate) -> tuple[str, ...]:
    if cell.seconds is None:
        told = ("?", "?", "?", "?")
    elif not cell.reaches:
        told = ("-", "-", "never", "-")
    else:
        round_s = in_words(cell.round_s) if cell.round_s else "-"
        told = (f"{cell.passes:.2f}", round_s, in_words(cell.seconds), f"{cell.speedup:.1f}")
    return (str(cell.n_workers), cell.label, _ON[cell.engine], *told, _BASES[cell.basis])
