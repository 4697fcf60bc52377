"""Partition of pieces among workers: whole pieces if the loads are balanced, otherwise parts of pieces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parsgd.data.sources.array_source import part_sizes
from parsgd.data.sources.piece_reader import RowSpan

# Separates the seed of the partition from the seeds of the visiting order.
_PARTITION_SEED = 0xDEA2
# Maximum relative imbalance of whole pieces; data locality may use half of it.
_MAX_IMBALANCE = 0.1


# A span and its index in stored order.
Numbered = tuple[int, RowSpan]


def assign_pieces(spans: Sequence[RowSpan], shares: np.ndarray, seed: int) -> list[list[RowSpan]]:
    """Assign pieces at random to workers, in proportion to ``shares (n_workers,)``; each shard keeps stored order.

    Assign whole pieces, the largest first, to the worker with the lowest relative load. A worker that already has rows
    of the same home takes precedence while its load permits. If loads would be off by more than a tenth, or workers
    outnumber pieces, cut the shuffled pieces at exact row boundaries instead.
    """
    if len(shares) == 1:
        return [list(spans)]
    order = np.random.default_rng((seed, _PARTITION_SEED)).permutation(len(spans))
    shuffled = [(number, spans[number]) for number in map(int, order)]
    parts = _whole(shuffled, shares)
    if parts is None:
        parts = _cut(_by_home(shuffled), shares)
    return [_in_order(part) for part in parts]


def in_stored_order(spans: Sequence[RowSpan], shares: np.ndarray) -> list[list[RowSpan]]:
    """Assign contiguous rows to each worker, in proportion to ``shares``."""
    return [_in_order(part) for part in _cut(list(enumerate(spans)), shares)]


def _in_order(part: list[Numbered]) -> list[RowSpan]:
    return [span for _, span in sorted(part, key=lambda one: (one[0], one[1].first))]


def _whole(shuffled: list[Numbered], shares: np.ndarray) -> list[list[Numbered]] | None:
    """Assign whole pieces; None if the loads would be unbalanced."""
    wanted = shares / shares.sum() * sum(span.n_rows for _, span in shuffled)
    if len(shuffled) < np.count_nonzero(wanted):
        return None
    parts: list[list[Numbered]] = [[] for _ in shares]
    load = np.zeros(len(shares))
    at_home: dict[str, np.ndarray] = {}
    for number, span in sorted(shuffled, key=lambda one: -one[1].n_rows):
        worker = int(np.argmin(_fullness(load + span.n_rows, wanted)))
        if span.piece.home is not None:
            held = at_home.setdefault(span.piece.home, np.zeros(len(shares)))
            # workers with rows of this home and a load that permits more
            near = np.flatnonzero((held > 0) & (load + span.n_rows <= (1 + _MAX_IMBALANCE / 2) * wanted))
            worker = int(near[np.argmax(held[near])]) if len(near) else worker
            held[worker] += span.n_rows
        parts[worker].append((number, span))
        load[worker] += span.n_rows
    return parts if np.all(np.abs(load - wanted) <= _MAX_IMBALANCE * wanted) else None


def _fullness(load: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return np.divide(load, wanted, out=np.full(len(load), np.inf), where=wanted > 0)


def _by_home(shuffled: list[Numbered]) -> list[Numbered]:
    """Group spans by home, otherwise in the given order."""
    homes = list(dict.fromkeys(span.piece.home for _, span in shuffled))
    return sorted(shuffled, key=lambda one: homes.index(one[1].piece.home))


def _cut(spans: list[Numbered], shares: np.ndarray) -> list[list[Numbered]]:
    parts: list[list[Numbered]] = []
    remaining = spans[::-1]
    for size in part_sizes(sum(span.n_rows for _, span in spans), shares):
        part: list[Numbered] = []
        while size > 0:
            number, span = remaining.pop()
            taken = min(size, span.n_rows)
            part.append((number, span.cut(0, taken)))
            if taken < span.n_rows:
                remaining.append((number, span.cut(taken, span.n_rows)))
            size -= taken
        parts.append(part)
    return parts
