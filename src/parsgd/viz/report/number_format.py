"""Numbers as a page says them."""

from __future__ import annotations

import math

SCORES = {
    "accuracy": "accuracy",
    "log_loss": "log-loss",
    "rows_of_unknown_class": "rows of a class unknown to the model",
    "r2": "R²",
    "rmse": "RMSE",
    "inliers": "share taken as inliers",
}


def seconds(value: float) -> str:
    """A time in the unit that fits it, three digits of it.

    >>> seconds(0.00042), seconds(2.5), seconds(75), seconds(7260), seconds(0)
    ('0.42 ms', '2.5 s', '75 s', '2 h 1 min', '0 s')
    """
    if value >= 7200:
        return f"{value // 3600:.0f} h {value % 3600 // 60:.0f} min"
    if value >= 120:
        return f"{value // 60:.0f} min {value % 60:.0f} s"
    unit, size = unit_of(value)
    return f"{value / size:.3g} {unit}"


def unit_of(value: float) -> tuple[str, float]:
    """The unit of an axis up to ``value`` seconds, and how many seconds it is.

    >>> unit_of(0.02)
    ('ms', 0.001)
    """
    if value >= 1.0 or value <= 0.0:
        return ("min", 60.0) if value >= 600 else ("s", 1.0)
    return ("ms", 1e-3) if value >= 1e-4 else ("µs", 1e-6)


def number(value: float | None) -> str:
    """A number in few digits; a dash for one that there is not.

    >>> number(0.123456), number(1797), number(12345.6), number(None)
    ('0.1235', '1,797', '12,346', '-')
    """
    if value is None or not math.isfinite(value):
        return "-" if value is None or math.isnan(value) else f"{value}"
    if isinstance(value, int) or abs(value) >= 10000:
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.4g}"
    return f"{value:.4g}"


def share(part: float, whole: float) -> str:
    """A part of a whole in percent.

    >>> share(1, 3), share(0, 0)
    ('33 %', '0 %')
    """
    return f"{100 * part / whole if whole else 0:.0f} %"


def workers(count: int) -> str:
    """
    >>> workers(1), workers(2)
    ('1 worker', '2 workers')
    """
    return f"{count:,} worker{'s' * (count != 1)}"
