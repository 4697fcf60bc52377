"""Checkpointing on the estimators' side.

A fitting method passes a :class:`FitContext` to the parts of its fit. The checkpoint stores the values drawn or chosen
for ``random_state=None``, ``n_jobs=None`` and ``algorithm="auto"``, so a resumed fit uses the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parsgd.algorithms.local_sgd import LocalSGD
from parsgd.checkpointing.file_format import KIND
from parsgd.checkpointing.settings import settings_of
from parsgd.checkpointing.store import opened
from parsgd.checkpointing.writer import CheckpointWriter
from parsgd.core import Engine
from parsgd.errors import CheckpointError, InvalidArgumentError
from parsgd.estimators import auto_select
from parsgd.estimators.cost_estimates import ProblemSize
from parsgd.estimators.fitted.transaction import forget
from parsgd.estimators.sklearn_callbacks import has_callbacks
from parsgd.estimators.validation.random_states import draw_seed
from parsgd.model_io.packing import is_part
from parsgd.model_io.safetensors_file import safetensors
from parsgd.viz.live.log_view import to_stdout

# Parameters that may differ when a fit resumes: they change no result, or their resolved value is compared.
_MAY_CHANGE = frozenset({"max_iter", "engine", "verbose", "checkpoint", "n_jobs", "algorithm", "max_fun"})


def check_checkpoint(estimator: Any) -> None:
    """Raise if ``checkpoint`` is invalid or cannot be written with this solver."""
    who = type(estimator).__name__
    if settings_of(estimator.checkpoint, who) is None:
        return
    if getattr(estimator, "solver", None) == "lbfgs":
        raise InvalidArgumentError(
            "solver='lbfgs' cannot be checkpointed: SciPy hides its state. Use checkpoint=None, or solver='adam',"
            " 'adamw' or 'sgd'."
        )
    safetensors(KIND)


@dataclass(frozen=True)
class FitContext:
    """Context of one fit of an estimator: its random state and, in a checkpointed fit, the ``writer``."""

    estimator: Any
    writer: CheckpointWriter | None = None

    @property
    def random_state(self) -> Any:
        """The random state of the fit: the checkpoint's, or the parameter."""
        return self.estimator.random_state if self.writer is None else self.writer.random_state

    def choose_parts(self, size: ProblemSize) -> tuple[auto_select.Choice, Any]:
        """Resolve algorithm and engine as :mod:`parsgd.estimators.auto_select` does, or as the checkpointed fit did.

        With checkpoints or callbacks, a one-worker fit that would be a single round gets one round per pass. Its steps
        are the same.
        """
        estimator = self.estimator
        choice, engine = auto_select.choose_parts(estimator, size)
        if self.writer is None:
            return _with_pass_rounds(choice, "callbacks") if has_callbacks(estimator) else choice, engine
        previous = self.writer.extras.get("choice")
        if previous is not None:
            choice = _restore_choice(estimator, choice, previous)
        choice = _with_pass_rounds(choice, "checkpoints")
        if previous is None and is_part(choice.algorithm):
            self.writer.extras["choice"] = choice
        return choice, _choose_engine(estimator, choice)


@contextlib.contextmanager
def checkpointed(estimator: Any, resume: Any) -> Generator[FitContext]:
    """Open the checkpoint folder for the length of a fit, load the state to resume, and resolve the random state.

    ``resumed_from_`` is the round from which the fit resumes, or None if it starts. It is not set without checkpoints.
    """
    who = type(estimator).__name__
    if not isinstance(resume, (bool, np.bool_)):
        raise InvalidArgumentError(f"The 'resume' argument of {who}.fit must be a bool. Got {resume!r} instead.")
    settings = settings_of(estimator.checkpoint, who)
    forget(estimator, "resumed_from_")
    if settings is None:
        if resume:
            raise InvalidArgumentError(
                f"{who}.fit(resume=True) needs a checkpoint folder, and checkpoint is None: construct the {who} with"
                " checkpoint='folder'."
            )
        yield FitContext(estimator)
        return
    with opened(settings.path) as folder:
        writer = CheckpointWriter(folder, settings, bool(resume))
        writer.params = {
            name: value for name, value in estimator.get_params(deep=False).items() if name not in _MAY_CHANGE
        }
        writer.random_state = _resolve_random_state(estimator.random_state, writer)
        estimator.resumed_from_ = None if writer.found is None else writer.found.snapshot.round
        if estimator.verbose:
            to_stdout(_resume_message(writer))
        yield FitContext(estimator, writer)


def _resume_message(writer: CheckpointWriter) -> str:
    if writer.found is None:
        return f"{writer.folder.path}: no checkpoint to resume; the fit starts"
    snapshot = writer.found.snapshot
    return f"{writer.folder.path}: resumes from round {snapshot.round}, after {snapshot.examples} examples"


def _resolve_random_state(random_state: Any, writer: CheckpointWriter) -> Any:
    """Return a seed or generator that a resumed fit can recreate, and store it in the writer's ``extras``."""
    saved = writer.extras.get("random_state")
    if saved is not None:
        if not isinstance(saved, tuple):
            return saved
        random = np.random.RandomState()
        random.set_state(saved)
        return random
    if random_state is None or random_state is np.random:
        random_state = draw_seed(random_state)
    generator = isinstance(random_state, np.random.RandomState)
    writer.extras["random_state"] = random_state.get_state() if generator else int(random_state)
    return random_state


def _restore_choice(estimator: Any, choice: auto_select.Choice, previous: auto_select.Choice) -> auto_select.Choice:
    """Reuse the checkpointed choice for parameters that are automatic now."""
    left_open = estimator.n_jobs is None or estimator.n_jobs < 0
    automatic = isinstance(estimator.algorithm, str) and estimator.algorithm == "auto"
    workers = previous if left_open else choice
    # the factor belongs to the number of workers
    factor = workers.rate_factor if automatic else 1.0
    return replace(previous if automatic else choice, n_workers=workers.n_workers, rate_factor=factor)


def _choose_engine(estimator: Any, choice: auto_select.Choice) -> Engine:
    """Resolve the engine for the chosen number of workers."""
    who = type(estimator).__name__
    engine = auto_select.choose_engine(estimator.engine, choice.n_workers, who, choice.algorithm.traits.requires)
    if engine.n_workers not in (None, choice.n_workers):
        raise CheckpointError(
            f"The fit started with {choice.n_workers} workers, and engine={engine.name!r} has exactly"
            f" {engine.n_workers}. Use another engine, or start a new fit in another folder."
        )
    return engine


def _with_pass_rounds(choice: auto_select.Choice, reason: str) -> auto_select.Choice:
    """Replace a single round of one worker by rounds of one pass where that changes no step."""
    algorithm = choice.algorithm
    unmodified = getattr(algorithm, "seconds", None) is None and getattr(algorithm, "inner_delay", None) is None
    if not (choice.n_workers == 1 and algorithm.traits.one_shot and is_part(algorithm) and unmodified):
        return choice
    passes = LocalSGD(sync_every=1.0, partition=algorithm.traits.partition)
    return replace(choice, why=f"{choice.why}; one round per pass, for the {reason}", algorithm=passes)
