"""PyTorch modules on several workers: a published toy problem, a small character model, and workers of unequal speed.

Usage: python studies/torch_workers.py DATA_FOLDER [--only toy ...] [--page-only]
       python studies/torch_workers.py --quick --stored FILE.json --out FILE.md

The readings are in studies/readings/torch_workers.json; the page is written from all that are stored there.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    # a script has its own folder first in the path, and needs the root of the repository, too
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from stored_study import Stored, StoredStudy

from benchmarks.markdown import NOTHING, number, table

PARTS = ("toy", "characters", "speeds")
STUDY = StoredStudy("torch_workers", one_core=True, libraries=("parsgd", "numpy", "scikit-learn", "torch"))
COMMENT = "<!-- figures: python studies/torch_workers.py DATA_FOLDER -->"
# Accuracies of the notebook after 800, 1,600, ... 4,000 steps, read from its last picture.
NOTEBOOK = {
    "notebook, synchronous": (0.87, 0.93, 0.97, 0.99, 0.998),
    "notebook, asynchronous": (0.93, 0.98, 1.00, 1.00, 1.00),
}
# Losses of data-parallel training and of DiLoCo with M = 1, 2, 4, 8 on C4 (Charles et al., H=30).
SCALING = {
    "35 million": (3.485, 3.482, 3.508, 3.554, 3.621),
    "180 million": (2.950, 2.943, 2.957, 2.981, 3.019),
    "1.3 billion": (2.460, 2.451, 2.464, 2.472, 2.493),
    "10 billion": (2.090, 2.086, 2.086, 2.096, math.nan),
}
PAGE = """# Results: PyTorch modules on several workers

{comment}

This page measures `parsgd.torch.Trainer` with synchronous and asynchronous algorithms, in three parts.
`python studies/torch_workers.py DATA_FOLDER` writes this page from the readings in
`studies/readings/torch_workers.json`, in about {minutes} minutes of one core.

- **Toy problem**: the published notebook of asynchronous local SGD, with its virtual times and accuracies.
- **Characters**: DiLoCo with 1 to 8 workers on a small character model, at equal numbers of characters.
- **Unequal workers**: time to a test loss with four workers, the slowest of which has a quarter of the speed.

{about}
"""
TOY = """## Toy problem: times

{comment}

The problem is that of the notebook in google-deepmind/asyncdiloco: 4 classes with centers of unit norm in 512 columns,
noise of standard deviation 0.5, and 4,096 rows on 4 workers. The module is 512-128-4 with ReLU. A round has 20 steps of
a new AdamW with batches of 32 rows. A step takes 0.58, 0.75, 1.51 and 3.33 s, on the virtual clock of `Simulated`.

`expected` is computed from these four times alone, without parsgd. `grace` are the seconds for which the driver waits
for further reports after the first one.

{clocks}
{bound_steps:,} steps at the summed speed of all workers take {bound:,.1f} s. No schedule of whole rounds ends exactly
then. The notebook would take {foreseen:,.1f} s, because its driver ends the grace window at once if no report will come
in it. The driver of parsgd cannot know this, and waits until the window ends. Of its merges, {joined} have more
than one report.

The notebook printed its clock for 100 phases. `computed` is the same rule with the four times.

{printed}
**Identity**: asynchronous DiLoCo with unlimited grace had the bits of synchronous DiLoCo after every one of {phases}
merges, for {n_identical} of {n_seeds} seeds.

## Toy problem: accuracy

{comment}

Accuracy on all training rows, as in the notebook: medians of {n_seeds} seeds, with the least and the largest. The fits
have {phases} phases. `s` are the virtual seconds after the last shown step. The last two rows are those of the
notebook, which has one seed; they are read from its picture.

{accuracies}
The outer rate is 1 and beta 0.9. The notebook multiplies a pseudo-gradient by sqrt(K) / K = 1/2, and adds momentum at
every merge. This is `AsyncDiLoCo(rate=0.5, delay=1)` for one report per merge. `delay=2` also divides by 2, but updates
the momentum after every second report. `delay=4` divides by 4, and updates it after every fourth one.

Differences from the notebook:

- **Shards**: a worker of parsgd keeps its shard. The notebook gives every task the shard with the fewest visits, so
  that all rows are visited equally often. In the row with all rows on every worker they are, too.
