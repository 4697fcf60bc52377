"""Sections of the page, from top to bottom; a section without content is an empty string."""

from __future__ import annotations

import shlex

from parsgd.data.columns.column_specs import listed
from parsgd.planning.plan_table import TrainingPlan
from parsgd.viz import number_format
from parsgd.viz.report import bar_charts
from parsgd.viz.report.fit_facts import FitFacts
from parsgd.viz.report.html_elements import facts, figure, folded, paragraph, section, table, tabs
from parsgd.viz.report.line_charts import (
    MAX_LINES,
    loss_chart,
    plan_chart,
    score_chart,
    thinned,
    tuning_chart,
    weight_chart,
)
from parsgd.viz.report.speedup import Speedup
from parsgd.viz.report.svg import tag, text

_SCORED_ON = {"test": "the test rows", "training": "the training rows", "given": "the rows given for the report"}
_MAX_CLASSES = 12
_FIRST_VERSIONS = ("parsgd", "Python")
_MAX_ROUNDS = 60
# A text replaces the chart if all weights differ by less than this.
_EQUAL_WEIGHTS = 1e-9
_MAX_WORKERS = 16
# Maximum bars of the timeline of a readable chart.
_MAX_SPANS = {"wide": 900, "narrow": 300}


def top(record: FitFacts, found: Speedup) -> str:
    """Return the header: title, headline and tiles."""
    run = record.run
    data = f" on {run.data}" if run.data else ""
    kind = f"parsgd, run of {run.finished}" if run.finished else "parsgd"
    tiles = [
        tag("div", tag("dt", text(name)), tag("dd", text(value), tag("small", text(below))))
        for name, value, below in _tiles(record, found)
    ]
    title = tag("h1", text(f"{record.estimator}{data}"))
    headline = paragraph(found.sentence, "headline")
    return tag("header", paragraph(kind, "kind"), title, headline, tag("dl", *tiles, class_="tiles"))


def _tiles(record: FitFacts, found: Speedup) -> list[tuple[str, str, str]]:
    run = record.run
    tiles = [("score", "-", "unknown")]
    if run.scores:
        name, value = next(iter(run.scores.items()))
        where = f"on {_SCORED_ON.get(run.scored_on, 'unknown rows')}"
        tiles = [(number_format.SCORES.get(name, name), number_format.score(value), where)]
    whole = None if run.seconds is None else number_format.seconds(run.seconds)
    if record.history:
        below = "in rounds" if whole is None else f"whole fit {whole}"
        tiles.append(("time", number_format.seconds(found.seconds), below))
    else:
        tiles.append(("time", whole or "-", "whole fit"))
    rounds = record.history[-1]["round"] + 1 if record.history else 0
    in_rounds = f"in {rounds:,} round{'s' * (rounds != 1)}" if rounds else "over all rows"
    tiles.append(("passes", f"{record.n_iter:,}", in_rounds))
    tiles.append(("workers", f"{record.n_workers:,}", f"{record.algorithm}, {record.engine}"))
    return tiles


def warnings(record: FitFacts) -> str:
    """Return the outcome and the warnings of the fit."""
    messages = record.run.warnings
    if messages:
        shown = tag("ul", *(tag("li", text(message)) for message in messages), class_="warnings")
    else:
        known = "The warnings of the fit are unknown." if messages is None else "No warnings."
        shown = paragraph(known, "soft")
    return section("end", "Outcome", paragraph(record.outcome) if record.outcome else "", shown)


def scores(record: FitFacts) -> str:
    """Return the table of scores and the chart of the validation score."""
    run, parts = record.run, []
    if run.scores:
        caption = f"on {_SCORED_ON.get(run.scored_on, 'unknown rows')}"
        n_rows = {"test": run.test_rows, "training": run.rows}.get(run.scored_on)
        caption += f", {n_rows:,} of them" if n_rows else ""
        names = number_format.SCORES
        rows = [(names.get(name, name), number_format.score(value)) for name, value in run.scores.items()]
        parts.append(table(caption, ("score", "value"), rows))
    else:
        parts.append(paragraph("No score. Pass rows to parsgd.write_report(model, X=X, y=y), or fit with test rows."))
    chart = score_chart(record)
    if chart.lines:
        parts.append(figure(chart))
    return section("scores", "Scores", *parts)


