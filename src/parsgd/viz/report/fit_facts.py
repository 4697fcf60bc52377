"""What a page tells of a fitted estimator, as plain values: from its attributes and the notes on its run."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from parsgd.errors import InvalidArgumentError
from parsgd.estimators.fitted_attributes import FITTED, base_name, is_fitted
from parsgd.training.history import History
from parsgd.training.history_stats import WorkerTotals, end_of, worker_totals
from parsgd.viz.report.run_metadata import RunMetadata


@dataclass
class FitFacts:
    """A fit and its run.

    ``engine`` is ``"serial"``, ``"threads"`` or another's name; ``all_wait``: whether workers wait for every merge.
    ``changed`` holds the parameters that differ from their defaults, ``parameters`` all, as Python writes them.
    """

    estimator: str
    parameters: dict[str, str]
    changed: dict[str, str]
    n_features: int
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
        """Seconds until the rounds ended."""
        return end_of(self.history)

    @cached_property
    def merging(self) -> float:
        """Seconds for which the driver merged."""
        return sum(entry.get("merge_seconds", 0.0) for entry in self.history)

    @cached_property
    def checking(self) -> float:
        """Seconds for which the driver applied the stopping rule, found scores, and dealt rows anew."""
        return sum(entry.get("check_seconds", 0.0) for entry in self.history)

    @property
    def processors(self) -> int | None:
        """Of the machine of the fit."""
        return self.run.processors

    @property
    def n_rows(self) -> int | None:
        """Rows that were trained on."""
        if self.run.rows is not None or not self.history or not self.history[-1]["epoch"]:
            return self.run.rows
        return round(sum(one.examples for one in self.accounts) / self.history[-1]["epoch"])


def check_fitted(estimator: Any, argument: str, expected: str = "an estimator of parsgd's") -> None:
    """Refuse what is no fitted estimator of parsgd's; ``argument`` names it in the message."""
    if base_name(estimator) not in FITTED:
        raise InvalidArgumentError(f"{argument} must be {expected}. Got {estimator!r} instead.")
    if not is_fitted(estimator):
        raise InvalidArgumentError(f"{argument} must be fitted: call fit of {estimator!r} first.")


def fit_facts_of(estimator: Any, run: RunMetadata, version: str | None = None) -> FitFacts:
    """The record of a fitted estimator."""
    params = estimator.get_params(deep=False)
    defaults = type(estimator)().get_params(deep=False)
    written = {name: repr(value) for name, value in params.items()}
    choice = getattr(estimator, "algorithm_", None)
    n_workers = 1 if choice is None else choice.n_workers
    outcome = getattr(estimator, "outcome_", None)
    return FitFacts(
        estimator=type(estimator).__name__,
        parameters=written,
        changed={name: text for name, text in written.items() if text != repr(defaults[name])},
        n_features=int(estimator.n_features_in_),
        n_iter=int(estimator.n_iter_),
        outcome=getattr(outcome, "value", None),
        algorithm="L-BFGS" if choice is None else choice.name,
        why="" if choice is None else choice.why,
        n_workers=n_workers,
        engine=_engine(estimator.engine, n_workers),
        all_wait=_all_wait(getattr(choice, "algorithm", None), n_workers),
        history=getattr(estimator, "history_", History()),
        run=run,
        version=version,
    )


def _engine(engine: Any, n_workers: int) -> str:
    if isinstance(engine, str):
        return ("threads" if n_workers > 1 else "serial") if engine == "auto" else engine
    return str(getattr(engine, "name", type(engine).__name__))


def _all_wait(algorithm: Any, n_workers: int) -> bool:
    # of an algorithm from elsewhere, a model file keeps the name only
    return algorithm is None or algorithm.quorum(n_workers) >= n_workers
