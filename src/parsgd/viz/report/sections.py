"""Sections of the page, from top to bottom; a section without content is an empty string."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence

from parsgd.planning.plan_table import TrainingPlan
from parsgd.viz import number_format
from parsgd.viz.report import bar_charts, line_charts
from parsgd.viz.report.fit_facts import FitFacts
from parsgd.viz.report.html_elements import facts, figure, folded, paragraph, section, table, tabs
from parsgd.viz.report.speedup import Speedup
from parsgd.viz.report.svg import tag, text

_SCORED_ON = {"test": "the test rows", "training": "the training rows", "given": "the rows given for the report"}
_MAX_CLASSES = 12
_FIRST_VERSIONS = ("parsgd", "Python")
_MAX_ROUNDS = 60
# A text replaces the chart if all weights differ by less than this.
_EQUAL_WEIGHTS = 1e-9
_MAX_WORKERS = 16


def top(record: FitFacts, found: Speedup) -> str:
    """Return the header: title, headline and tiles."""
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
        rows = _SCORED_ON.get(run.scored_on, "unknown rows")
        tiles.append((number_format.SCORES.get(name, name), number_format.score(value), f"on {rows}"))
    else:
        tiles.append(("score", "-", "unknown"))
    whole = f"whole fit {number_format.seconds(run.seconds)}" if run.seconds is not None else "in rounds"
    if record.history:
        tiles.append(("time", number_format.seconds(found.seconds), whole))
    else:
        tiles.append(("time", "-" if run.seconds is None else number_format.seconds(run.seconds), "whole fit"))
    rounds = record.history[-1]["round"] + 1 if record.history else 0
    in_rounds = f"in {rounds:,} round{'s' * (rounds != 1)}" if rounds else "over all rows"
    tiles.append(("passes", f"{record.n_iter:,}", in_rounds))
    tiles.append(("workers", f"{record.n_workers:,}", f"{record.algorithm}, {record.engine}"))
    return tiles


def _tile(name: str, value: str, below: str) -> str:
    return tag("div", tag("dt", text(name)), tag("dd", text(value), tag("small", text(below))))


def warnings(record: FitFacts) -> str:
    """Return the outcome and the warnings of the fit."""
    messages = record.run.warnings
    outcome = paragraph(record.outcome) if record.outcome else ""
    if messages is None:
        return section("end", "Outcome", outcome, paragraph("The warnings of the fit are unknown.", "soft"))
    if not messages:
        return section("end", "Outcome", outcome, paragraph("No warnings.", "soft"))
    items = tag("ul", *(tag("li", text(message)) for message in messages), class_="warnings")
    return section("end", "Outcome", outcome, items)


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
    lines = line_charts.score_lines(record)
    if lines:
        title = "score on the validation rows"
        chart = _line_chart(lines, "passes over the rows", title, f"The {title}")
        parts.append(figure(chart, legend=_legend(lines) if len(lines) > 1 else None))
    return section("scores", "Scores", *parts)


def speedup(record: FitFacts, found: Speedup, plan: TrainingPlan | None = None) -> str:
    """Return the comparison with one worker, and with the plan."""
    parts = []
    if found.serial_seconds is not None:
        parts.append(figure(lambda size: bar_charts.draw_speedup(found, record.n_workers, size)))
    parts += [paragraph(caution, "soft") for caution in found.cautions]
    if record.why:
        parts.append(paragraph(f"Why {record.algorithm}: {record.why}."))
    if plan is not None:
        lines, counts, unit = line_charts.plan_lines(plan)

        def draw(size: str) -> str:
            label = "Predicted times of the plan"
            return line_charts.draw(lines, "workers", f"predicted time, {unit}", label, size, names=counts)

        parts += [paragraph(f"The plan: {plan.why}"), figure(draw, legend=_legend(lines))]
    return section("worth", "Parallel speedup", *parts)


def loss(record: FitFacts) -> str:
    """Return the charts of the training loss over time, passes and rounds."""
    several = len(record.history) > 1
    panes = {}
    for over in ("time", "passes", "rounds") if several else ("passes",):
        lines, title = line_charts.loss_lines(record, over)
        if lines:
            panes[f"over {over}"] = figure(
                _line_chart(lines, title, "training loss", f"The training loss over {over}"),
                legend=_legend(lines) if len(lines) > 1 else None,
            )
    if not panes:
        return ""
    note = "Mean over the rows of a round; the loss of a row is taken before its step."
    if not several:
        note = "Mean over each worker's passes, because the fit had one round. Passes count the rows of all workers."
    return section("loss", "Loss", tabs("loss-over", panes), paragraph(note, "soft"), _rounds_table(record))


def _line_chart(
    lines: Sequence[line_charts.ChartLine], x: str, y: str, label: str, zero: bool = False
) -> Callable[[str], str]:
    return lambda size: line_charts.draw(lines, x, y, label, size, from_zero=zero)


def _legend(lines: Sequence[line_charts.ChartLine]) -> dict[str, str]:
    return {f"s{i}": line.name for i, line in enumerate(lines)}


def _rounds_table(record: FitFacts) -> str:
    entries = line_charts.thinned(record.history, _MAX_ROUNDS)
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
    if not record.accounts:
        return ""
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
    names = ("worker", "steps", "examples", "computing", "waiting", "mean weight")
    lost = [task for entry in record.history for task in entry.get("lost", ())]
    parts = [table("sums over the rounds", names, rows[:_MAX_WORKERS])]
    if len(rows) > _MAX_WORKERS:
        others = table("sums over the rounds, continued", names, rows[_MAX_WORKERS:])
        parts.append(folded(f"The other {len(rows) - _MAX_WORKERS:,} workers", others))
    if lost:
        lost_rows = [(f"worker {task['worker']}", task.get("why", "")) for task in lost[:_MAX_ROUNDS]]
        parts.append(table(f"{len(lost):,} lost tasks", ("worker", "reason"), lost_rows))
    return section("work", "Workers", *parts)


def time(record: FitFacts) -> str:
    """Return the charts of each worker's time and of the rounds."""
    if not record.history:
        return ""
    each = [bar_charts.activities(one) for one in record.accounts]
    sums = {kind: sum(one[kind] for one in each) for kind in bar_charts.KINDS}
    whole = sum(sums.values())
    if not record.all_wait:
        note = paragraph(
            f"Workers continue while the driver merges, {number_format.seconds(record.merging)} in total. They wait for"
            " messages and for a core.",
            "soft",
        )
    elif record.n_workers == 1:
        note = ""
    else:
        note = paragraph(
            "Workers wait for slower workers, for messages, for a core in use by others, and in the first round for"
            " compiled code to load. All are idle while the driver merges.",
            "soft",
        )
    used = {kind: name for kind, name in bar_charts.KINDS.items() if sums[kind] > 0.0}
    rows = [
        (name, number_format.seconds(sums[kind]), number_format.share(sums[kind], whole)) for kind, name in used.items()
    ]
    n = len(record.accounts)
    some = f"The chart shows {bar_charts.MAX_ROWS} of {n:,} workers." if n > bar_charts.MAX_ROWS else ""
    driver = record.all_wait and record.merging + record.checking > 0.0
    gantt = {"merging": "merging, scores and stopping"} if driver else {}
    parts = [
        figure(lambda size: bar_charts.draw_work(record, size), some, used),
        table("sums over all workers", ("activity", "time", "share"), rows),
        note,
        tag("h3", "Timeline of the rounds") if len(record.history) > 1 else "",
        figure(
            lambda size: bar_charts.draw_rounds(record, size),
            some,
            {"computing": "computing", "waiting": "waiting"} | gantt,
        )
        if len(record.history) > 1
        else "",
    ]
    return section("time", "Use of time", *parts)