def tuning(record: FitFacts) -> str:
    """Return the validation curves of a search and the table of its settings."""
    tried = record.run.tuned
    if not tried:
        return ""
    chart = tuning_chart(tried)
    best = sorted(tried.items(), key=lambda pair: -pair[1])
    rows = [(name, number_format.number(score)) for name, score in best]
    note = f"The best of {len(tried)} settings was fitted to all training rows: {best[0][0]}."
    shown = [figure(chart)] if chart.lines else []
    listed = folded("Table", table("settings", ("setting", "score"), rows))
    return section("tuning", "Search", paragraph(note), *shown, listed)


def speedup(record: FitFacts, found: Speedup, plan: TrainingPlan | None = None) -> str:
    """Return the comparison with one worker, and with the plan."""
    parts = []
    if found.serial_seconds is not None:
        parts.append(figure(bar_charts.speedup_chart(found, record.n_workers)))
    parts += [paragraph(caution, "soft") for caution in found.cautions]
    if record.why:
        parts.append(paragraph(f"Why {record.algorithm}: {record.why}."))
    if plan is not None:
        parts += [paragraph(f"The plan: {plan.why}"), figure(plan_chart(plan))]
    return section("worth", "Parallel speedup", *parts)


def loss(record: FitFacts) -> str:
    """Return the charts of the training loss over time, passes and rounds."""
    several = len(record.history) > 1
    charts = {over: loss_chart(record, over) for over in (("time", "passes", "rounds") if several else ("passes",))}
    panes = {f"over {over}": figure(chart) for over, chart in charts.items() if chart.lines}
    if not panes:
        return ""
    note = "Mean over the rows of a round; the loss of a row is taken before its step."
    if not several:
        note = "Mean over each worker's passes, because the fit had one round. Passes count the rows of all workers."
    return section("loss", "Loss", tabs("loss-over", panes), paragraph(note, "soft"), _rounds_table(record))


def _rounds_table(record: FitFacts) -> str:
    entries = thinned(record.history, _MAX_ROUNDS)
    rows = [
        (
            f"{entry['round'] + 1:,}",
            f"{entry['epoch']:.3g}",
            number_format.seconds(entry["seconds"]),
            number_format.number(entry["loss"]),
            number_format.number(entry.get("score")),
        )
        for entry in entries
    ]
    cut = f", {len(entries)} of {len(record.history):,}" if len(entries) < len(record.history) else ""
    return folded("Table", table(f"rounds{cut}", ("round", "passes", "time", "loss", "score"), rows))


def work(record: FitFacts) -> str:
    """Return the table of workers and the lost tasks."""
    rows = [
        (
            f"{one.worker}",
            f"{one.steps:,}",
            f"{one.examples:,}",
            number_format.seconds(one.computing),
            number_format.seconds(one.waiting),
            f"{one.weight:.3f}",
        )
        for one in record.accounts
    ]
    if not rows:
        return ""
    names = ("worker", "steps", "examples", "computing", "waiting", "mean weight")
    parts = [table("sums over the rounds", names, rows[:_MAX_WORKERS])]
    if len(rows) > _MAX_WORKERS:
        others = table("sums over the rounds, continued", names, rows[_MAX_WORKERS:])
        parts.append(folded(f"The other {len(rows) - _MAX_WORKERS:,} workers", others))
    lost = [task for entry in record.history for task in entry.get("lost", ())]
    if lost:
        lost_rows = [(f"worker {task['worker']}", task.get("why", "")) for task in lost[:_MAX_ROUNDS]]
        parts.append(table(f"{len(lost):,} lost tasks", ("worker", "reason"), lost_rows))
    return section("work", "Workers", *parts)


