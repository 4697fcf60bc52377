"""What columns learn from the data before a fit: means and scales from a sample, vocabularies from all rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from parsgd.data.columns.arrow_values import located, numbers_in, texts_in
from parsgd.data.columns.column_kinds import Kind, Numeric, OneHot
from parsgd.data.columns.encoder import PassThroughEncoder
from parsgd.data.subsets import reread
from parsgd.errors import DataFileError

# A sample is so many pieces, spread evenly, and no more than so many rows of each.
_SAMPLE_PIECES, _SAMPLE_ROWS = 32, 8192
_MOST_CATEGORIES = 100_000


def learned(kinds: Sequence[Kind], pieces: Sequence[Any]) -> tuple[Kind, ...]:
    """The kinds with what they lack, seen in ``pieces``, which are read with the encoder :class:`PassThroughEncoder`.

    Means, deviations and ranges come from at most 8,192 rows of each of at most 32 pieces, evenly spread, which are
    always the same ones.  Vocabularies take a pass over all rows, of these columns only.
    """
    kinds = list(kinds)
    for what, see in (("sample", _Moments), ("all", _Vocabulary)):
        lacking = [i for i, kind in enumerate(kinds) if kind.lacks == what]
        learners = [see(kinds[i]) for i in lacking]
        if not learners:
            continue
        names = tuple(dict.fromkeys(name for i in lacking for name in kinds[i].names))
        texts = names if what == "all" else ()
        for name, batch in batches(pieces, PassThroughEncoder(names, texts), sample=what == "sample"):
            try:
                for learner in learners:
                    learner.see(batch)
            except DataFileError as error:
                raise located(error, name, 0) from error
        for i, learner in zip(lacking, learners, strict=True):
            kinds[i] = learner.done()
    return tuple(kinds)


def batches(pieces: Sequence[Any], encoder: PassThroughEncoder, sample: bool) -> Iterable[tuple[str, Any]]:
    """``(name, batch)`` of the pieces of a table, of all rows or of a sample."""
    full = [piece for piece in pieces if piece.n_rows]
    if sample and len(full) > _SAMPLE_PIECES:
        full = [full[i] for i in np.linspace(0, len(full) - 1, _SAMPLE_PIECES).astype(int)]
    for piece in full:
        rows = 0
        for chunk in reread(piece, encoder=encoder, target=None, weight=None).chunks():
            yield piece.name, chunk.x
            rows += chunk.x.num_rows
            if sample and rows >= _SAMPLE_ROWS:
                break


class _Moments:
    """Counts, means, squared deviations and ranges of columns of numbers, over the values that are there."""

    def __init__(self, kind: Numeric):
        n = kind.width
        self.kind, self.count = kind, np.zeros(n)
        self.mean, self.squares = np.zeros(n), np.zeros(n)
        self.low, self.high = np.full(n, np.inf), np.full(n, -np.inf)

    def see(self, batch: Any) -> None:
        for i, name in enumerate(self.kind.names):
            values = numbers_in(batch.column(name), name).astype(np.float64)
            values = values[np.isfinite(values)]
            if not values.size:
                continue
            # Chan, Golub, LeVeque: sums of squares around the mean of all so far
            total, mean = self.count[i] + values.size, values.mean()
            apart = mean - self.mean[i]
            self.squares[i] += np.sum((values - mean) ** 2) + apart**2 * self.count[i] * values.size / total
            self.mean[i] += apart * values.size / total
            self.count[i] = total
            self.low[i], self.high[i] = min(self.low[i], values.min()), max(self.high[i], values.max())

    def done(self) -> Numeric:
        kind, changes = self.kind, {}
        seen = self.count > 0
        if kind.missing == "mean" and kind.fill is None:
            changes["fill"] = _floats(self.mean)
        if kind.scale is not None and kind.divisor is None:
            low, high = np.where(seen, self.low, 0.0), np.where(seen, self.high, 1.0)
            spread = np.sqrt(self.squares / np.maximum(self.count, 1))
            center, divisor = (self.mean, spread) if kind.scale == "standard" else (low, high - low)
            # a column that does not vary: rounding must not be blown up into signal
            divisor = np.where(divisor <= 1e-12 * np.maximum(1.0, np.abs(center)), 1.0, divisor)
            changes |= {"center": _floats(center), "divisor": _floats(divisor)}
        return replace(kind, **changes)


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


class _Vocabulary:
    """All different texts of a column."""

    def __init__(self, kind: OneHot):
        self.kind, self.texts = kind, set()

    def see(self, batch: Any) -> None:
        codes, texts = texts_in(batch.column(self.kind.name), self.kind.name)
        used = np.unique(codes[codes >= 0])
        self.texts.update(texts[code] for code in used)
        if len(self.texts) > _MOST_CATEGORIES:
            raise DataFileError(
                f"Column {self.kind.name!r} has more than {_MOST_CATEGORIES:,} categories, too many for a feature"
                f" each. Declare it as HashedCategories([{self.kind.name!r}])."
            )

    def done(self) -> OneHot:
        return replace(self.kind, vocabulary=tuple(sorted(self.texts)))
