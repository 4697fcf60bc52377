"""Contracts of models for merges per coordinate, and for rounds in compiled code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol, TypeGuard, runtime_checkable

import numpy as np

from parsgd.core.model_protocols import GradientModel, Model
from parsgd.core.records import Rows
from parsgd.core.round_group import RoundGroup
from parsgd.core.sgd_run import CompiledRoundsRun


class FeaturePart(NamedTuple):
    """Part of a state with ``width`` adjacent values per feature: ``state[start : start + n_features * width]``.

    ``is_sum`` means that the values are sums over examples, such as AdaGrad's sums of squares.
    """

    start: int
    width: int
    is_sum: bool = False


@runtime_checkable
class FeatureModel(Model, Protocol):
    """A model with the capability ``"features"``: a part of its state has separate values for each input feature.

    An example changes a feature's values only if the feature is not zero in it, apart from penalties and momentum.
    Merges per coordinate use these members.

    Attributes
    ----------
    n_features : int
        Number of columns of the rows.
    feature_parts : sequence of FeaturePart
        The parts with values per feature; the first one are the weights.
    additive : slice
        Part of the state with sums over examples, such as AdaGrad's sums of squares, including those without a feature.
        Merges per coordinate add the increases of all workers.
    """

    @property
    def n_features(self) -> int: ...

    @property
    def feature_parts(self) -> Sequence[FeaturePart]: ...

    @property
    def additive(self) -> slice: ...


def has_features(model: Model) -> TypeGuard[FeatureModel]:
    """Return True if the model offers ``"features"``."""
    return "features" in model.capabilities


def rest_slices(model: FeatureModel, size: int) -> Sequence[slice]:
    """Return the parts of a state of ``size`` elements outside of the feature parts, split at the additive part.

    >>> from parsgd.models.linear.linear_model import Linear
    >>> rest_slices(Linear(3, sparse=True, schedule="adagrad"), 8)
    [slice(3, 4, None), slice(7, 8, None)]
    """
    ends = {0, size, model.additive.start, model.additive.stop}
    taken = [range(part.start, part.start + model.n_features * part.width) for part in model.feature_parts]
    for part in taken:
        ends |= {part.start, part.stop}
    edges = sorted(ends)
    pieces = [slice(*pair) for pair in pairwise(edges)]
    return [piece for piece in pieces if not any(piece.start in part for part in taken)]


@runtime_checkable
class CompiledRoundsModel(Model, Protocol):
    """A model with the capability ``"compiled_rounds"``: its runs can make several rounds in one compiled call."""

    def sgd_run(
        self, state: np.ndarray, schedule_step: float, lr_scale: np.ndarray, seed: int, schedule_step_size: float = 1.0
    ) -> CompiledRoundsRun:
        """Create a run as :meth:`Model.sgd_run` does."""
        ...


@runtime_checkable
class CompiledGradientsModel(GradientModel, Protocol):
    """A model with the capability ``"compiled_gradients"``: rounds of one batch each in one compiled call.

    Attributes
    ----------
    n_gradients : int
        Length of the array of gradients that :meth:`GradientModel.gradient_sum` returns.
    """

    @property
    def n_gradients(self) -> int: ...

    def prepare_gradient_rounds(
        self,
        state: np.ndarray,
        gradient: np.ndarray,
        lr_scale: np.ndarray,
        seed: int,
        rows: Rows,
        order: np.ndarray,
        group: RoundGroup,
        worker: int,
    ) -> Callable[[RoundGroup, np.ndarray], int]:
        """Return a function that makes the rounds of ``worker``, while the other workers of the group make theirs.

        Called once per worker and fit.  Each round has the bits of :meth:`GradientModel.gradient_sum` on the workers
        and :meth:`GradientModel.apply_gradient` on the driver.

        Arguments
        ---------
        state : ndarray, (size,)
            The state, on which all workers step.
        gradient : ndarray, (n_gradients,)
            Zeros; receives the sums of the worker's part of each batch.
        lr_scale : ndarray, (n_outputs,)
            Factors on the learning rate, which the driver may change between calls.
        seed : int
            Seed of random operations inside a step.
        rows : Rows
            Rows in memory.
        order : ndarray of int, (n_visits,)
            Row numbers, as in later calls.
        group : RoundGroup
            The group of the first call; those of later calls have the same arrays but for the plan and the results.
            A batch has ``group.batch_size`` rows at most, and the worker's slice of it any number of these.
        worker : int
            Number of the worker.

        Returns
        -------
        callable
            ``(group, order) -> merged``, the number of merged rounds.  ``group.spans[worker]`` has the worker's slice
            of ``order`` in each round; the slices of all workers, one after the other, are the batch.
        """
        ...


def has_compiled_gradients(model: Model) -> TypeGuard[CompiledGradientsModel]:
    """Return True if the model offers ``"compiled_gradients"``."""
    return "compiled_gradients" in model.capabilities


def has_compiled_rounds(model: Model) -> TypeGuard[CompiledRoundsModel]:
    """Return True if the model offers ``"compiled_rounds"``."""
    return "compiled_rounds" in model.capabilities
