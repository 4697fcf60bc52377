"""Charts as SVG text: elements, scales, frames with axes, and marks with tooltips.

The style sheet sets colors and fonts by the class of an element.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

WIDTHS = {"wide": 660, "narrow": 340}
_CHARACTER_WIDTH = 6.6  # mean width of a character of a tick label, in pixels


def tag(name: str, /, *children: str, **attributes: Any) -> str:
    """Return an element; children are markup, attributes are escaped.

    In attribute names a trailing underscore is dropped and others become hyphens: ``class_``, ``data_tip``.

    >>> tag("text", "a", class_="tick", x=1.23456, data_tip='"<"')
    '<text class="tick" x="1.23" data-tip="&quot;&lt;&quot;">a</text>'
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    written = "".join(f' {key}="{_written(value)}"' for key, value in given.items())
    return f"<{name}{written}>{''.join(children)}</{name}>"


def text(value: Any) -> str:
    """Return escaped text.

    >>> text("a < b")
    'a &lt; b'
    """
    return html.escape(str(value), quote=True)


def _written(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return text(value)


def mark(name: str, tip: str, /, class_: str, **attributes: Any) -> str:
    """Return an element that shows ``tip`` on hover, tap or keyboard focus."""
    return tag(name, class_=f"mark {class_}", data_tip=tip, aria_label=tip, role="img", **attributes)


def ticks(low: float, high: float, limit: int = 5) -> list[float]:
    """Return round numbers from ``low`` to ``high``, about ``limit`` at most.

    >>> ticks(0.0, 1.0), ticks(0, 37, 4)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 10.0, 20.0, 30.0])
    """
    span = high - low
    if not (math.isfinite(span) and span > 0.0):
        return [low]
    raw = span / limit
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(step * i, 12) + 0.0 for i in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic map from values to pixels: ``low`` to ``start``, ``high`` to ``end``.

    >>> Scale(0.0, 2.0, 0.0, 100.0)(0.5)
    25.0
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self._transform(self.low), self._transform(self.high)
        fraction = (self._transform(value) - low) / (high - low) if high > low else 0.5
        return self.start + fraction * (self.end - self.start)

    def _transform(self, value: float) -> float:
        return math.log10(max(value, 1e-300)) if self.log else value

    def ticks(self, limit: int = 5) -> list[float]:
        """Return the values of the tick labels, about ``limit`` at most."""
        if not self.log:
            return ticks(self.low, self.high, limit)
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        every = max(1, math.ceil(len(powers) / limit))
        factors = (1, 2, 5) if len(powers) <= 3 else (1,)
        found = [float(f"{f}e{p}") for p in powers[::every] for f in factors]
        return [value for value in found if self.low * 0.999 <= value <= self.high * 1.001]


@dataclass
class Frame:
    """A chart with scales, axes with titles, and drawn elements.

    ``rows`` are labels that replace the y axis, from the top.
    """

    width: int
    height: int
    x: tuple[float, float]
    y: tuple[float, float]
    x_title: str
    y_title: str = ""
    rows: Sequence[str] = ()
    log_y: bool = False
    x_text: Callable[[float], str] = "{:.6g}".format
    x_ticks: Sequence[float] | None = None
    drawn: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.y_ticks: list[float] = [] if self.rows else Scale(*self.y, 0, 1, self.log_y).ticks(5)
        labels = [*self.rows, *(f"{value:.6g}" for value in self.y_ticks)]
        self.left: float = 12 + _CHARACTER_WIDTH * max((len(label) for label in labels), default=0)
        self.top = 26 if self.y_title else 8
        self.bottom: int = self.height - 40
        self.sx: Scale = Scale(*self.x, self.left, self.width - 14)
        self.sy: Scale = Scale(*self.y, self.bottom, self.top, self.log_y)

    def add(self, *elements: str) -> None:
        """Add elements above the others."""
        self.drawn += elements

    def svg(self, label: str) -> str:
        """Return the chart as SVG; ``label`` is the text for screen readers."""
        box = f"0 0 {self.width} {self.height}"
        size = {"viewBox": box, "width": self.width, "height": self.height}
        return tag("svg", self._axes(), *self.drawn, **size, role="group", aria_label=label)

    def _axes(self) -> str:
        right, x_ticks = self.sx.end, self.x_ticks
        if x_ticks is None:
            x_ticks = self.sx.ticks(max(2, self.width // 90))
        parts = []
        for y, label in ((self.sy(value), f"{value:.6g}") for value in self.y_ticks):
            parts.append(tag("line", class_="grid", x1=self.left, x2=right, y1=y, y2=y))
            parts.append(tag("text", label, class_="tick end", x=self.left - 6, y=y + 4))
        for x, label in ((self.sx(value), self.x_text(value)) for value in x_ticks):
            parts.append(tag("line", class_="grid", x1=x, x2=x, y1=self.top, y2=self.bottom))
            parts.append(tag("text", text(label), class_="tick middle", x=x, y=self.bottom + 16))
        parts.append(tag("line", class_="axis", x1=self.left, x2=right, y1=self.bottom, y2=self.bottom))
        parts.append(tag("text", text(self.x_title), class_="title end", x=right, y=self.height - 6))
        if self.y_title:
            parts.append(tag("text", text(self.y_title), class_="title", x=2.0, y=14.0))
        return tag("g", *parts, aria_hidden="true")


def path(points: Sequence[tuple[float, float]]) -> str:
    """Return points joined by lines, as the ``d`` attribute of a path.

    >>> path([(0, 1), (2.5, 3)])
    'M0 1L2.5 3'
    """
    return "M" + "L".join(f"{_written(float(x))} {_written(float(y))}" for x, y in points)
