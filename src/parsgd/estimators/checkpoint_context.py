"""Checkpoints on the side of the estimators: what they add to one, and what they take from one.

A fit that keeps checkpoints has an attribute ``_keeper`` while it runs.  What was left to chance or to the machine
(``random_state=None``, ``n_jobs=None``, ``algorithm="auto"``) is kept as it was decided, so that a fit that goes on
goes on with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from parsgd.algorithms.local_sgd import LocalSGD
from parsgd.checkpointing.file_format import KIND
from parsgd.checkpointing.settings import settings_of
from parsgd.checkpointing.store import opened
from parsgd.checkpointing.writer import CheckpointWriter
from parsgd.errors import CheckpointError, InvalidArgumentError
from parsgd.estimators import auto_select
from parsgd.estimators.sklearn_callbacks import has_callbacks
from parsgd.model_io.packing import is_part
from parsgd.model_io.safetensors_file import safetensors
from parsgd.viz.live.log_view import to_stdout

# Parameters that may be others when a fit goes on: they change no bit, or are compared as what they stand for.
_FREE = frozenset({"max_iter", "engine", "verbose", "checkpoint", "n_jobs", "algorithm", "max_fun"})
_MAX_SEED = np.iinfo(np.int32).max


def check_checkpoint(estimator: Any) -> None:
    """Refuse a ``checkpoint`` that is none, or that nothing could be written to."""
    who = type(estimator).__name__
    if settings_of(estimator.checkpoint, who) is None:
        return
    if getattr(estimator, "solver", None) == "lbfgs":
        raise InvalidArgumentError(
            "solver='lbfgs' keeps no checkpoints: what it remembers is SciPy's. Use checkpoint=None, or solver='adam',"
            " 'adamw' or 'sgd'."
        )
    safetensors(KIND)


@contextlib.contextmanager
def keeping(estimator: Any, resume: Any) -> Iterator[None]:
    """For the length of a fit: open the folder, find what to go on from, and settle where chance comes from.

    ``resumed_from_`` is the round from which the fit goes on, or None if it begins; there is none without checkpoints.
    """
    who = type(estimator).__name__
    if not isinstance(resume, (bool, np.bool_)):
        raise InvalidArgumentError(f"The 'resume' argument of {who}.fit must be a bool. Got {resume!r} instead.")
    settings = settings_of(estimator.checkpoint, who)
    if hasattr(estimator, "resumed_from_"):
        del estimator.resumed_from_
    if settings is None:
        if resume:
            raise InvalidArgumentError(
                f"{who}.fit(resume=True) goes on from a checkpoint, and this {who} keeps none: make it with"
                " checkpoint='folder'."
            )
        yield
        return
    with opened(settings.path) as folder:
        keeper = CheckpointWriter(folder, settings, bool(resume))
        keeper.params = {name: value for name, value in estimator.get_params(deep=False).items() if name not in _FREE}
        keeper.random_state = _settled_chance(estimator.random_state, keeper)
        estimator.resumed_from_ = None if keeper.found is None else keeper.found.snapshot.round
        if estimator.verbose:
            to_stdout(_said(keeper))
        estimator._keeper = keeper
        try:
            yield
        finally:
            del estimator._keeper


def _said(keeper: CheckpointWriter) -> str:
    if keeper.found is None:
        return f"{keeper.folder.path}: no checkpoint to go on from; the fit begins"
    snapshot = keeper.found.snapshot
    return f"{keeper.folder.path}: goes on from round {snapshot.round}, after {snapshot.examples} examples"


def random_state_of(estimator: Any) -> Any:
    """Where the chance of a fit comes from: what the checkpoint says, or the parameter."""
    keeper = keeper_of(estimator)
    return estimator.random_state if keeper is None else keeper.random_state


def keeper_of(estimator: Any) -> CheckpointWriter | None:
    """Who keeps the checkpoints of the fit that runs, if somebody does."""
    return getattr(estimator, "_keeper", None)


def _settled_chance(random_state: Any, keeper: CheckpointWriter) -> Any:
    """A seed or a generator that a fit which goes on can begin with once more; it is among the keeper's extras."""
    kept = keeper.extras.get("random_state")
    if kept is not None:
        if not isinstance(kept, tuple):
            return kept
        random = np.random.RandomState()
        random.set_state(kept)
        return random
    if random_state is None or random_state is np.random:
        random_state = int(check_random_state(random_state).randint(_MAX_SEED))
    generator = isinstance(random_state, np.random.RandomState)
    keeper.extras["random_state"] = random_state.get_state() if generator else int(random_state)
    return random_state


def choose_parts(estimator: Any, size: Any) -> tuple[auto_select.Choice, Any]:
    """What :func:`parsgd.estimators.auto_select.choose_parts` says, or with a checkpoint said when the fit began.

    With checkpoints or callbacks, one worker whose round would be the whole fit makes a round of every pass: its steps
    are the same.
    """
    choice, engine = auto_select.choose_parts(estimator, size)
    keeper = keeper_of(estimator)
    if keeper is None:
        heard = choice.n_workers == 1 and has_callbacks(estimator)
        return _in_passes(choice, "callbacks") if heard else choice, engine
    who = type(estimator).__name__
    before = keeper.extras.get("choice")
    if before is not None:
        choice = _as_before(estimator, choice, before, who)
    elif choice.n_workers == 1:
        choice = _in_passes(choice)
    if before is None and is_part(choice.algorithm):
        keeper.extras["choice"] = choice
    return choice, _engine(estimator, choice, who)


def _as_before(estimator: Any, choice: auto_select.Choice, before: auto_select.Choice, who: str) -> auto_select.Choice:
    """What was left open then and is left open now is as it was then."""
    left_open = estimator.n_jobs is None or estimator.n_jobs < 0
    n_workers = before.n_workers if left_open else choice.n_workers
    if isinstance(estimator.algorithm, str) and estimator.algorithm == "auto":
        return replace(before, n_workers=n_workers)
    choice = replace(choice, n_workers=n_workers)
    return _in_passes(choice) if n_workers == 1 else choice


def _engine(estimator: Any, choice: auto_select.Choice, who: str) -> Any:
    """The engine for so many workers as were chosen when the fit began."""
    engine = auto_select.choose_engine(estimator.engine, choice.n_workers, who, choice.algorithm.requires)
    has = getattr(engine, "n_workers", None)
    if has not in (None, choice.n_workers):
        raise CheckpointError(
            f"The fit began with {choice.n_workers} workers, and engine={engine.name!r} has {has} and no others."
            " Give it another engine, or begin anew in another folder."
        )
    return engine


def _in_passes(choice: auto_select.Choice, for_whom: str = "checkpoints") -> auto_select.Choice:
    """Rounds of one pass in place of a single one, where that changes no step."""
    algorithm = choice.algorithm
    plain = getattr(algorithm, "seconds", None) is None and getattr(algorithm, "inner_delay", None) is None
    if not (algorithm.one_shot and is_part(algorithm) and plain):
        return choice
    passes = LocalSGD(sync_every=1.0, partition=algorithm.partition)
    return replace(choice, why=f"{choice.why}; a round is a pass, for the {for_whom}", algorithm=passes)
