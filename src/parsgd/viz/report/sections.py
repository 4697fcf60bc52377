"""The parts of the page, from top to bottom; each is markup, or nothing where there is nothing to tell."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Any

from parsgd.viz.report import bar_charts, line_charts, number_format
from parsgd.viz.report.fit_facts import FitFacts
from parsgd.viz.report.html_elements import facts, figure, folded, paragraph, section, table, tabs
from parsgd.viz.report.speedup import Speedup
from parsgd.viz.report.svg import tag, text

_ON = {"test": "rows kept for testing", "training": "rows that were trained on", "given": "rows given for the report"}
_MOST_CLASSES = 12
_FIRST = ("parsgd", "Python")
_MOST_ROUNDS = 60
# Weights that differ by less than this are drawn as one line, and need no drawing.
_ALIKE = 1e-9
_MOST_WORKERS = 16


def top(record: FitFacts, found: Speedup) -> str:
    """What it is, the sentence, and the numbers that matter."""
    run = record.run
    data = f" on {run.data}" if run.data else ""
    kind = f"parsgd, run of {run.finished}" if run.finished else "parsgd"
    return tag(
        "header",
        paragraph(kind, "kind"),
        tag("h1", text(f"{record.estimator}{data}")),
        paragraph(found.sentence, "headline"),
        tag("dl", *(_tile(*tile) for tile in _tiles(record, found)), class_="tiles"),
    )


def _tiles(record: FitFacts, found: Speedup) -> list[tuple[str, str, str]]:
    run = record.run
    tiles = []
    if run.scores:
        name, value = next(iter(run.scores.items()))
        tiles.append(
            (number_format.SCORES.get(name, name), _score(value), f"on {_ON.get(run.scored_on, 'unknown rows')}")
        )
    else:
        tiles.append(("score", "-", "not known"))
    whole = f"whole fit {number_format.seconds(run.seconds)}" if run.seconds is not None else "of the rounds"
    if record.history:
        tiles.append(("time", number_format.seconds(found.seconds), whole))
    else:
        tiles.append(("time", "-" if run.seconds is None else number_format.seconds(run.seconds), "whole fit"))
    rounds = record.history[-1]["round"] + 1 if record.history else 0
    in_rounds = f"in {rounds:,} round{'s' * (rounds != 1)}" if rounds else "of all rows"
    tiles.append(("passes", f"{record.n_iter:,}", in_rounds))
    tiles.append(("workers", f"{record.n_workers:,}", f"{record.algorithm}, {record.engine}"))
    return tiles


def _tile(name: str, value: str, below: str) -> str:
    return tag("div", tag("dt", text(name)), tag("dd", text(value), tag("small", text(below))))


def _score(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}" if abs(value) < 10 else f"{value:,.6g}"


def warnings(record: FitFacts) -> str:
    """What the fit warned of, and how it ended."""
    told = record.run.warnings
    said = paragraph(record.outcome) if record.outcome else ""
    if told is None:
        return section("end", "How it ended", said, paragraph("Whether it warned of anything is not known.", "soft"))
    if not told:
        return section("end", "How it ended", said, paragraph("No warnings.", "soft"))
    listed = tag("ul", *(tag("li", text(warning)) for warning in told), class_="warnings")
    return section("end", "How it ended", said, listed)


def scores(record: FitFacts) -> str:
    """All scores, and the score over the passes."""
    run, parts = record.run, []
    if run.scores:
        caption = f"on {_ON.get(run.scored_on, 'rows that are not known')}"
        n_rows = {"test": run.test_rows, "training": run.rows}.get(run.scored_on)
        caption += f", {n_rows:,} of them" if n_rows else ""
        rows = [(number_format.SCORES.get(name, name), _score(value)) for name, value in run.scores.items()]
        parts.append(table(caption, ("score", "value"), rows))
    else:
        parts.append(
            paragraph("No score is known: give rows, parsgd.write_report(model, X=X, y=y), or test in the fit.")
        )
    lines = line_charts.score_lines(record)
    if lines:
        title = "score of the validation rows"
        chart = _line_chart(lines, "passes over the rows", title, f"The {title}")
        parts.append(figure(chart, legend=_legend(lines) if len(lines) > 1 else None))
    return section("scores", "How good it is", *parts)


def worth_it(record: FitFacts, found: Speedup, plan: Any = None) -> str:
    """The comparison with one worker, and what a plan had said."""
    parts = []
    if found.serial_seconds is not None:
        parts.append(figure(lambda size: bar_charts.draw_worth(found, record.n_workers, size)))
    parts += [paragraph(caution, "soft") for caution in found.cautions]
    if record.why:
        parts.append(paragraph(f"Why {record.algorithm}: {record.why}."))
    if plan is not None:
        lines, counts, unit = line_charts.plan_lines(plan)

        def draw(size: str) -> str:
            label = "Times that the plan predicts"
            return line_charts.draw(lines, "workers", f"predicted time, {unit}", label, size, names=counts)

        parts += [paragraph(f"The plan: {plan.why}"), figure(draw, legend=_legend(lines))]
    return section("worth", "Was parallel worth it?", *parts)


def loss(record: FitFacts) -> str:
    """The training loss over time, passes and rounds."""
    several = len(record.history) > 1
    panes = {}
    for over in ("time", "passes", "rounds") if several else ("passes",):
        lines, title = line_charts.loss_lines(record, over)
        if lines:
            panes[f"over {over}"] = figure(_line_chart(lines, title, "training loss", f"The training loss over {over}"),
                                           legend=_legend(lines) if len(lines) > 1 else None)  # fmt: skip
    if not panes:
        return ""
    shown = "Mean over the rows of a round, each taken just before its step."
    if not several:
        shown = "Mean over each worker's own passes: the whole fit was one round. Passes are those of all together."
    return section("loss", "Loss", tabs("loss-over", panes), paragraph(shown, "soft"), _rounds_table(record))


def _line_chart(
    lines: Sequence[line_charts.ChartLine], x: str, y: str, label: str, zero: bool = False
) -> Callable[[str], str]:
    return lambda size: line_charts.draw(lines, x, y, label, size, from_zero=zero)


def _legend(lines: Sequence[line_charts.ChartLine]) -> dict[str, str]:
    return {f"s{i}": line.name for i, line in enumerate(lines)}


def _rounds_table(record: FitFacts) -> str:
    shown = line_charts.thinned(record.history, _MOST_ROUNDS)
    rows = [
        (
            f"{entry['round'] + 1:,}", f"{entry['epoch']:.3g}", number_format.seconds(entry["seconds"]),
            number_format.number(entry["loss"]), number_format.number(entry.get("score")),
        )
        for entry in shown
    ]  # fmt: skip
    cut = f", {len(shown)} of {len(record.history):,}" if len(shown) < len(record.history) else ""
    return folded("Numeric", table(f"rounds{cut}", ("round", "passes", "time", "loss", "score"), rows))


def work(record: FitFacts) -> str:
    """Who did how much, and the weights in the merges."""
    if not record.accounts:
        return ""
    rows = [
        (
            f"{one.worker}", f"{one.steps:,}", f"{one.examples:,}", number_format.seconds(one.computing),
            number_format.seconds(one.waiting), f"{one.weight:.3f}",
        )
        for one in record.accounts
    ]  # fmt: skip
    names = ("worker", "steps", "examples", "computed", "waited", "mean weight")
    lost = [gone for entry in record.history for gone in entry.get("lost", ())]
    parts = [table("sums over the rounds", names, rows[:_MOST_WORKERS])]
    if len(rows) > _MOST_WORKERS:
        others = table("sums over the rounds, continued", names, rows[_MOST_WORKERS:])
        parts.append(folded(f"The other {len(rows) - _MOST_WORKERS:,} workers", others))
    if lost:
        said = [(f"worker {gone['worker']}", gone.get("why", "")) for gone in lost[:_MOST_ROUNDS]]
        parts.append(table(f"{len(lost):,} tasks that were lost", ("worker", "why"), said))
    return section("work", "Who did the work", *parts)


def time(record: FitFacts) -> str:
    """Where each worker's time went, and the rounds one after the other."""
    if not record.history:
        return ""
    whole = sum(getattr(one, kind) for one in record.accounts for kind in bar_charts.KINDS)
    sums = {kind: sum(getattr(one, kind) for one in record.accounts) for kind in bar_charts.KINDS}
    if not record.all_wait:
        said = "Workers go on while the driver merges, which took it {} in all; they wait for messages and for a core."
        note = paragraph(said.format(number_format.seconds(record.merging)), "soft")
    elif record.n_workers == 1:
        note = ""
    else:
        note = paragraph(
            "Waiting is for slower workers, for messages, for a core where others use it, and in the first round for"
            " compiled code to be loaded; while the driver merges all are idle.",
            "soft",
        )
    rows = [
        (name, number_format.seconds(sums[kind]), number_format.share(sums[kind], whole))
        for kind, name in bar_charts.KINDS.items() if sums[kind] > 0.0
    ]  # fmt: skip
    used = {kind: name for kind, name in bar_charts.KINDS.items() if sums[kind] > 0.0}
    n = len(record.accounts)
    some = f"{bar_charts.MOST_ROWS} of {n:,} workers are shown." if n > bar_charts.MOST_ROWS else ""
    driver = record.all_wait and record.merging + record.checking > 0.0
    gantt = {"merging": "merging, scores and stopping"} if driver else {}
    parts = [
        figure(lambda size: bar_charts.draw_work(record, size), some, used),
        table("of the time of all workers", ("what", "time", "share"), rows),
        note,
        tag("h3", "The rounds in time") if len(record.history) > 1 else "",
        figure(lambda size: bar_charts.draw_rounds(record, size), some,
               {"computing": "computing", "waiting": "waiting"} | gantt) if len(record.history) > 1 else "",
    ]  # fmt: skip
    return section("time", "Where the time went", *parts)


