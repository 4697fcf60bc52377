"""Rows per second at equal work: the same epochs, loss, penalty and schedule; two workers against one, and the peers.

The work is `EPOCHS` passes in random order.  Vowpal Wabbit has a schedule of its own and no penalty: less to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import drawing, problems, solvers
from benchmarks.markdown import NOTHING, number, table, times
from benchmarks.measuring import fastest, ratio, run_turns, timed
from benchmarks.options import Options
from benchmarks.problems import Unavailable
from benchmarks.readings import Reading, select

TITLE = "Rows per second at equal work"
FIGURE = "equal_work"
EPOCHS = 5
OURS, ALONE, ONE_SHOT = "parsgd, 2 workers", "parsgd, 1 worker", "parsgd, 2 workers, one average at the end"
SKLEARN, VW, SELF = "scikit-learn SGD", "Vowpal Wabbit", "parsgd, 1 worker"
PARALLEL = 1.9
WORDS = f"""{EPOCHS} epochs in random order, `tol=None`, default arguments except the loss; the whole `fit` is timed.
Two workers are `n_jobs=2` with `algorithm="auto"`, which takes one worker where it predicts no gain, or with
`"simuparallel"`, which makes one average at the end. One worker visits rows in
scikit-learn's order. Several workers visit runs of 8 neighboring rows in random order if the data exceed the caches.
parsgd computes in float32, except in the float64 line. scikit-learn's figures are of both precisions, and ratios of the
faster one. Its threads divide the classes, so two threads are tried with several classes. Vowpal Wabbit (`--sgd`,
without a penalty, which would slow it down) reads a cache file in one thread and learns in another.
"""


@dataclass(frozen=True)
class Row:
    """A problem, a loss, a precision, and what ratios to the peers are wanted."""

    problem: str
    loss: str = "log_loss"
    dtype: str = "float32"
    targets: tuple[tuple[str, float], ...] = ()

    @property
    def title(self) -> str:
        return f"{problems.title(self.problem)}, {self.loss}" + f", {self.dtype}" * (self.dtype != "float32")


ROWS = (
    Row("csr_binary", targets=((SKLEARN, 4.5), (VW, 8.0), (SELF, PARALLEL))),
    Row("csr_binary", "hinge"),
    Row("dense_binary", targets=((SKLEARN, 8.0), (SELF, PARALLEL))),
    Row("dense_binary", "hinge"),
    Row("dense_binary", dtype="float64"),
    Row("covtype7", targets=((SKLEARN, 8.0), (SELF, PARALLEL))),
    Row("covtype7", "hinge"),
    Row("news20", targets=((SKLEARN, 12.0), (SELF, PARALLEL))),
    Row("news20", "hinge"),
)


def measure(options: Options) -> list[Reading]:
    found: list[Reading] = []
    for row in ROWS:
        options.say(row.title)
        try:
            problem = problems.load(row.problem, options)
        except Unavailable as why:
            found += [_absent(row, peer, target, str(why)) for peer, target in row.targets or ((SKLEARN, None),)]
            continue
        found += _compare(row, problem, options)
    return found


def _absent(row: Row, peer: str, target: float | None, why: str) -> Reading:
    return Reading(FIGURE, row.title, OURS, peer=peer, target=target, note=why)


def contestants(row: Row, problem) -> dict[str, tuple[str, dict]]:
    """By a name of its own, everybody's solver and setting."""
    ours = ({"n_jobs": 2}, {"n_jobs": 1}, {"n_jobs": 2, "algorithm": "simuparallel"})
    found = {
        name: ("ours", {**setting, "dtype": row.dtype})
        for name, setting in zip((OURS, ALONE, ONE_SHOT), ours, strict=True)
    }
    for setting in solvers.load("sklearn_sgd").SPEEDS:
        # threads have classes to share only where there are several; at float64 nobody computes with less
        useful = setting["n_jobs"] == 1 or problem.n_classes > 2
        if useful and (setting["dtype"] == "float64" or row.dtype == "float32"):
            found[f"{SKLEARN}: {solvers.words(setting)}"] = ("sklearn_sgd", setting)
    if problem.n_classes == 2 and row.dtype == "float32" and solvers.present(["vowpal_wabbit"]):
        found[f"{VW}: --sgd, float32"] = ("vowpal_wabbit", {"way": "--sgd"})
    return found