- **Grace**: reports of the same window are one merge here, with one update of the momentum, and one merge each there.
- **Schedule**: as in the notebook, the rate of the r-th task is that of the shard with the fewest visits. The first
  step of each task has the peak rate. An optimizer that is made for each task sets the rates.
- **Numbers**: centers, rows and first parameters are drawn with other generators.
"""
CHARACTERS = """## Characters

{comment}

Validation loss (mean cross-entropy, nats per character) of an MLP on {context} characters of {symbols} symbols. It has
an embedding of 16 values, layers {layers}, and {parameters:,} parameters. The text is that of Enron mails without
spam: {characters:,} characters, of which every fit predicts {predicted:,} once. The {validation_rows:,} validation
rows are from other mails.

- **Equal work**: every fit has {steps:,} steps with {batch} characters, of all workers together. With M workers a
  worker has batches of {batch} / M and 1 / M of the rows. A round has {round_steps} steps.
- **Inner optimizer**: AdamW with the defaults of PyTorch, linear warm-up, then a cosine to a tenth of the rate. It
  continues from round to round.
- **Tuning**: {fits} fits with seed {tuning_seed} for every row. Plain AdamW and averages have {fits} rates from
  {least_rate:.3g} to {most_rate:.3g}. DiLoCo has the rates {inner_rates}, each with two pairs of rate and beta of the
  outer step: {outer_steps}. The first pair is the published one.
- **Averages**: `LocalSGD`, the mean of the workers without an outer step.

Medians of {n_seeds} seeds, with the least and the largest. `change` is the median of the change from plain AdamW with
the same seed, and `below` the number of seeds with a smaller loss. A star marks a rate at an edge of its grid.

{losses}
The published losses on C4, for comparison: models of 35 million to 10 billion parameters, with the change from
data-parallel training.

{scaling}
### Tuning: characters

{comment}

Loss of every fit of the tuning.

{tuning}"""
SPEEDS = """## Unequal workers: virtual time

{comment}

Fashion-MNIST, the first {n_rows:,} training rows and {test_rows:,} test rows, a network {layers} with ReLU, AdamW at a
constant rate, batches of {batch}. Four workers have the speeds {speeds}. A time of 1 is a pass of one worker of
speed 1, and messages take no time. A round has {sync_every:g} of the rows of a worker. `deadline` is `deadline="auto"`.
`fixed time` is the time in which all workers together can make {sync_every:g} of a pass.

The goal is a test loss of {goal:.4g}: that of one tuned worker after {goal_passes} passes (rate {goal_rate:g}), plus
{tolerance}. The loss is measured {evaluations} times per pass. Every row has {fits} fits for the tuning, with seed
{tuning_seed}. Rows without an outer step have {fits} rates from {least_rate:g} to {most_rate:g}, a factor of 2 apart.
Those with one have the rates {outer_rates}, each with two pairs of rate and beta of the outer step:
{outer_steps}. A fit ends after {most_passes} passes.

Medians of {n_seeds} seeds with quartiles. `x one worker` is the time of the first row divided by that of the row. At
most {limit:g} would be ideal, the summed speed. A star marks a rate at an edge of its grid.

{times}
## Unequal workers: real processes

{comment}

Two worker processes, the second of which is slowed to a quarter of the speed on purpose
(`parsgd.testing.slow_down`), with the settings of the table above. The order of the algorithms by their median time of
{n_real} seeds, on the virtual clock and on the real one. The real times are not shown, because the machine is small.
Rounds of fixed time are left out.

