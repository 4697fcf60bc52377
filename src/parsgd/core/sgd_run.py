"""Contract of a run of SGD steps, which a model creates and the worker loop drives."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import numpy as np

from parsgd.core.records import Rows, Totals
from parsgd.core.round_group import RoundGroup


class RunningLoss(Protocol):
    """The mean loss of work in progress."""

    def mean_loss(self) -> float:
        """Return the mean loss of the examples since the last totals, each computed just before its step.

        Called by progress callbacks while a round runs.
        """
        ...


class SGDRun(RunningLoss, Protocol):
    """A run of many SGD steps on one state, in place.

    ``Model.sgd_run`` creates it and the worker loop drives it.  Between :meth:`run` and :meth:`finalize` the state may
    hold an internal form, such as weights with a separate scale.  A subclass inherits :meth:`finalized`.
    """

    def run(self, rows: Rows, order: np.ndarray, start: int, stop: int) -> None:
        """Make the SGD steps for the examples ``order[start:stop]``.

        Called by the worker loop, several times per block of rows.

        Arguments
        ---------
        rows : Rows
            Rows in memory.
        order : ndarray of int, (n_visits,)
            Row numbers in the order of their visits.
        start, stop : int
            The slice of ``order`` to visit.  Except at the end of an epoch or budget it holds whole mini-batches.
        """
        ...

    def take_totals(self) -> Totals:
        """Return the sums since the previous call, and reset them.

        Called by the worker loop at the end of every epoch and at the end of the run.
        """
        ...

    def finalize(self) -> None:
        """Convert the state to plain parameters.

        Called by the worker loop at the end of the run, and before it changes a learning-rate scale.  A later
        :meth:`run` reads the scales again.
        """
        ...

    def finalized(self) -> AbstractContextManager[None]:
        """Return a context in which the state is finalized; afterwards the run continues.

        Called by the worker loop to score a state in the middle of a run.  The default finalizes the state for good.  A
        run overrides it if finalizing changes the bits of later steps.
        """
        self.finalize()
        return nullcontext()

    def shrinkage(self) -> np.ndarray | None:
        """Return the factors by which :meth:`finalize` multiplied the weights of features without a visit.

        Called by the worker loop after the run, if the report may omit these weights.  It compares the product with the
        state, so a run may return a wrong factor.  The shape is ``(width,)`` of the first part of
        ``FeatureModel.feature_parts``.  The default is None, for 1.
        """
        return None

    @property
    def schedule_step(self) -> float:
        """Current step of the learning-rate schedule.  The worker loop copies it to the report."""
        ...


class CompiledRoundsRun(SGDRun, Protocol):
    """A run of a model with the capability ``"compiled_rounds"``.

    ``steps_per_tick`` is the increase of the schedule step per SGD step.  ``lists_features`` is True if merges per
    coordinate need the features of the visited rows only.
    """

    @property
    def steps_per_tick(self) -> float: ...

    @property
    def lists_features(self) -> bool: ...

    def prepare_rounds(self, rows: Rows, order: np.ndarray, group: RoundGroup, worker: int) -> Callable[[], int]:
        """Return a function that makes the rounds of ``worker``, while the other workers of the group make theirs.

        The run's state is the worker's row of ``group.states``.  Each round starts with the learning-rate scales of
        the run as they then are, and has the bits of a task of its own.  Prepared once per call, with the same rows.

        Arguments
        ---------
        rows : Rows
            Rows in memory.
        order : ndarray of int, (n_visits,)
            Row numbers in the order of their visits; ``group.spans[worker]`` has each round's slice of it.
        group : RoundGroup
            The arrays that all workers share.
        worker : int
            Number of the worker.

        Returns
        -------
        callable
            Returns the number of merged rounds.
        """
        ...


# Start a run on a state, as Model.sgd_run does: state, schedule step, lr scale, seed, schedule step size.
StartRun = Callable[[np.ndarray, float, np.ndarray, int, float], SGDRun]