def _compare(row: Row, problem, options: Options) -> list[Reading]:
    entered = contestants(row, problem)
    prepare = {
        name: partial(solvers.load(solver).prepare, problem, loss=row.loss, **setting)
        for name, (solver, setting) in entered.items()
    }
    fits = {name: make(EPOCHS) for name, make in prepare.items()}
    times = run_turns(
        {name: partial(timed, fit) for name, fit in fits.items()}, options.n_turns, lambda name: prepare[name](1)()
    )
    best = {
        peer: fastest(times, [name for name in times if name.startswith(peer)])
        for peer in (SKLEARN, VW)
        if any(name.startswith(peer) for name in times)
    } | {SELF: ALONE}
    return [*_rates(row, problem, times), *_ratios(row, times, best)]


def _rates(row: Row, problem, times: dict[str, list[float]]) -> list[Reading]:
    """Everybody's rows a second."""
    work = EPOCHS * problem.n_rows
    found = []
    for name, seconds in times.items():
        solver, _, setting = name.partition(": ")
        rates = tuple(work / s for s in seconds)
        found.append(Reading(FIGURE, row.title, solver, setting or row.dtype, "rows/s", rates))
    return found


def _ratios(row: Row, times: dict[str, list[float]], best: dict[str, str]) -> list[Reading]:
    """Two workers, in both ways, against each peer's best and the targets; one worker against the peers'."""
    targets = dict(row.targets)
    found = []
    for peer, wanted in targets.items():
        if peer not in best:
            found.append(_absent(row, peer, wanted, f"{peer} is not installed"))
    for peer, name in best.items():
        setting = "" if peer == SELF else name.partition(": ")[2]
        make = partial(Reading, FIGURE, row.title, setting=setting, peer=peer)
        wanted = targets.get(peer)
        found += [make(ours, ratio=ratio(times[name], times[ours]), target=wanted) for ours in (OURS, ONE_SHOT)]
        if peer != SELF:
            found.append(make(ALONE, ratio=ratio(times[name], times[ALONE])))
    return found


def describe(readings: Sequence[Reading]) -> str:
    absent = dict.fromkeys(f"{r.problem} ({r.note})" for r in readings if not r.values and r.ratio is None)
    left_out = [f"Not measured: {'; '.join(absent)}.\n"] if absent else []
    return "\n".join([WORDS, _rate_table(readings), "Times as fast, by turns:\n", _ratio_table(readings), *left_out])


def _rate_table(readings: Sequence[Reading]) -> str:
    """Thousands of rows a second: a line for each problem, a column for each solver and setting."""
    rates = [r for r in readings if r.values]
    columns = list(dict.fromkeys(_column(r) for r in rates))
    lines = {r.problem: dict.fromkeys(columns, NOTHING) for r in rates}
    for r in rates:
        lines[r.problem][_column(r)] = number(r.median / 1e3)
    return table(["1,000 rows/s", *columns], [[problem, *line.values()] for problem, line in lines.items()])


def _column(reading: Reading) -> str:
    own = reading.solver.startswith("parsgd")
    return reading.solver if own else f"{reading.solver}, {reading.setting}"


def _ratio_table(readings: Sequence[Reading]) -> str:
    """Ratios with their quartiles; the peers at the setting that was fastest on the problem."""
    pairs = [(SKLEARN, ALONE), (SKLEARN, OURS), (SKLEARN, ONE_SHOT), (VW, OURS), (VW, ONE_SHOT)]
    pairs += [(SELF, OURS), (SELF, ONE_SHOT)]
    lines = []
    for problem in dict.fromkeys(r.problem for r in readings if r.ratio is not None):
        cells = [select(readings, problem=problem, peer=peer, solver=solver) for peer, solver in pairs]
        lines.append([problem, *(times(cell[0]) if cell else NOTHING for cell in cells)])
    names = [f"{solver.removeprefix('parsgd, ')} / {peer}" for peer, solver in pairs]
    return table(["", *names], lines)


def draw(readings: Sequence[Reading], folder: Path) -> list[Path]:
    """Bars of the ratios to scikit-learn, by one worker and by two."""
    measured = [r for r in select(readings, peer=SKLEARN) if r.ratio is not None]
    pairs = zip(select(measured, solver=OURS), select(measured, solver=ALONE), strict=True)
    rows = [reading for pair in pairs for reading in pair]
    if not rows:
        return []
    drawn, (axis,) = drawing.figure(height=0.6 + 0.32 * len(rows))
    drawing.bars(
        axis,
        [f"{r.problem}, 2 workers" if r.solver == OURS else "1 worker" for r in rows],
        [r.ratio.median for r in rows],
        [(r.ratio.low, r.ratio.high) for r in rows],
        [drawing.OURS if r.solver == OURS else drawing.THEIRS for r in rows],
    )
    axis.axvline(1.0, color="black", lw=0.8)
    axis.set_xlabel("times as fast as scikit-learn's SGDClassifier")
    return [drawing.keep(drawn, folder, "equal-work")]
