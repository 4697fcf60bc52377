"""Sums over rows for the scores of many models, and the order of settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from parsgd.estimators.search.column_block import ColumnBlock
from parsgd.estimators.search.search_rows import SearchRows


def summed(
    rows: SearchRows,
    parts: Sequence[np.ndarray],
    y: np.ndarray,
    block: ColumnBlock,
    models: np.ndarray,
    sums_of: Callable[[ColumnBlock, np.ndarray, np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Sum over the part of the rows that belongs to each model's fold, in one pass over all rows.

    ``parts`` has sorted row numbers for each fold, and ``sums_of`` returns sums ``(n_models, ...)`` from decision
    values and targets.  Returns the sums, and whether all decision values of a model are finite.
    """
    sums: list[Any] = [0] * len(models)
    finite = ~block.diverged()[models]
    for first, x in rows.chunks():
        for fold in np.unique(block.folds[models]):
            begin, end = np.searchsorted(parts[fold], (first, first + x.shape[0]))
            numbers = parts[fold][begin:end]
            if len(numbers) == 0:
                continue
            places = np.flatnonzero(block.folds[models] == fold)
            decision = block.decision(models[places], x[numbers - first])
            finite[places] &= np.isfinite(decision).all(axis=(0, 2))
            with np.errstate(all="ignore"):
                found = sums_of(block, decision, y[numbers])
            for place, each in zip(places, found, strict=True):
                sums[place] = sums[place] + each
    return np.stack(sums), finite


def rank_keys(means: np.ndarray, halved_after: np.ndarray) -> np.ndarray:
    """Return numbers that order settings by how long they stayed, then by their mean score."""
    stayed = np.where(halved_after == 0, np.iinfo(np.int64).max, halved_after)
    keys = np.empty(len(means))
    keys[np.lexsort((means, stayed))] = np.arange(len(means))
    # a setting that diverged is never the best
    return np.where(np.isfinite(means), keys, -1.0)
