"""Allocation of the arrays of a round group."""

from __future__ import annotations

import numpy as np

from parsgd.core.model_protocols import Model, has_features, rest_slices
from parsgd.core.round_group import FIRST_WORKER, ROW, Coordinates, RoundGroup


def make_states(state: np.ndarray, n_workers: int) -> np.ndarray:
    """Return an uninitialized array with a row for the state of each worker, two cache lines apart.

    >>> make_states(np.zeros(5), 2).shape
    (2, 32)
    """
    padding = 256 // state.itemsize
    return np.empty((n_workers, (state.size - 1) // padding * padding + padding), dtype=state.dtype)


def make_round_group(
    states: np.ndarray,
    size: int,
    n_outputs: int,
    spans: np.ndarray,
    weights: np.ndarray,
    chunk: int,
    batch_size: int,
    spins: int,
    coordinates: Coordinates,
) -> RoundGroup:
    """Allocate the results of a group with these states and this plan."""
    n_workers, n_rounds = spans.shape[:2]
    return RoundGroup(
        states=states,
        size=size,
        spans=spans,
        schedule_steps=np.zeros(n_rounds),
        weights=weights,
        visited=np.zeros((n_workers, n_rounds), dtype=np.int64),
        totals=np.zeros((n_workers, n_rounds, 3, n_outputs)),
        times=np.zeros((n_workers, n_rounds, 2), dtype=np.int64),
        finite=np.ones((n_workers, n_rounds), dtype=np.int64),
        control=np.zeros((FIRST_WORKER + n_workers, ROW), dtype=np.int64),
        chunk=chunk,
        batch_size=batch_size,
        spins=spins,
        coordinates=coordinates,
    )


def make_coordinates(model: Model, state: np.ndarray, rule: str, n_workers: int, n_rounds: int) -> Coordinates:
    """Allocate the arrays of merges by ``rule``, a value of ``AlgorithmTraits.planned``."""
    number = ("mean", "coordinate", "touched").index(rule)
    parts: list[tuple[int, int, int]] = []
    rests: list[tuple[int, int, int]] = []
    n_features = 0
    if number and has_features(model):
        n_features, added = model.n_features, model.additive
        parts = [(part.start, part.width, int(part.is_sum)) for part in model.feature_parts]
        rests = [
            (rest.start, rest.stop, int(added.start <= rest.start < added.stop))
            for rest in rest_slices(model, state.size)
        ]
    n_coordinate = n_workers if number else 0
    return Coordinates(
        rule=number,
        visits=np.zeros((n_coordinate, n_features), dtype=np.int64),
        sums=np.zeros((n_workers, n_rounds)),
        base=np.empty(state.size if number else 0, dtype=state.dtype),
        parts=np.array(parts, dtype=np.int64).reshape(-1, 3),
        rests=np.array(rests, dtype=np.int64).reshape(-1, 3),
        nonnegative=np.array([model.nonnegative.start, model.nonnegative.stop], dtype=np.int64),
    )
