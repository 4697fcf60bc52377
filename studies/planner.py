"""Times and recommendations of ``parsgd.plan`` compared with measured fits, on problems it was not tuned on.

Usage: python studies/planner.py [DATA_FOLDER] [--only flights ...] [--load idle|both] [--page-only]
       python studies/planner.py --quick --stored FILE.json --out FILE.md

The readings are in studies/readings/planner.json; the page is written from all that are stored there.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # a script has its own folder first in the path, and needs the root of the repository, too
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from planner_problems import BUSY, PASSES, PROBLEMS, QUICK, TEST_ROWS, load
from planner_runs import NEAR, NEAR_BEST, SEEDS, TOLERANCE, TURNS, WORKERS, Cell, Planned, measure, restore, store
from stored_study import Stored, StoredStudy

from benchmarks.markdown import NOTHING, number, table
from parsgd.planning.trials.trial_budget import SECONDS
from parsgd.viz import number_format

STUDY = StoredStudy("planner")
PAGE = """# Results: the planner

<!-- figures: python studies/planner.py DATA_FOLDER -->

This page compares the predictions of `parsgd.plan` with measured fits, on problems that its constants were not chosen
on. `python studies/planner.py DATA_FOLDER` writes this page from the readings in `studies/readings/planner.json`, in
about {minutes} minutes of two cores.

- **Plans**: one per problem, for {workers} workers, with the default time ({seconds:g} s, or a tenth of a serial fit).
  Linear models and networks have {passes} passes and default schedules, except AdaGrad where it is named.
- **Goal**: the mean loss of one worker over the last fifth of {passes} passes, plus {tolerance:.0%}, on at most
  {test_rows:,} test rows that the plan does not see. The passes to it are the harmonic mean of {n_seeds} other seeds.
  A candidate that needs more than twice {passes} passes never reaches the goal.
- **Measured seconds**: medians of up to {turns} fits without instruments, in alternation, for one worker and for two
  threads. They are the times of rounds in `history_` at the passes to the goal. Eight workers are simulated: their
  time is that of the measured passes at one worker's measured speed, with the measured time of their merges.
- **Hit**: the measured time is within {near:.0%} of the predicted time, or of the nearest bound, or both are "never". A
  prediction whose bounds differ by more than a factor of 2 counts as not known, and so does a missing one.
- **Recommendation**: right if its measured time is within {near_best:.0%} of that of the best candidate. "Here" is the
  recommendation among one worker and two threads.
- **Busy**: two processes compute without a pause on the two cores, from before the plan to the end of the measurement.

The processors were {idle} idle before the plans with idle cores, and {busy} before those with busy cores.

{about}

## Summary

<!-- figures: python studies/planner.py DATA_FOLDER -->

{summary}
{sections}"""
SECTION = """## {name}

<!-- figures: python studies/planner.py DATA_FOLDER -->

{words}; {rows:,} rows, {columns:,} columns.

{states}"""
STATE = """{title}. {why} Planned in {plan_s:.2f} s.