{order}"""


def with_range(spread: Sequence[float], digits: int = 3) -> str:
    """The median, with the least and the largest value."""
    return f"{number(spread[2], digits)} ({number(spread[0], digits)} to {number(spread[4], digits)})"


def seconds(value: float) -> str:
    return f"{value:,.1f}"


def percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def toy(entry: dict[str, Any]) -> str:
    """The sections of the toy problem."""
    clocks = entry["clocks"]
    clock_rows = [[name, f"{at:,}", seconds(e), seconds(ours)] for name, _, e, ours, at in clocks["rows"]]
    printed = [[f"{steps:,}", seconds(theirs), seconds(computed)] for steps, theirs, computed in clocks["printed"]]
    shown = entry["shown"]
    rows = []
    for row in entry["rows"]:
        cells = [f"{each[2]:.3f} ({each[0]:.3f} to {each[4]:.3f})" for each in row["accuracy"]]
        rows.append([row["name"], *cells, seconds(row["seconds"][-1][2])])
    if len(shown) == len(NOTEBOOK["notebook, synchronous"]):
        last = {"notebook, synchronous": 3330.0, "notebook, asynchronous": 999.0}
        rows += [[name, *(f"{each:g}" for each in values), seconds(last[name])] for name, values in NOTEBOOK.items()]
    return TOY.format(
        comment=COMMENT,
        clocks=table(["algorithm", "steps", "expected, s", "parsgd, s"], clock_rows),
        bound=clocks["bound"],
        bound_steps=clocks["rows"][0][1],
        foreseen=clocks["foreseen"],
        joined=percent(clocks["joined"]),
        printed=table(["steps", "printed by the notebook, s", "computed, s"], printed),
        phases=entry["phases"],
        n_identical=sum(entry["identity"]),
        n_seeds=len(entry["seeds"]),
        accuracies=table(["algorithm", *(f"{steps:,} steps" for steps in shown), "s"], rows),
    )


def star(value: float, grid: Sequence[float]) -> str:
    """The value, with a star at an edge of the grid."""
    return f"{value:.3g}{' *' if value in (min(grid), max(grid)) else ''}"


def change(loss: float, other: float) -> str:
    return NOTHING if math.isnan(loss) else f"{100 * (loss / other - 1):+.2f} %"


def characters(entry: dict[str, Any]) -> str:
    """The sections of the character model."""
    plain = entry["rows"][0]
    rows = []
    for row in entry["rows"]:
        rate, *outer = row["setting"]
        grid = entry["plain_rates"] if outer[0] is None else entry["inner_rates"]
        ratios = [ours / theirs for ours, theirs in zip(row["losses"], plain["losses"], strict=True)]
        compared = [NOTHING, NOTHING]
        if row is not plain:
            below = sum(ratio < 1.0 for ratio in ratios)
            compared = [change(float(np.median(ratios)), 1.0), f"{below} of {len(ratios)}"]
        rows.append([row["name"], star(rate, grid), pair(outer), with_range(row["loss"], 4), *compared])
    scaling = [
        [size, number(data, 4), *(change(each, data) for each in rest)] for size, (data, *rest) in SCALING.items()
    ]
    return CHARACTERS.format(
        comment=COMMENT,
        **{name: entry[name] for name in ("context", "symbols", "parameters", "characters", "validation_rows")},
        **{name: entry[name] for name in ("steps", "batch", "round_steps", "tuning_seed")},
        layers="-".join(map(str, entry["layers"])),
        predicted=entry["steps"] * entry["batch"],
        fits=len(plain["trials"]),
        least_rate=min(entry["plain_rates"]),
        most_rate=max(entry["plain_rates"]),
        inner_rates=listed(entry["inner_rates"]),
        outer_steps="; ".join(map(pair, entry["outer_steps"])),
        n_seeds=len(entry["seeds"]),
        losses=table(["row", "rate", "outer rate, beta", "validation loss", "change", "below"], rows),
        scaling=table(["parameters", "data-parallel", "M=1", "M=2", "M=4", "M=8"], scaling),
        tuning=tuning_table(entry),
    )


def pair(outer: Sequence[float | None]) -> str:
    """Rate and beta of the outer step."""
    return NOTHING if outer[0] is None else ", ".join(f"{value:g}" for value in outer)


def tuning_table(entry: dict[str, Any]) -> str:
    """The losses of the tuning, a line for each row and outer step."""
    lines: dict[tuple[str, str], dict[float, Any]] = {}
    for row in entry["rows"]:
        for rate, *outer, loss in row["trials"]:
            lines.setdefault((row["name"], pair(outer)), {})[rate] = loss
    rates = entry["plain_rates"]
    rows = [[*line, *(number(found.get(rate), 4) for rate in rates)] for line, found in lines.items()]
    return table(["row", "outer rate, beta", *(f"{rate:.2g}" for rate in rates)], rows)


def of_seeds(values: Sequence[float | None]) -> list[float]:
    return [math.inf if value is None else value for value in values]


def middle(values: Sequence[float | None]) -> float:
    """The median of the seeds, infinite if most have missed."""
    return float(np.percentile(of_seeds(values), 50, method="nearest"))


def with_quartiles(values: Sequence[float | None]) -> str:
    low, median, high = (float(x) for x in np.percentile(of_seeds(values), [25, 50, 75], method="nearest"))
    if not math.isfinite(median):
        return "missed"
    return f"{number(median)} ({number(low)} to {number(high) if math.isfinite(high) else 'missed'})"


def speeds(entry: dict[str, Any]) -> str:
    """The sections of unequal workers."""
    one = middle(entry["rows"][0]["times"])
    rows = []
    for row in entry["rows"]:
        rate, *outer = row["setting"]
        setting = f"{rate:g}{' *' if row['at_edge'] else ''}"
        setting += "" if outer[0] is None else f"; outer {outer[0]:g}, {outer[1]:g}"
        median = middle(row["times"])
        ratio = number(one / median) if math.isfinite(median) else NOTHING
        rows.append([row["name"], with_quartiles(row["times"]), ratio, with_quartiles(row["passes"]), setting])
    return SPEEDS.format(
        comment=COMMENT,
        **{name: entry[name] for name in ("n_rows", "test_rows", "batch", "goal", "goal_rate")},
        **{name: entry[name] for name in ("evaluations", "tuning_seed", "sync_every")},
        layers="-".join(map(str, entry["layers"])),
        speeds=listed(entry["speeds"]),
        goal_passes=entry["passes"][0],
        most_passes=entry["passes"][1],
        fits=entry["rows"][0]["fits"],
        tolerance=percent(entry["tolerance"]),
        least_rate=min(entry["rates"]),
        most_rate=max(entry["rates"]),
        outer_rates=listed(entry["outer_rates"]),
        outer_steps="; ".join(map(pair, entry["outer_steps"])),
        n_seeds=len(entry["seeds"]),
        n_real=len(entry["real"][0]["real"]),
        limit=sum(entry["speeds"]),
        times=table(["algorithm", "time", "x one worker", "passes", "rate"], rows, words=(0, 4)),
        order=order_table(entry["real"]),
    )


def listed(values: Sequence[float]) -> str:
    return f"{', '.join(f'{value:g}' for value in values[:-1])} and {values[-1]:g}"


def order_table(rows: list[dict[str, Any]]) -> str:
    """The places of the algorithms by virtual and by real time; equal times have equal places."""
    columns = []
    for clock in ("virtual", "real"):
        times = [middle(row[clock]) for row in rows]
        columns.append([str(1 + sum(x < each for x in times)) if math.isfinite(each) else "missed" for each in times])
    lines = [[row["name"], *places] for row, *places in zip(rows, *columns, strict=True)]
    return table(["algorithm", "place, virtual clock", "place, real clock"], lines)


SECTIONS = {"toy": toy, "characters": characters, "speeds": speeds}


def page(stored: Stored, reading: str = "") -> str:
    """The page from the stored readings."""
    found = [stored[name] for name in PARTS if name in stored]
    text = PAGE.format(
        comment=COMMENT,
        minutes=math.ceil(sum(entry["about"]["seconds"] for entry in found) / 60),
        about="\n".join(dict.fromkeys(entry["about"]["text"] for entry in found)),
    )
    return "\n".join([text, *(SECTIONS[name](stored[name]) for name in PARTS if name in stored)]) + reading


def measure_part(name: str, folder: Path | None) -> dict[str, Any]:
    """Measure a part; PyTorch is needed only here."""
    import torch

    torch.set_num_threads(1)

    def log(text: str) -> None:
        print(f"  {text}", flush=True)

    print(name, flush=True)
    if name == "toy":
        import torch_workers_toy

        return torch_workers_toy.measure(folder is None, log)
    if name == "characters":
        import torch_workers_characters

        return torch_workers_characters.measure(folder, log)
    import torch_workers_speeds

    return torch_workers_speeds.measure(folder, log)


def main(arguments: list[str] | None = None) -> None:
    """Measure the parts, store the readings after each, and write the page."""
    parser = STUDY.parser(__doc__, PARTS, "PART", "generated text and rows, and short fits")
    given = STUDY.parse(parser, arguments)
    stored = STUDY.measure(given, lambda name, _: measure_part(name, given.folder))
    STUDY.write(given, stored, page)


if __name__ == "__main__":
    main()
