"""The table of a search's results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from parsgd.errors import InvalidArgumentError
from parsgd.estimators.search.column_search import SearchResult
from parsgd.estimators.search.search_grid import Setting


def finite_or_worst(scores: np.ndarray) -> np.ndarray:
    """Replace NaN by minus infinity, the score of a model that has diverged."""
    return np.where(np.isnan(scores), -np.inf, scores)


def cv_results(
    settings: Sequence[Setting], names: Sequence[str], result: SearchResult
) -> tuple[dict[str, Any], np.ndarray]:
    """Return ``cv_results_`` with the parameters ``names``, and numbers ``(n_settings,)`` whose largest is the best.

    Raises InvalidArgumentError if all settings have diverged.
    """
    scores = finite_or_worst(result.scores)
    finite = np.isfinite(scores).all(axis=1)
    means = np.where(finite, scores.mean(axis=1), -np.inf)
    if not np.isfinite(means).any():
        raise InvalidArgumentError(
            "All settings diverged. Give smaller etas, larger alphas (with learning_rate='optimal'), or scale the"
            " features."
        )
    # a setting that was dropped is worse than all that stayed longer
    order = means if not result.halved_after.any() else _rank_keys(means, result.halved_after)
    found: dict[str, Any] = {"params": [dict(setting.varied) for setting in settings]}
    for name in names:
        if any(name in setting.varied for setting in settings):
            column = np.ma.masked_all(len(settings), dtype=object)
            column[:] = [setting.varied.get(name) for setting in settings]
            found[f"param_{name}"] = column
    for fold in range(scores.shape[1]):
        found[f"split{fold}_test_score"] = scores[:, fold]
    found["mean_test_score"] = means
    with np.errstate(invalid="ignore"):
        found["std_test_score"] = np.where(finite, scores.std(axis=1), np.nan)
    found["rank_test_score"] = rankdata(-order, method="min").astype(np.int32)
    found["n_iter"] = result.n_iter.mean(axis=1)
    found["halved_after"] = result.halved_after
    return found, order


def _rank_keys(means: np.ndarray, halved_after: np.ndarray) -> np.ndarray:
    """Return numbers that order settings by how long they stayed, then by their mean score."""
    stayed = np.where(halved_after == 0, np.iinfo(np.int64).max, halved_after)
    keys = np.empty(len(means))
    keys[np.lexsort((means, stayed))] = np.arange(len(means))
    # a setting that diverged is never the best
    return np.where(np.isfinite(means), keys, -1.0)