{table}"""
TITLES = {"idle": "Idle cores", "busy": "Busy cores"}


def seconds_of(cell: Cell) -> str:
    """The predicted time: bounds if they differ by more than a tenth."""
    if cell.outcome == "unknown":
        return "not known"
    if cell.outcome == "never":
        return "never"
    if cell.high > 1.1 * cell.low:
        return number_format.span(cell.low, cell.high)
    return number_format.seconds(cell.seconds)


def time_of(value: float | None, missing: str) -> str:
    return missing if value is None else number_format.seconds(value)


def verdict(hit: bool | None) -> str:
    return NOTHING if hit is None else "hit" if hit else "miss"


def table_of(planned: Planned) -> str:
    """The table of a plan, a line for each candidate."""
    header = ["workers", "algorithm", "per pass, predicted", "measured", "to the goal, predicted", "measured", "result"]
    rows = [
        [
            str(cell.workers),
            cell.label + " *" * (cell.outcome == "wide"),
            time_of(cell.pass_s, NOTHING),
            time_of(cell.measured_pass_s, NOTHING),
            seconds_of(cell),
            time_of(cell.measured_s, "never"),
            verdict(cell.hit),
        ]
        for cell in planned.cells
    ]
    return table(header, rows, words=(1, 6))


def share(values: Sequence[bool | None]) -> str:
    """The hits among the known ones: 7 of 9."""
    known = [value for value in values if value is not None]
    return f"{sum(known)} of {len(known)}"


def percent(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else NOTHING


def ratio(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "never"


def plans(found: dict[str, dict[str, Any]], state: str) -> dict[str, Planned]:
    """The plans with idle or with busy cores, by problem."""
    return {name: restore(entry[state]) for name, entry in found.items() if state in entry}


def overview(found: dict[str, dict[str, Any]]) -> str:
    """The table of all problems, and the shares of hits."""
    header = ["problem", "cores", "cells", "known", "hits", "per pass", "recommended, x best", "here, x best"]
    rows, sentences = [], []
    for state, title in TITLES.items():
        made = plans(found, state)
        cells = [cell for planned in made.values() for cell in planned.cells]
        for name, each in made.items():
            hits = [cell.hit for cell in each.cells]
            n_known = sum(hit is not None for hit in hits)
            rows.append(
                [
                    *(name, state, str(len(hits)), str(n_known), share(hits)),
                    share([cell.pass_hit for cell in each.cells]),
                    *(ratio(each.times_best()), ratio(each.times_best(here=True))),
                ]
            )
        if cells:
            sentences.append(sentence(title, made, cells))
    return table(header, rows, words=(0, 1)) + "\n" + "\n".join(sentences)


def sentence(title: str, made: dict[str, Planned], cells: Sequence[Cell]) -> str:
    """The shares of hits in words."""
    hits = [cell.hit for cell in cells if cell.hit is not None]
    passes = [cell.pass_hit for cell in cells if cell.pass_hit is not None]
    # without a cluster both recommendations are the same one
    kinds = (False, True) if any(cell.workers > 2 for cell in cells) else (True,)
    right = [planned.times_best(here) <= 1.0 + NEAR_BEST for planned in made.values() for here in kinds]
    known = f"{len(hits)} of {len(cells)} cells are known ({percent(len(hits), len(cells))})"
    return (
        f"- **{title}**: {known}, and {sum(hits)} of these are hits ({percent(sum(hits), len(hits))}).\n"
        f"  Of the predicted seconds per pass {sum(passes)} of {len(passes)} are within {NEAR:.0%}"
        f" ({percent(sum(passes), len(passes))}).\n"
        f"  Of the recommendations {sum(right)} of {len(right)} are right ({percent(sum(right), len(right))}).\n"
    )


def span_of(values: Sequence[float]) -> str:
    """The smallest and the largest share in percent."""
    return f"{min(values):.0%} to {max(values):.0%}" if values else NOTHING


def page(stored: dict[str, dict[str, Any]], reading: str = "") -> str:
    """The page from the stored readings."""
    found = {name: stored[name] for name in (*PROBLEMS, *sorted(set(stored) - set(PROBLEMS))) if name in stored}
    sections = []
    for name, entry in found.items():
        states = [
            STATE.format(title=title, why=planned.why, plan_s=planned.plan_s, table=table_of(planned))
            for state, title in TITLES.items()
            for planned in plans({name: entry}, state).values()
        ]
        shown = {key: entry[key] for key in ("words", "rows", "columns")}
        sections.append(SECTION.format(name=name, states="\n".join(states), **shown))
    text = PAGE.format(
        minutes=number(max(sum(entry["about"]["seconds"] for entry in found.values()) / 60.0, 1.0), 2),
        workers=f"{', '.join(map(str, WORKERS[:-1]))} and {WORKERS[-1]}",
        seconds=SECONDS,
        passes=PASSES,
        tolerance=TOLERANCE,
        test_rows=TEST_ROWS,
        n_seeds=len(SEEDS),
        turns=TURNS,
        near=NEAR,
        near_best=NEAR_BEST,
        idle=span_of([each.idle for each in plans(found, "idle").values()]),
        busy=span_of([each.idle for each in plans(found, "busy").values()]),
        about="\n".join(sorted({entry["about"]["text"] for entry in found.values()})),
        summary=overview(found) + "\nA star marks bounds that differ by more than a factor of 2.\n",
        sections="\n".join(sections),
    )
    return text + reading


def main(arguments: list[str] | None = None) -> None:
    """Measure the problems, store the readings after each, and write the page."""
    parser = STUDY.parser(__doc__, PROBLEMS, "PROBLEM", "1,500 generated rows and one seed")
    parser.add_argument("--load", choices=("idle", "both"), default="both", help="with busy cores, too (default: both)")
    given = STUDY.parse(parser, arguments)
    given.only = QUICK if given.quick else given.only
    sizes = {"seeds": SEEDS[:1], "turns": 1, "seconds": 0.5} if given.quick else {}

    def measure_problem(name: str, _: Stored) -> dict[str, Any]:
        problem = load(name, given.folder)
        found = measure(problem, given.load == "both" and name in (*BUSY, *QUICK), **sizes)
        for state, planned in found.items():
            hits = share([cell.hit for cell in planned.cells])
            best, here = ratio(planned.times_best()), ratio(planned.times_best(here=True))
            print(
                f"  {name}, {state}: {hits} of {len(planned.cells)} cells; {best} and {here} times the best",
                flush=True,
            )
        size = {"words": problem.words, "rows": len(problem.y), "columns": problem.X.shape[1]}
        return {**size, **{state: store(planned) for state, planned in found.items()}}

    STUDY.write(given, STUDY.measure(given, measure_problem), page)


if __name__ == "__main__":
    main()
