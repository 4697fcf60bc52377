"""The settings of a search: all combinations of the values that were given."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parsgd.errors import InvalidArgumentError, choose
from parsgd.estimators.validation.param_validation import is_real


@dataclass(frozen=True)
class Setting:
    """One combination; ``varied`` has the parameters, by the names of ``SGDClassifier``, whose values differ."""

    loss: str
    penalty: str | None
    alpha: float
    l1_ratio: float
    eta0: float
    class_weight: Any
    varied: Mapping[str, Any]

    @property
    def l1_share(self) -> float:
        """Share of the penalty that is l1."""
        return {"l2": 0.0, "l1": 1.0, "elasticnet": self.l1_ratio, None: 0.0}[self.penalty]


def check_values(values: Any, name: str, owner: str) -> list[Any]:
    """Return the values of a parameter as a list; raise unless they are a sequence of distinct values."""
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, (Sequence, np.ndarray)):
        raise InvalidArgumentError(
            f"The {name!r} parameter of {owner} must be a sequence of values to try. Got {values!r} instead; for one"
            f" value pass [{values!r}]."
        )
    found = [value.item() if isinstance(value, np.generic) else value for value in values]
    if not found:
        raise InvalidArgumentError(f"The {name!r} parameter of {owner} is empty; give at least one value to try.")
    for position, value in enumerate(found):
        if value in found[:position]:
            raise InvalidArgumentError(f"The {name!r} parameter of {owner} has {value!r} twice; give each value once.")
    return found


def check_numbers(
    values: Any, name: str, owner: str, low: float, high: float = np.inf, above: bool = False
) -> list[float]:
    """Return finite numbers from ``low`` to ``high``; larger than ``low`` if ``above``."""
    found = check_values(values, name, owner)
    for value in found:
        if not (is_real(value) and np.isfinite(value) and low <= value <= high and not (above and value == low)):
            interval = f"{'(' if above else '['}{low:g}, {high:g}{']' if np.isfinite(high) else ')'}"
            raise InvalidArgumentError(
                f"The {name!r} parameter of {owner} must have numbers in {interval}. Got {value!r} in it."
            )
    return [float(value) for value in found]


def make_settings(search: Any, losses: Sequence[str]) -> list[Setting]:
    """Return all combinations of the values of an estimator; ``losses`` are the names that it accepts."""
    owner = type(search).__name__
    names = check_values(search.losses, "losses", owner)
    for name in names:
        choose(name, losses, "losses", owner)
    penalties = check_values(search.penalties, "penalties", owner)
    for penalty in penalties:
        if penalty is not None:
            choose(penalty, ("l2", "l1", "elasticnet"), "penalties", owner)
    alphas = check_numbers(search.alphas, "alphas", owner, 0.0)
    ratios = check_numbers(search.l1_ratios, "l1_ratios", owner, 0.0, 1.0)
    if search.learning_rate == "optimal":
        if search.etas is not None:
            raise InvalidArgumentError(
                f"The 'etas' parameter of {owner} has no effect with learning_rate='optimal', whose rate follows from"
                " alpha. Use etas=None or another learning_rate."
            )
        if 0.0 in alphas:
            raise InvalidArgumentError(
                f"The 'alphas' parameter of {owner} has 0, and learning_rate='optimal' divides by alpha. Use positive"
                " values or another learning_rate."
            )
        etas = [0.01]
    else:
        etas = check_numbers(search.etas if search.etas is not None else search._etas, "etas", owner, 0.0, above=True)
    weights = [None]
    if getattr(search, "class_weights", None) is not None:
        weights = check_values(search.class_weights, "class_weights", owner)
    settings = []
    for loss, penalty, weight, alpha, eta0 in itertools.product(names, penalties, weights, alphas, etas):
        # without a penalty alpha changes nothing but the optimal schedule
        if penalty is None and search.learning_rate != "optimal" and alpha != alphas[0]:
            continue
        for ratio in ratios if penalty == "elasticnet" else ratios[:1]:
            values = {"loss": loss, "penalty": penalty, "alpha": alpha, "l1_ratio": ratio, "eta0": eta0}
            tried = {"loss": names, "penalty": penalties, "alpha": alphas, "l1_ratio": ratios, "eta0": etas}
            varied = {name: value for name, value in values.items() if len(tried[name]) > 1}
            if len(weights) > 1:
                varied["class_weight"] = weight
            settings.append(Setting(loss, penalty, alpha, ratio, eta0, weight, varied))
    return settings
