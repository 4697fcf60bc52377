"""Held-out rows: the same rows of a file for a seed, whether it is loaded or streamed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from parsgd.cli.tables.read_data import Data
from parsgd.data.dataset import Dataset
from parsgd.data.sources.part_piece import labeled_part
from parsgd.data.targets import targets_only
from parsgd.errors import DataFileError


def divide(data: Data, task: str, fraction: float, seed: int) -> tuple[Data, Data, np.ndarray]:
    """Return the remaining data, the held-out data, and the mask ``(n_rows,)`` of held-out rows.

    Classes have equal fractions in both parts, if every class has two rows and both parts have a row per class.  With
    more than 100,000 classes, the rows are drawn regardless of them.  Raises DataFileError if there are too few rows.
    """
    n_rows = data.n_rows
    n_test = round(n_rows * fraction)
    if n_test < 1 or n_rows - n_test < 2:
        raise DataFileError(
            f"{data.name}: {n_rows} rows are too few for a test set of {fraction:.0%}."
            " Use more rows, or --test-fraction 0."
        )
    sizes = [piece.n_rows for piece in data.dataset.pieces]
    counts, labels = np.array([n_rows]), None
    if task == "classes":
        targets = data.of_targets(task)
        found = targets.targets()
        if found.values is not None and found.counts.min() >= 2 and min(n_test, n_rows - n_test) >= len(found.values):
            counts = found.counts
            chunks = (chunk for piece in targets.pieces for chunk in targets_only(piece).chunks())
            labels = (np.searchsorted(found.values, chunk.y) for chunk in chunks)
    mask = draw(labels or (np.zeros(size, dtype=int) for size in sizes), counts, n_test, seed)
    ends = np.cumsum(sizes)[:-1]
    rest, held = (replace(data, dataset=_selected(data.dataset, np.split(part, ends))) for part in (~mask, mask))
    return rest, held, mask


def draw(labels: Iterable[np.ndarray], counts: np.ndarray, n_test: int, seed: int) -> np.ndarray:
    """Return a mask of ``n_test`` rows; ``labels`` are integers, and ``counts`` has the number of rows of each.

    The rows of a label are divided into runs of equal length, and one row of each run is drawn by a hash of the seed,
    the label and the number of the run.  So one pass in any chunks suffices.

    >>> int(draw([np.array([0, 1, 0]), np.array([1, 0, 0])], np.array([4, 2]), 3, seed=0).sum())
    3
    """
    exact = counts * (n_test / counts.sum())
    drawn = np.floor(exact).astype(np.int64)
    # the largest remainders get the rows that rounding left
    drawn[np.argsort(drawn - exact, kind="stable")[: n_test - drawn.sum()]] += 1
    seeds = (np.random.SeedSequence((seed, label)) for label in range(len(counts)))
    keys = np.array([one.generate_state(1, np.uint64)[0] for one in seeds])
    rotation = (keys % counts.astype(np.uint64)).astype(np.int64)
    seen, masks = np.zeros(len(counts), dtype=np.int64), []
    for label in labels:
        size = np.bincount(label, minlength=len(counts))
        rank = np.empty(len(label), dtype=np.int64)
        rank[np.argsort(label, kind="stable")] = np.arange(len(label)) - np.repeat(np.cumsum(size) - size - seen, size)
        seen += size
        total, wanted = counts[label], np.maximum(drawn[label], 1)
        # a random rotation, because runs differ by one row in length
        rank = (rank + rotation[label]) % total
        run = rank * wanted // total
        start, end = -(-run * total // wanted), -(-(run + 1) * total // wanted)
        place = start + (_hash(keys[label], run) * (end - start)).astype(np.int64)
        masks.append((rank == place) & (drawn[label] > 0))
    return np.concatenate(masks)


def _hash(key: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Return numbers in [0, 1) (SplitMix64)."""
    z = key + number.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


def _selected(dataset: Dataset, masks: Sequence[np.ndarray]) -> Dataset:
    parts = [labeled_part(piece, mask) for piece, mask in zip(dataset.pieces, masks, strict=True)]
    return replace(dataset, pieces=tuple(part for part in parts if part.n_rows))
