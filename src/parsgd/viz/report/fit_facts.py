"""Facts about a fit as plain values, from the attributes of the estimator and the run metadata."""

from __future__ import annotations

from dataclasses import dataclass, field
from inspect import signature
from typing import Any

from parsgd.errors import InvalidArgumentError
from parsgd.estimators.kinds import base_name, estimator_names, is_fitted
from parsgd.training.reporting.history import History
from parsgd.training.reporting.history_stats import WorkerTotals, end_of, worker_totals
from parsgd.viz.report.run_metadata import RunMetadata


@dataclass
class FitFacts:
    """Facts about a fit and its run.

    ``engine`` is a name.  ``all_wait`` is True if workers wait for every merge.  ``parameters`` has the ``repr`` of all
    parameters, ``changed`` those that differ from their defaults.
    """

    estimator: str
    parameters: dict[str, str]
    changed: dict[str, str]
    n_features: int | None
    n_iter: int
    outcome: str | None
    algorithm: str
    why: str
    n_workers: int
    engine: str
    all_wait: bool
    history: History
    run: RunMetadata
    version: str | None = None
    accounts: list[WorkerTotals] = field(init=False)

    def __post_init__(self) -> None:
        self.accounts = worker_totals(self.history, self.all_wait)

    @property
    def end(self) -> float:
        """Seconds until the end of the last round."""
        return end_of(self.history)

    @property
    def merging(self) -> float:
        """Seconds that the driver spent on merges."""
        return sum(entry.get("merge_seconds", 0.0) for entry in self.history)

    @property
    def checking(self) -> float:
        """Seconds that the driver spent on the stopping rule, on scores, and on new partitions of the rows."""
        return sum(entry.get("check_seconds", 0.0) for entry in self.history)

    @property
    def n_rows(self) -> int | None:
        """Number of training rows."""
        if self.run.rows is not None or not self.history or not self.history[-1]["epoch"]:
            return self.run.rows
        return round(sum(one.examples for one in self.accounts) / self.history[-1]["epoch"])


def check_fitted(estimator: Any, argument: str, expected: str = "a parsgd estimator") -> None:
    """Raise InvalidArgumentError unless ``estimator`` is a fitted parsgd estimator; ``argument`` is its name."""
    known = base_name(estimator) in estimator_names()
    # trainers and estimators of PyTorch modules have no model files, so no kind describes them
    fitted = is_fitted(estimator) if known else isinstance(getattr(estimator, "history_", None), History)
    if not (known or fitted or type(estimator).__module__.startswith("parsgd.")):
        raise InvalidArgumentError(f"{argument} must be {expected}. Got {estimator!r} instead.")
    if not fitted:
        raise InvalidArgumentError(f"{argument} must be fitted: call fit of {estimator!r} first.")


def fit_facts_of(estimator: Any, run: RunMetadata, version: str | None = None) -> FitFacts:
    """Return the facts about a fitted estimator."""
    params = estimator.get_params(deep=False)
    arguments = signature(type(estimator).__init__).parameters
    written = {name: repr(value) for name, value in params.items()}
    choice, outcome, history = (vars(estimator).get(name) for name in ("algorithm_", "outcome_", "history_"))
    n_workers = 1 if choice is None else choice.n_workers
    engine = estimator.engine if isinstance(estimator.engine, str) else estimator.engine.name
    if engine == "auto":
        engine = getattr(estimator, "engine_", "threads" if n_workers > 1 else "serial")
    return FitFacts(
        estimator=type(estimator).__name__,
        parameters=written,
        changed={
            name: text
            for name, text in written.items()
            if name not in arguments or text != repr(arguments[name].default)
        },
        n_features=getattr(estimator, "n_features_in_", None),
        n_iter=int(estimator.n_iter_),
        outcome=None if outcome is None else outcome.value,
        algorithm="L-BFGS" if choice is None else choice.name,
        why="" if choice is None else choice.why,
        n_workers=n_workers,
        engine=engine,
        # a model file stores only the name of an algorithm that is not part of parsgd
        all_wait=choice is None or choice.algorithm is None or choice.algorithm.quorum(n_workers) >= n_workers,
        history=History() if history is None else history,
        run=run,
        version=version,
    )
