"""Column statistics learned before a fit: means and scales from a sample, vocabularies from all rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from parsgd.data.columns.arrow_values import located, texts_in
from parsgd.data.columns.column_kinds import Kind, Numeric, OneHot
from parsgd.data.columns.encoder import PassThroughEncoder
from parsgd.data.contracts import reread
from parsgd.errors import DataFileError

# Sample size: at most this many evenly spaced pieces, and this many rows per piece.
_SAMPLE_PIECES, _SAMPLE_ROWS = 32, 8192
# Maximum number of sampled values; a median holds all of them in memory.
_SAMPLE_VALUES = 1 << 26
_MOST_CATEGORIES = 100_000


def learned(kinds: Sequence[Kind], pieces: Sequence[Any]) -> tuple[Kind, ...]:
    """Fill in the missing statistics of the kinds from ``pieces``, read with :class:`PassThroughEncoder`.

    Means, medians, standard deviations and ranges use all rows if there are at most 262,144. Otherwise they use at most
    8,192 rows of each of at most 32 evenly spaced pieces, always the same ones. Vocabularies take one pass over all
    rows, reading these columns only.
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
    """Yield ``(name, batch)`` of the pieces of a table, for all rows or a sample."""
    full = [piece for piece in pieces if piece.n_rows]
    most = max(min(_SAMPLE_ROWS, _SAMPLE_VALUES // _SAMPLE_PIECES // max(len(encoder.columns), 1)), 1)
    sample = sample and sum(piece.n_rows for piece in full) > _SAMPLE_PIECES * most
    if sample and len(full) > _SAMPLE_PIECES:
        full = [full[i] for i in np.linspace(0, len(full) - 1, _SAMPLE_PIECES).astype(int)]
    for piece in full:
        rows = 0
        for chunk in reread(piece, encoder=encoder, target=None, weight=None).chunks():
            yield piece.name, chunk.x.slice(0, most - rows) if sample else chunk.x
            rows += chunk.x.num_rows
            if sample and rows >= most:
                break


class _Moments:
    """Means, medians, standard deviations and ranges of numeric columns, over the values present."""

    def __init__(self, kind: Numeric):
        n = kind.width
        self.kind, self.count, self.gaps = kind, np.zeros(n), np.zeros(n)
        self.mean, self.squares = np.zeros(n), np.zeros(n)
        self.low, self.high = np.full(n, np.inf), np.full(n, -np.inf)
        # a median needs all values
        self.held: list[list[np.ndarray]] | None = [[] for _ in range(n)] if kind.missing == "median" else None

    def see(self, batch: Any) -> None:
        for i, name in enumerate(self.kind.names):
            values = self.kind.values(batch.column(name), i).astype(np.float64)
            known = values[np.isfinite(values)]
            self.gaps[i] += len(values) - known.size
            if not known.size:
                continue
            if self.held is not None:
                self.held[i].append(known)
            self._add(i, known.size, known.mean(), np.sum((known - known.mean()) ** 2))
            self.low[i], self.high[i] = min(self.low[i], known.min()), max(self.high[i], known.max())

    def _add(self, i: int, count: float, mean: float, squares: float) -> None:
        # Chan, Golub, LeVeque: update of the sum of squared deviations from the mean
        total, apart = self.count[i] + count, mean - self.mean[i]
        self.squares[i] += squares + apart**2 * self.count[i] * count / total
        self.mean[i] += apart * count / total
        self.count[i] = total

    def done(self) -> Numeric:
        kind, changes = self.kind, {}
        seen = self.count > 0
        if isinstance(kind.missing, str) and kind.fill is None:
            fill = self.mean
            if self.held is not None:
                fill = np.array([np.median(np.concatenate(held)) if held else 0.0 for held in self.held])
                # filled values count in the mean and the standard deviation
                for i in np.flatnonzero(self.gaps):
                    self._add(int(i), self.gaps[i], fill[i], 0.0)
            changes["fill"] = _floats(fill)
        if kind.scale is not None and kind.divisor is None:
            low, high = np.where(seen, self.low, 0.0), np.where(seen, self.high, 1.0)
            spread = np.sqrt(self.squares / np.maximum(self.count, 1))
            center, divisor = (self.mean, spread) if kind.scale == "standard" else (low, high - low)
            # constant column: do not amplify rounding errors
            divisor = np.where(divisor <= 1e-12 * np.maximum(1.0, np.abs(center)), 1.0, divisor)
            changes |= {"center": _floats(center), "divisor": _floats(divisor)}
        return replace(kind, **changes)


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


class _Vocabulary:
    """Row counts of the texts of a column."""

    def __init__(self, kind: OneHot):
        self.kind, self.counts, self.missing = kind, Counter(), False

    def see(self, batch: Any) -> None:
        codes, texts = texts_in(batch.column(self.kind.name), self.kind.name)
        used, counts = np.unique(codes, return_counts=True)
        for code, count in zip(used.tolist(), counts.tolist(), strict=True):
            if code >= 0:
                self.counts[texts[code]] += count
            else:
                self.missing = True
        if self.kind.max_categories is None and len(self.counts) > _MOST_CATEGORIES:
            raise DataFileError(
                f"Column {self.kind.name!r} has more than {_MOST_CATEGORIES:,} categories, too many for a feature"
                f" each. Declare it as HashedCategories([{self.kind.name!r}])."
            )

    def done(self) -> OneHot:
        kind, kept = self.kind, list(self.counts)
        missing = ("indicator" if self.missing else "ignore") if kind.missing == "seen" else kind.missing
        own, most, other = missing == "indicator", kind.max_categories, kind.other
        if most is not None and len(kept) + own > most:
            ranked = sorted(kept, key=lambda text: (-self.counts[text], text))
            kept, other = ranked[: max(1, most - 1 - own)], "indicator"
        return replace(kind, vocabulary=tuple(sorted(kept)), missing=missing, other=other)