def weights(record: FitFacts) -> str:
    """The weights in the merges, round by round."""
    if record.n_workers == 1 or len(record.history) < 2:
        return ""
    lines = line_charts.weight_lines(record)
    values = [point[1] for line in lines for point in line.points]
    if max(values) - min(values) < _ALIKE:
        return section("weights", "Weights", paragraph(f"Every report counted {values[0]:.3g} in every merge."))
    chart = _line_chart(lines, "rounds", "weight in the merge", "The workers' weights in each merge", zero=True)
    said = "How much each worker's report counted in each merge."
    if record.n_workers > line_charts.MOST_LINES:
        said = "The largest, the median and the smallest weight of a worker in each merge."
    return section("weights", "Weights", figure(chart, said, _legend(lines)))


def trained(record: FitFacts) -> str:
    """Data and parameters."""
    run = record.run
    told = {
        "name": run.data or "not known",
        "target": run.target,
        "rows": "not known" if record.n_rows is None else f"{record.n_rows:,} to train"
        + (f", {run.test_rows:,} to test" if run.test_rows else ""),
        "columns": None if run.columns is None else f"{run.columns:,}",
        "features": f"{record.n_features:,}, as the model sees them",
        "classes": _classes(run.classes),
        "algorithm": record.algorithm,
    }  # fmt: skip
    parts = [facts("data", {name: value for name, value in told.items() if value is not None})]
    if run.said:
        parts.append(tag("ul", *(tag("li", text(line)) for line in run.said), class_="plain soft"))
    if record.changed:
        parts.append(facts("parameters that differ from the defaults", record.changed, code=True))
    parts.append(folded("All parameters", facts(record.estimator, record.parameters, code=True)))
    return section("trained", "What was trained, and on what", *parts)


