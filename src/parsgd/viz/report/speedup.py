"""Speedup of a fit: its time compared with an estimate for one worker with the same steps."""

from __future__ import annotations

from dataclasses import dataclass

from parsgd.planning.plan_table import TrainingPlan
from parsgd.viz import number_format
from parsgd.viz.report.fit_facts import FitFacts

# Limits of the speedup above which a fit is called faster, and below which it is called slower.
_FASTER, _SLOWER = 1.2, 0.95
# Engines with workers on the processors of this machine.
_LOCAL_ENGINES = ("threads", "processes")


@dataclass(frozen=True)
class Speedup:
    """The comparison with one worker.

    ``seconds`` is the time of the rounds and ``serial_seconds`` the estimate, None without a comparison.  ``sentence``
    is the headline of the page, and ``cautions`` are its limits.
    """

    seconds: float
    serial_seconds: float | None
    sentence: str
    cautions: tuple[str, ...] = ()


def speedup_of(record: FitFacts, plan: TrainingPlan | None = None) -> Speedup:
    """Return the comparison of a fit with one worker, and with the plan."""
    if not record.history:
        return Speedup(0.0, None, f"{record.algorithm} uses all rows in each step, on one worker; it has no rounds.")
    took = number_format.seconds(record.end)
    workers, cautions = number_format.workers(record.n_workers), _cautions(record)
    clock = " on the simulated clock" if record.engine == "simulated" else ""
    if record.n_workers == 1:
        why = f" ({record.why})" if record.why else ""
        return Speedup(record.end, None, f"One worker took {took}{clock}; nothing ran in parallel{why}.")
    if record.engine == "serial":
        sentence = f"{workers} shared one core for {took}; nothing ran in parallel."
        return Speedup(record.end, None, sentence, cautions[1:])
    alone = sum(one.computing for one in record.accounts) + record.checking
    ratio = alone / record.end if record.end else 1.0
    if plan is not None:
        cautions = (_prediction(record, plan), *cautions)
    sentence = (
        f"{workers} took {took}{clock}; one worker would have taken about {number_format.seconds(alone)} for the same"
        f" steps: {_verdict(ratio)}."
    )
    return Speedup(record.end, alone, sentence, cautions)


def _verdict(ratio: float) -> str:
    if ratio >= _FASTER:
        return f"parallel work helped ({ratio:.1f} times as fast)"
    if ratio >= _SLOWER:
        return f"parallel work helped little ({ratio:.2f} times as fast)"
    return f"parallel work was slower ({1.0 / ratio:.1f} times the time)"


def _cautions(record: FitFacts) -> tuple[str, ...]:
    n_workers, processors = record.n_workers, record.run.processors
    if record.engine == "simulated":
        cautions = [
            "Times are from the simulated clock; the estimate for one worker is the sum of all computing times."
        ]
    else:
        cautions = [
            "The estimate for one worker is the sum of the computing times of all workers and the time of the stopping"
            " rule and scores. It tends to be too high, because cores that share memory are slower than one core alone."
        ]
    if record.engine in _LOCAL_ENGINES and processors is not None and n_workers > processors:
        cautions.append(
            f"{number_format.workers(n_workers)} shared {processors} processors: their computing times include waiting"
            " for a processor, so the estimate is too high."
        )
    if record.algorithm == "minibatch":
        cautions.append("This algorithm makes the same steps with any number of workers, up to rounding.")
    else:
        cautions.append(
            "The same number of passes by one worker gives a different model, because averaging may need more passes"
            " or fewer. `parsgd plan` measures this in trial fits."
        )
    return tuple(cautions)


def _prediction(record: FitFacts, plan: TrainingPlan) -> str:
    """Return the prediction of the plan for this number of workers."""
    cells = [cell for cell in plan.cells if cell.n_workers == record.n_workers and cell.reaches]
    if not cells:
        return f"The plan: {plan.why}"
    cell = min(cells, key=lambda cell: cell.seconds)
    alone = number_format.seconds(plan.cells[0].seconds)
    return (
        f"The plan predicted that {number_format.workers(cell.n_workers)} ({cell.label}) reach the loss of serial"
        f" SGD in {number_format.seconds(cell.seconds)}, one worker in {alone}: {cell.speedup:.1f} times as fast."
    )
