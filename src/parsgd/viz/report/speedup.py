"""Was parallel work worth it: the time that it took against what one worker would have taken for the same steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from parsgd.viz.report import number_format
from parsgd.viz.report.fit_facts import FitFacts

# So many times as fast counts as a gain; as fast but for so much, as neither gain nor loss.
_GAIN, _LOSS = 1.2, 0.95
# Engines whose workers share this machine's processors.
_HERE = ("threads", "processes")


@dataclass(frozen=True)
class Speedup:
    """The answer: ``seconds`` of the rounds, ``serial_seconds`` as estimated (None: no comparison), a sentence, and
    what to know of it."""

    seconds: float
    serial_seconds: float | None
    sentence: str
    cautions: tuple[str, ...] = ()

    @property
    def speedup(self) -> float | None:
        """How many times as fast as one worker."""
        return None if self.serial_seconds is None or not self.seconds else self.serial_seconds / self.seconds


def speedup_of(record: FitFacts, plan: Any = None) -> Speedup:
    """The sentence at the top of the page, and what it rests on."""
    if not record.history:
        return Speedup(0.0, None, f"{record.algorithm} takes all rows at once on one worker: there are no rounds.")
    took = number_format.seconds(record.end)
    made_up = " on the simulated clock" if record.engine == "simulated" else ""
    if record.n_workers == 1:
        why = f" ({record.why})" if record.why else ""
        return Speedup(record.end, None, f"One worker took {took}{made_up}; nothing ran in parallel{why}.")
    if record.engine == "serial":
        said = f"{number_format.workers(record.n_workers)} took turns on one core, {took}: nothing ran in parallel."
        return Speedup(record.end, None, said, _cautions(record)[1:])
    alone = sum(one.computing for one in record.accounts) + record.checking
    ratio = alone / record.end if record.end else 1.0
    cautions = _cautions(record)
    if plan is not None:
        cautions = (_planned(record, plan), *cautions)
    said = (
        f"{number_format.workers(record.n_workers)} took {took}{made_up}; one would have taken about"
        f" {number_format.seconds(alone)} for the same steps: {_verdict(ratio)}."
    )
    return Speedup(record.end, alone, said, cautions)


def _verdict(ratio: float) -> str:
    times = f"{ratio:.1f} times as fast"
    if ratio >= _GAIN:
        return f"parallel was worth it ({times})"
    if ratio >= _LOSS:
        return f"parallel gained little ({ratio:.2f} times as fast)"
    return f"parallel was not worth it (it took {1.0 / ratio:.1f} times as long)"


def _cautions(record: FitFacts) -> tuple[str, ...]:
    told = [
        "The estimate for one worker adds up the seconds that all workers computed, and the time for the stopping rule"
        " and scores. Cores that share memory are slower than one alone, so it is rather too high."
    ]
    if record.engine == "simulated":
        told[0] = "Times are those of the simulated clock; the estimate for one worker adds up what all computed."
    elif record.processors is not None and record.n_workers > record.processors and record.engine in _HERE:
        told.append(
            f"{number_format.workers(record.n_workers)} shared {record.processors} processors: what they computed"
            " includes waiting for one, and the estimate is too high by that."
        )
    if record.algorithm == "minibatch":
        told.append("Any number of workers makes the same steps as one here, to rounding.")
    else:
        told.append(
            "As many passes by one worker need not lead to the same model: averages may need more passes, or fewer."
            " `parsgd plan` rehearses which."
        )
    return tuple(told)


def _planned(record: FitFacts, plan: Any) -> str:
    """What a plan said of so many workers."""
    cells = [cell for cell in plan.cells if cell.n_workers == record.n_workers and cell.reaches]
    if not cells:
        return f"The plan: {plan.why}"
    cell = min(cells, key=lambda cell: cell.seconds)
    alone = number_format.seconds(plan.cells[0].seconds)
    return (
        f"The plan predicted that {number_format.workers(cell.n_workers)} ({cell.label}) reach serial SGD's loss in"
        f" {number_format.seconds(cell.seconds)}, one in {alone}: {cell.speedup:.1f} times as fast."
    )
