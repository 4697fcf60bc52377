"""Which cell to take, and why, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from parsgd.planning.candidates import Candidate
from parsgd.planning.gradient_noise import GradientNoise
from parsgd.training.cost_model import CostModel

# Fewer workers are taken if more of them gain no more than this.
_WORTH = 0.05
# From here on a cause is worth naming.
_NOTABLE = 1.15


def best(cells: Sequence[Candidate]) -> Candidate:
    """The fewest workers that take at most 5 % longer than the fastest cell; of those the fastest.

    One worker always gets to its own loss.  A cell that is only taken to be like another is not recommended.
    """
    there = [cell for cell in cells if cell.reaches and cell.basis != "alike"]
    least = min(cell.seconds for cell in there)
    near = [cell for cell in there if cell.seconds <= least * (1.0 + _WORTH)]
    return min(near, key=lambda cell: (cell.n_workers, cell.seconds))


def why(cells: Sequence[Candidate], noise: GradientNoise, costs: CostModel) -> str:
    """One sentence on the best cell."""
    serial, chosen = cells[0], best(cells)
    if chosen.n_workers == 1:
        return f"More workers will not help: {_against(cells, costs)}."
    took = f"{_passes(chosen.passes)} take {in_words(chosen.seconds)}"
    alone = f"one worker needs {_passes(serial.passes)} and {in_words(serial.seconds)}"
    return (
        f"Take {chosen.n_workers} workers with {chosen.label}: {took}, where {alone}, because"
        f" {_in_favour(serial, chosen, noise)}{_of_more(cells, chosen, costs)}."
    )


def _in_favour(serial: Candidate, chosen: Candidate, noise: GradientNoise) -> str:
    """What the chosen workers gain by."""
    if chosen.passes < serial.passes / _NOTABLE:
        scale = f"{noise.scale:,.0f} rows" if math.isfinite(noise.scale) else "beyond what can be measured"
        return f"averages take the noise away (noise scale: {scale})"
    more = chosen.passes / serial.passes
    needed = f"{more:.1f} times as many passes" if more > _NOTABLE else "hardly more passes"
    return f"they share the rows and need {needed}"


def _against(cells: Sequence[Candidate], costs: CostModel) -> str:
    """Why one worker is the best: what the best of the others loses most by."""
    serial, others = cells[0], [cell for cell in cells if cell.n_workers > 1]
    there = [cell for cell in others if cell.reaches]
    if not others:
        return "none were asked about"
    if not there:
        unknown = any(cell.seconds is None for cell in others)
        return (
            "of the ways that there was time to try, none reaches" if unknown else "in no way do they reach"
        ) + f" serial SGD's loss within twice its {_passes(serial.passes)}"
    return _loses(min(there, key=lambda cell: cell.seconds), serial, costs)


def _loses(cell: Candidate, serial: Candidate, costs: CostModel) -> str:
    """What a cell loses most by: rounds, passes or the memory that threads share."""
    talk = cell.rounds * cell.round_s
    work = max(cell.seconds - talk, 1e-12)
    causes = {
        "rounds": cell.seconds / work,
        "passes": cell.passes / serial.passes,
        "memory": costs.contention.get(cell.n_workers, 1.0),
    }
    n = cell.n_workers
    cause = max(causes, key=causes.get)
    if cause == "rounds":
        part = in_words(work / cell.rounds)
        return f"with {n} ({cell.label}) a round costs {in_words(cell.round_s)}, and a worker's part in it {part}"
    if cause == "passes":
        return f"{n} ({cell.label}) need {_passes(cell.passes)} where one needs {serial.passes:.2g}"
    return f"{n} threads share the memory and visit rows only {n / causes['memory']:.1f} times as fast as one"


def _of_more(cells: Sequence[Candidate], chosen: Candidate, costs: CostModel) -> str:
    """What still more workers would bring."""
    more = [cell for cell in cells if cell.n_workers > chosen.n_workers]
    there = [cell for cell in more if cell.reaches]
    if not more:
        return ""
    if not there:
        return "; more workers were not seen to get there"
    rival = min(there, key=lambda cell: cell.seconds)
    if rival.seconds < chosen.seconds:
        return f"; more workers gain less than {_WORTH:.0%}"
    return f"; more workers are no faster, as {_loses(rival, cells[0], costs)}"


def _passes(passes: float) -> str:
    return f"{passes:.2g} passes"


def in_words(seconds: float) -> str:
    """A time in the unit that fits it.

    >>> in_words(0.00042), in_words(2.5), in_words(1e-5)
    ('0.42 ms', '2.5 s', '10 µs')
    """
    unit, size = ("s", 1.0) if seconds >= 1.0 else ("ms", 1e-3) if seconds >= 1e-4 else ("µs", 1e-6)
    return f"{seconds / size:.3g} {unit}"
