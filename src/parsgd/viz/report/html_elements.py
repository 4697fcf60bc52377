"""HTML elements of the page: tables, figures and tabs.  These functions escape their texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from parsgd.viz.report.bar_charts import BarChart
from parsgd.viz.report.line_charts import LineChart
from parsgd.viz.report.svg import tag, text

Chart: TypeAlias = BarChart | LineChart


def paragraph(content: str, class_: str | None = None) -> str:
    """Return a paragraph; text between backticks becomes code.

    >>> paragraph("run `parsgd plan`")
    '<p>run <code>parsgd plan</code></p>'
    """
    parts = text(content).split("`")
    marked = "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
    return tag("p", marked, class_=class_)


def section(name: str, title: str, *parts: str) -> str:
    """Return a section with a heading, or an empty string if it has no parts."""
    inside = "".join(parts)
    if not inside:
        return ""
    return tag("section", tag("h2", text(title), id=name), inside, aria_labelledby=name)


def table(caption: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table; the first column names the rows."""
    head = tag("tr", *(tag("th", text(name), scope="col") for name in header))
    body = [_row(row[0], *map(text, row[1:])) for row in rows]
    inside = tag("caption", text(caption)) + tag("thead", head) + tag("tbody", *body)
    return tag("div", tag("table", inside), class_="scroll", tabindex=0, role="region", aria_label=caption)


def facts(caption: str, values: Mapping[str, Any], code: bool = False) -> str:
    """Return a table of names and values."""
    rows = [_row(name, tag("code", text(value)) if code else text(value)) for name, value in values.items()]
    return tag("table", tag("caption", text(caption)), tag("tbody", *rows), class_="facts")


def _row(name: Any, *cells: str) -> str:
    return tag("tr", tag("th", text(name), scope="row"), *(tag("td", cell) for cell in cells))


def folded(title: str, inside: str) -> str:
    """Return content that opens with a click on its title."""
    return tag("details", tag("summary", text(title)), inside)


def figure(wide: Chart, narrow: Chart | None = None, caption: str = "") -> str:
    """Return a chart in a wide and a narrow size, with its legend; the style sheet shows one size."""
    sizes = {"wide": wide, "narrow": narrow or wide}
    drawn = "".join(tag("div", chart.svg(size), class_=size) for size, chart in sizes.items())
    keys = [tag("li", _key(class_), text(name)) for class_, name in wide.legend.items()]
    listed = tag("ul", *keys, class_="legend") if keys else ""
    return tag("figure", drawn, listed, tag("figcaption", text(caption)) if caption else "")


def _key(class_: str) -> str:
    """Return the symbol of a class for the legend."""
    if class_.startswith("s"):
        drawn, width = tag("path", class_=f"line {class_}", d="M0 6L26 6"), 26
    else:
        drawn, width = tag("rect", class_=class_, width=12, height=12, rx=2), 12
    return tag("svg", drawn, width=width, height=12, aria_hidden="true")


def tabs(name: str, panes: Mapping[str, str]) -> str:
    """Return panes with buttons that work without scripts, or the pane alone if there is one."""
    if len(panes) < 2:
        return "".join(panes.values())
    buttons = ""
    for i, label in enumerate(panes):
        button = tag("input", type="radio", name=name, id=f"{name}-{i}", checked=None if i else "checked")
        buttons += button.removesuffix("</input>") + tag("label", text(label), for_=f"{name}-{i}")
    return tag("div", buttons, *(tag("div", pane, class_="pane") for pane in panes.values()), class_="tabs")
