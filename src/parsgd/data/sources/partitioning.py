"""Which worker gets which pieces: whole ones where that is fair, and otherwise parts of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parsgd.data.sources.array_source import part_sizes
from parsgd.data.sources.piece_reader import RowSpan

# Sets the seed of dealing pieces apart from the seeds of visiting them.
_DEALING = 0xDEA2
# Shares of whole pieces may be so far from what they should be; more rows of one home are taken up to half of it.
_UNFAIR = 0.1


# A span, and its number in stored order.
Numbered = tuple[int, RowSpan]


def assign_pieces(spans: Sequence[RowSpan], shares: np.ndarray, seed: int) -> list[list[RowSpan]]:
    """Pieces dealt at random to workers, in proportion to ``shares (n_workers,)``; each keeps stored order.

    Whole pieces, the largest first, each to the worker that lacks most, or to one that has rows of the same home and
    room for more.  Where loads would be off by more than a tenth, or workers outnumber pieces, the pieces in random
    order are cut at exact row borders instead.
    """
    if len(shares) == 1:
        return [list(spans)]
    order = np.random.default_rng((seed, _DEALING)).permutation(len(spans))
    shuffled = [(int(number), spans[number]) for number in order]
    parts = _whole(shuffled, shares)
    if parts is None:
        parts = _cut(_by_home(shuffled), shares)
    return [_plain(part) for part in parts]


def in_stored_order(spans: Sequence[RowSpan], shares: np.ndarray) -> list[list[RowSpan]]:
    """Rows that lie together to each worker, in proportion to ``shares``."""
    return [_plain(part) for part in _cut(list(enumerate(spans)), shares)]


def _plain(part: list[Numbered]) -> list[RowSpan]:
    return [span for _, span in sorted(part, key=lambda one: (one[0], one[1].first))]


def _whole(shuffled: list[Numbered], shares: np.ndarray) -> list[list[Numbered]] | None:
    """None if whole pieces cannot be dealt fairly."""
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
            # those that have rows from there, and room for these
            near = np.flatnonzero((held > 0) & (load + span.n_rows <= (1 + _UNFAIR / 2) * wanted))
            worker = int(near[np.argmax(held[near])]) if len(near) else worker
            held[worker] += span.n_rows
        parts[worker].append((number, span))
        load[worker] += span.n_rows
    return parts if np.all(np.abs(load - wanted) <= _UNFAIR * wanted) else None


def _fullness(load: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return np.divide(load, wanted, out=np.full(len(load), np.inf), where=wanted > 0)


def _by_home(shuffled: list[Numbered]) -> list[Numbered]:
    """In the given order, but what lies in one place comes together."""
    homes = list(dict.fromkeys(span.piece.home for _, span in shuffled))
    return sorted(shuffled, key=lambda one: homes.index(one[1].piece.home))


def _cut(spans: list[Numbered], shares: np.ndarray) -> list[list[Numbered]]:
    parts: list[list[Numbered]] = []
    waiting = spans[::-1]
    for size in part_sizes(sum(span.n_rows for _, span in spans), shares):
        part: list[Numbered] = []
        while size > 0:
            number, span = waiting.pop()
            taken = min(size, span.n_rows)
            part.append((number, span.cut(0, taken)))
            if taken < span.n_rows:
                waiting.append((number, span.cut(taken, span.n_rows)))
            size -= taken
        parts.append(part)
    return parts
