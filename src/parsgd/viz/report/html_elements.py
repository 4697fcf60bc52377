"""HTML elements of the page: tables, figures and tabs.  These functions escape their texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from parsgd.viz.report.svg import WIDTHS, tag, text


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
    body = [
        tag("tr", tag("th", text(row[0]), scope="row"), *(tag("td", text(value)) for value in row[1:])) for row in rows
    ]
    inside = tag("caption", text(caption)) + tag("thead", head) + tag("tbody", *body)
    return tag("div", tag("table", inside), class_="scroll", tabindex=0, role="region", aria_label=caption)


def facts(caption: str, values: Mapping[str, Any], code: bool = False) -> str:
    """Return a table of names and values."""
    rows = [
        tag("tr", tag("th", text(name), scope="row"), tag("td", tag("code", text(value)) if code else text(value)))
        for name, value in values.items()
    ]
    return tag("table", tag("caption", text(caption)), tag("tbody", *rows), class_="facts")


def folded(title: str, inside: str) -> str:
    """Return content that opens with a click on its title."""
    return tag("details", tag("summary", text(title)), inside)


def figure(draw: Callable[[str], str], caption: str = "", legend: Mapping[str, str] | None = None) -> str:
    """Return a chart in a wide and a narrow size; the style sheet shows one.  ``legend`` maps classes to names."""
    sizes = "".join(tag("div", draw(size), class_=size) for size in WIDTHS)
    keys = [tag("li", _key(class_), text(name)) for class_, name in (legend or {}).items()]
    listed = tag("ul", *keys, class_="legend") if keys else ""
    return tag("figure", sizes, listed, tag("figcaption", text(caption)) if caption else "")


def _key(class_: str) -> str:
    """Return the symbol of a class for the legend."""
    if class_.startswith("s"):
        drawn = tag("path", class_=f"line {class_}", d="M0 6L26 6")
        return tag("svg", drawn, width=26, height=12, aria_hidden="true")
    return tag("svg", tag("rect", class_=class_, width=12, height=12, rx=2), width=12, height=12, aria_hidden="true")


def tabs(name: str, panes: Mapping[str, str]) -> str:
    """Return panes with buttons that work without scripts, or the pane alone if there is one."""
    if len(panes) < 2:
        return "".join(panes.values())
    buttons = "".join(
        tag("input", type="radio", name=name, id=f"{name}-{i}", checked="checked" if i == 0 else None).removesuffix(
            "</input>"
        )
        + tag("label", text(label), for_=f"{name}-{i}")
        for i, label in enumerate(panes)
    )
    return tag("div", buttons, *(tag("div", pane, class_="pane") for pane in panes.values()), class_="tabs")