def weights(record: FitFacts) -> str:
    """Return the chart of the merge weights by round."""
    if record.n_workers == 1 or len(record.history) < 2:
        return ""
    lines = line_charts.weight_lines(record)
    values = [point[1] for line in lines for point in line.points]
    if max(values) - min(values) < _EQUAL_WEIGHTS:
        return section("weights", "Weights", paragraph(f"Every report had the weight {values[0]:.3g} in every merge."))
    chart = _line_chart(lines, "rounds", "merge weight", "The merge weights of the workers", zero=True)
    caption = "The weight of each worker's report in each merge."
    if record.n_workers > line_charts.MAX_LINES:
        caption = "The largest, the median and the smallest weight of a worker in each merge."
    return section("weights", "Weights", figure(chart, caption, _legend(lines)))


def trained(record: FitFacts) -> str:
    """Return the tables of data and parameters."""
    run = record.run
    data = {
        "name": run.data or "unknown",
        "target": run.target,
        "rows": "unknown"
        if record.n_rows is None
        else f"{record.n_rows:,} for training" + (f", {run.test_rows:,} for the test" if run.test_rows else ""),
        "columns": None if run.columns is None else f"{run.columns:,}",
        "features": f"{record.n_features:,} after encoding",
        "classes": _classes(run.classes),
        "algorithm": record.algorithm,
    }
    parts = [facts("data", {name: value for name, value in data.items() if value is not None})]
    if run.encoding:
        parts.append(tag("ul", *(tag("li", text(line)) for line in run.encoding), class_="plain soft"))
    if record.changed:
        parts.append(facts("parameters that differ from the defaults", record.changed, code=True))
    parts.append(folded("All parameters", facts(record.estimator, record.parameters, code=True)))
    return section("trained", "Data and parameters", *parts)


def _classes(classes: Mapping[str, int]) -> str | None:
    if not classes:
        return None
    listed = [f"{name} ({count:,})" for name, count in list(classes.items())[:_MAX_CLASSES]]
    more = f" and {len(classes) - len(listed):,} more" if len(listed) < len(classes) else ""
    return f"{len(classes):,}: {', '.join(listed)}{more}"


def repeat(record: FitFacts) -> str:
    """Return the command, the versions and the machine."""
    run = record.run
    parts = []
    if run.command:
        parts.append(tag("pre", text("parsgd " + shlex.join(run.command))))
    else:
        parts.append(paragraph("The command is unknown: the model was fitted in Python or by an older version."))
    versions = dict(run.versions) or ({"parsgd": record.version} if record.version else {})
    machine = {"processors": None if run.processors is None else f"{run.processors:,}", "platform": run.platform}
    # model files do not keep the order
    order = sorted(versions, key=lambda name: (name not in _FIRST_VERSIONS, name.lower()))
    versions = {name: versions[name] for name in order}
    known = versions | {name: value for name, value in machine.items() if value is not None}
    parts.append(facts("versions and machine", known) if known else paragraph("The versions are unknown."))
    return section("repeat", "Reproduction", *parts)


def all_of(record: FitFacts, found: Speedup, plan: TrainingPlan | None = None) -> str:
    """Return the body of the page."""
    parts = (
        top(record, found),
        scores(record),
        warnings(record),
        speedup(record, found, plan),
        loss(record),
        work(record),
        time(record),
        weights(record),
        trained(record),
        repeat(record),
    )
    return "\n".join(part for part in parts if part)