def time(record: FitFacts) -> str:
    """Return the charts of each worker's time and of the rounds."""
    if not record.history:
        return ""
    note = ""
    if not record.all_wait:
        note = (
            f"Workers continue while the driver merges, {number_format.seconds(record.merging)} in total. They wait for"
            " messages and for a core."
        )
    elif record.n_workers > 1:
        note = (
            "Workers wait for slower workers, for messages, for a core in use by others, and in the first round for"
            " compiled code to load. All are idle while the driver merges."
        )
    chart = bar_charts.work_chart(record.accounts)
    sums = {kind: sum(vars(one)[kind] for one in record.accounts) for kind in bar_charts.KINDS}
    rows = [
        (name, number_format.seconds(sums[kind]), number_format.share(sums[kind], sum(sums.values())))
        for kind, name in chart.legend.items()
    ]
    n = len(record.accounts)
    some = f"The chart shows {len(chart.rows)} of {n:,} workers." if n > len(chart.rows) else ""
    parts = [figure(chart, caption=some), table("sums over all workers", ("activity", "time", "share"), rows)]
    parts += [paragraph(note, "soft")] if note else []
    if len(record.history) > 1:
        sizes = {size: bar_charts.rounds_chart(record, limit) for size, limit in _MAX_SPANS.items()}
        parts += [tag("h3", "Timeline of the rounds"), figure(**sizes, caption=some)]
    return section("time", "Use of time", *parts)


def weights(record: FitFacts) -> str:
    """Return the chart of the merge weights by round."""
    if record.n_workers == 1 or len(record.history) < 2:
        return ""
    chart = weight_chart(record)
    if max(chart.values) - min(chart.values) < _EQUAL_WEIGHTS:
        equal = f"Every report had the weight {chart.values[0]:.3g} in every merge."
        return section("weights", "Weights", paragraph(equal))
    caption = "The weight of each worker's report in each merge."
    if record.n_workers > MAX_LINES:
        caption = "The largest, the median and the smallest weight of a worker in each merge."
    return section("weights", "Weights", figure(chart, caption=caption))


def trained(record: FitFacts) -> str:
    """Return the tables of data and parameters."""
    run = record.run
    rows = "unknown" if record.n_rows is None else f"{record.n_rows:,} for training"
    if record.n_rows is not None and run.test_rows:
        rows += f", {run.test_rows:,} for the test"
    classes = [f"{name} ({count:,})" for name, count in run.classes.items()]
    data = {
        "name": run.data or "unknown",
        "target": run.target,
        "rows": rows,
        "columns": None if run.columns is None else f"{run.columns:,}",
        "features": "-" if record.n_features is None else f"{record.n_features:,} after encoding",
        "classes": f"{len(classes):,}: {listed(classes, _MAX_CLASSES)}" if classes else None,
        "algorithm": record.algorithm,
    }
    parts = [facts("data", {name: value for name, value in data.items() if value is not None})]
    if run.encoding:
        parts.append(tag("ul", *(tag("li", text(line)) for line in run.encoding), class_="plain soft"))
    if record.changed:
        parts.append(facts("parameters that differ from the defaults", record.changed, code=True))
    parts.append(folded("All parameters", facts(record.estimator, record.parameters, code=True)))
    return section("trained", "Data and parameters", *parts)


def repeat(record: FitFacts) -> str:
    """Return the command, the versions and the machine."""
    run = record.run
    command = paragraph("The command is unknown: the model was fitted in Python or by an older version.")
    if run.command:
        command = tag("pre", text("parsgd " + shlex.join(run.command)))
    versions = run.versions or ({"parsgd": record.version} if record.version else {})
    # model files do not keep the order
    order = sorted(versions, key=lambda name: (name not in _FIRST_VERSIONS, name.lower()))
    known = {name: versions[name] for name in order}
    if run.processors is not None:
        known["processors"] = f"{run.processors:,}"
    if run.platform is not None:
        known["platform"] = run.platform
    machine = facts("versions and machine", known) if known else paragraph("The versions are unknown.")
    return section("repeat", "Reproduction", command, machine)


def all_of(record: FitFacts, found: Speedup, plan: TrainingPlan | None = None) -> str:
    """Return the body of the page."""
    first = (top(record, found), scores(record), tuning(record), warnings(record), speedup(record, found, plan))
    rest = (part(record) for part in (loss, work, time, weights, trained, repeat))
    return "\n".join(part for part in (*first, *rest) if part)
