"""Format numbers, times and scores for terminals, plots and the report page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

SCORES = {
    "accuracy": "accuracy",
    "log_loss": "log-loss",
    "rows_of_unknown_class": "rows of a class unknown to the model (counted as wrong)",
    "r2": "R²",
    "rmse": "RMSE",
    "inliers": "fraction of inliers",
}


def seconds(value: float) -> str:
    """Format a time with three digits, in the unit that suits its size.

    >>> seconds(0.0000042), seconds(0.0421), seconds(2.5), seconds(75), seconds(7260), seconds(0)
    ('4.2 µs', '42.1 ms', '2.5 s', '75 s', '2 h 1 min', '0 s')
    """
    if value >= 120:
        return duration(value)
    unit, size = unit_of(value)
    return f"{value / size:.3g} {unit}"


def span(low: float, high: float) -> str:
    """Format an interval of times in the unit of its upper end.

    >>> span(0.0421, 0.06), span(0.9, 1.5), span(100, 130)
    ('42.1 to 60 ms', '0.9 to 1.5 s', '100 s to 2 min 10 s')
    """
    if high >= 120:
        return f"{seconds(low)} to {seconds(high)}"
    unit, size = unit_of(high)
    return f"{low / size:.3g} to {high / size:.3g} {unit}"


def duration(value: float) -> str:
    """Format a time in seconds, minutes or hours, with the few digits that a running fit needs.

    >>> duration(0.0421), duration(75), duration(7260)
    ('0.042 s', '1 min 15 s', '2 h 1 min')
    """
    if value < 60:
        return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"
    if value < 3600:
        return f"{value // 60:.0f} min {value % 60:.0f} s"
    return f"{value // 3600:.0f} h {value % 3600 // 60:.0f} min"


def unit_of(value: float) -> tuple[str, float]:
    """Return the unit of an axis up to ``value`` seconds, and its size in seconds.

    >>> unit_of(0.02)
    ('ms', 0.001)
    """
    if value >= 1.0 or value <= 0.0:
        return ("min", 60.0) if value >= 600 else ("s", 1.0)
    return ("ms", 1e-3) if value >= 1e-4 else ("µs", 1e-6)


def number(value: float | None) -> str:
    """Format a number in few digits; None and NaN give a dash.

    >>> number(0.123456), number(1797), number(12345.6), number(None)
    ('0.1235', '1,797', '12,346', '-')
    """
    if value is None or not math.isfinite(value):
        return "-" if value is None or math.isnan(value) else f"{value}"
    if isinstance(value, int) or abs(value) >= 10000:
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.4g}"
    return f"{value:.4g}"


def score(value: float) -> str:
    """Format a score or a count.

    >>> score(0.975), score(1234.5), score(3000)
    ('0.9750', '1,234.5', '3,000')
    """
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.6g}"


def scores(values: Mapping[str, float]) -> str:
    """Format scores by name in one line.

    >>> scores({"accuracy": 0.975, "log_loss": 0.1})
    'accuracy 0.9750, log-loss 0.1000'
    """
    return ", ".join(f"{SCORES[name]} {score(value)}" for name, value in values.items())


def share(part: float, whole: float) -> str:
    """Format a part of a whole in percent.

    >>> share(1, 3), share(0, 0)
    ('33 %', '0 %')
    """
    return f"{100 * part / whole if whole else 0:.0f} %"


def workers(count: int) -> str:
    """Format a number of workers.

    >>> workers(1), workers(2)
    ('1 worker', '2 workers')
    """
    return f"{count:,} worker{'s' * (count != 1)}"


def without_nan(value: Any) -> Any:
    """Replace NaN and infinity by None, also inside dicts, lists and tuples, for strict JSON.

    >>> without_nan({"loss": float("nan"), "counts": (1, 2.5)})
    {'loss': None, 'counts': [1, 2.5]}
    """
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def setting_name(setting: Mapping[str, Any]) -> str:
    """Return the name of a setting of a search.

    >>> setting_name({"alpha": 0.0001, "penalty": "l1"})
    'alpha=0.0001, penalty=l1'
    """
    texts = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in setting.items()}
    return ", ".join(f"{name}={text}" for name, text in texts.items()) or "the only setting"
