"""Recommendation: the best candidate of a plan, and one sentence on the reason."""

from __future__ import annotations

import math
from collections.abc import Sequence

from parsgd.core import CostModel
from parsgd.planning.gradient_noise import GradientNoise
from parsgd.planning.trials.candidates import Candidate
from parsgd.viz import number_format

# Smallest relative time saving that justifies more workers.
_MIN_SAVING = 0.05
# Smallest ratio of passes that the sentence mentions.
_NOTABLE = 1.15


def best(cells: Sequence[Candidate]) -> Candidate:
    """Return the fastest candidate with the fewest workers, among those at most 5 % slower than the fastest one.

    One worker always reaches its own loss.  More workers are recommended only if their time is known within a factor of
    2.
    """
    there = [cell for cell in cells if cell.is_known or cell.reaches and cell.n_workers == 1]
    least = min(cell.seconds for cell in there)
    near = [cell for cell in there if cell.seconds <= least * (1.0 + _MIN_SAVING)]
    return min(near, key=lambda cell: (cell.n_workers, cell.seconds))


def why(cells: Sequence[Candidate], noise: GradientNoise, costs: CostModel) -> str:
    """Return one sentence on the best candidate."""
    serial, chosen = cells[0], best(cells)
    if chosen.n_workers == 1 and (unknown := _unknown(cells)):
        return f"It is not known if more workers help: {unknown}."
    if chosen.n_workers == 1:
        return f"More workers will not help: {_reason_for_one(cells, costs)}."
    took = f"{_passes(chosen.passes)} take {number_format.seconds(chosen.seconds)}"
    alone = f"one worker needs {_passes(serial.passes)} and {number_format.seconds(serial.seconds)}"
    return (
        f"Take {chosen.n_workers} workers with {chosen.label}: {took}, where {alone}, because"
        f" {_reason_for(serial, chosen, noise)}{_larger_numbers(cells, chosen, costs)}."
    )


def _reason_for(serial: Candidate, chosen: Candidate, noise: GradientNoise) -> str:
    """Return the reason for the chosen number of workers."""
    if chosen.passes < serial.passes / _NOTABLE:
        scale = f"{noise.scale:,.0f} rows" if math.isfinite(noise.scale) else "beyond what can be measured"
        return f"averaging reduces the gradient noise (noise scale: {scale})"
    more = chosen.passes / serial.passes
    needed = f"{more:.1f} times as many passes" if more > _NOTABLE else "about the same number of passes"
    return f"they share the rows and need {needed}"


def _unknown(cells: Sequence[Candidate]) -> str:
    """Return why nothing is known about the best of several workers, or an empty string."""
    others = [cell for cell in cells if cell.n_workers > 1]
    if _settled(others, cells[0]) or all(cell.seconds == math.inf for cell in others):
        return ""
    if any(cell.reaches for cell in others):
        return "the predicted times of those that reach the goal scatter by more than a factor of 2"
    if all(cell.seconds is None for cell in others):
        return "no trial of them was decided in the time of the plan"
    return f"of the algorithms with a decided trial, none reaches {_goal_of(cells[0])}"


def _settled(others: Sequence[Candidate], serial: Candidate) -> list[Candidate]:
    """Return the candidates whose time is known, or known to be longer than that of one worker."""
    slowest = serial.seconds if serial.high is None else serial.high
    return [cell for cell in others if cell.is_known or cell.reaches and cell.low > slowest]


def _goal_of(serial: Candidate) -> str:
    return f"serial SGD's loss within twice its {_passes(serial.passes)}"


def _reason_for_one(cells: Sequence[Candidate], costs: CostModel) -> str:
    """Return the reason for one worker: the largest cost of the best other candidate."""
    serial, others = cells[0], [cell for cell in cells if cell.n_workers > 1]
    there = _settled(others, serial)
    if not others:
        return "no other number was requested"
    if not there:
        return f"no algorithm reaches {_goal_of(serial)}"
    return _largest_cost(min(there, key=lambda cell: cell.seconds), serial, costs)


def _largest_cost(cell: Candidate, serial: Candidate, costs: CostModel) -> str:
    """Return the largest cost of a candidate: rounds, passes, the start or the memory that threads share."""
    passes_s = cell.seconds if cell.pass_s is None else cell.passes * cell.pass_s
    work = max(cell.seconds - cell.rounds * cell.round_s, 1e-12)
    causes = {
        "rounds": cell.seconds / work,
        "start": cell.seconds / passes_s if costs.on_threads(cell.n_workers) else 1.0,
        "passes": cell.passes / serial.passes,
        "memory": costs.contention.get(cell.n_workers, 1.0),
    }
    n = cell.n_workers
    cause = max(causes, key=causes.get)
    if cause == "rounds":
        round_s, part = number_format.seconds(cell.round_s), number_format.seconds(work / cell.rounds)
        return f"with {n} ({cell.label}) a round costs {round_s}, and a worker's part in it {part}"
    if cause == "start":
        start_s = number_format.seconds(cell.seconds - passes_s)
        return f"to start {n} ({cell.label}) takes {start_s}, and the passes take {number_format.seconds(passes_s)}"
    if cause == "passes":
        return f"{n} ({cell.label}) need {_passes(cell.passes)} where one needs {serial.passes:.2g}"
    return f"{n} threads share the memory and visit rows only {n / causes['memory']:.1f} times as fast as one"


def _larger_numbers(cells: Sequence[Candidate], chosen: Candidate, costs: CostModel) -> str:
    """Return a clause on larger numbers of workers."""
    more = [cell for cell in cells if cell.n_workers > chosen.n_workers]
    there = [cell for cell in more if cell.is_known]
    if not more:
        return ""
    if not there and all(cell.seconds == math.inf for cell in more):
        return "; more workers did not reach the goal in the trials"
    if not there:
        return "; the time of more workers is not known"
    rival = min(there, key=lambda cell: cell.seconds)
    if rival.seconds < chosen.seconds:
        return f"; more workers save less than {_MIN_SAVING:.0%}"
    return f"; more workers are no faster, as {_largest_cost(rival, cells[0], costs)}"


def _passes(passes: float) -> str:
    return f"{passes:.2g} passes"