def _classes(classes: Any) -> str | None:
    if not classes:
        return None
    shown = [f"{name} ({count:,})" for name, count in list(classes.items())[:_MOST_CLASSES]]
    more = f" and {len(classes) - len(shown):,} more" if len(shown) < len(classes) else ""
    return f"{len(classes):,}: {', '.join(shown)}{more}"


def repeat(record: FitFacts) -> str:
    """The command, and what was installed."""
    run = record.run
    parts = []
    if run.command:
        parts.append(tag("pre", text("parsgd " + shlex.join(run.command))))
    else:
        parts.append(paragraph("The command is not known: the model was fitted from Python, or by an older parsgd."))
    versions = dict(run.versions) or ({"parsgd": record.version} if record.version else {})
    machine = {"processors": None if run.processors is None else f"{run.processors:,}", "platform": run.platform}
    # a model file keeps no order
    versions = {name: versions[name] for name in sorted(versions, key=lambda name: (name not in _FIRST, name.lower()))}
    told = versions | {name: value for name, value in machine.items() if value is not None}
    parts.append(facts("versions and machine", told) if told else paragraph("Versions are not known."))
    return section("repeat", "To repeat it", *parts)


def all_of(record: FitFacts, found: Speedup, plan: Any = None) -> str:
    """The whole body."""
    parts = (
        top(record, found), scores(record), warnings(record), worth_it(record, found, plan), loss(record), work(record),
        time(record), weights(record), trained(record), repeat(record),
    )  # fmt: skip
    return "\n".join(part for part in parts if part)
