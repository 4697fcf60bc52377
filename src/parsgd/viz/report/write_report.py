"""``write_report``: a fitted estimator, or a model file, as a page to read and to pass on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from parsgd.errors import InvalidArgumentError, ModelFileError
from parsgd.estimators.transaction import snapshot
from parsgd.model_io import model_files
from parsgd.planning.plan_table import TrainingPlan
from parsgd.utils.atomic_io import write_atomically
from parsgd.viz.report.fit_facts import check_fitted, fit_facts_of
from parsgd.viz.report.page import page
from parsgd.viz.report.run_metadata import RunMetadata, from_notes, here


def write_report(
    model: Any, out: str | os.PathLike | None = None, *, X: Any = None, y: Any = None, plan: TrainingPlan | None = None
) -> str | Path:
    """A page about a fit: how good, whether parallel work was worth it, who did what, where the time went.

    It is one HTML file that loads nothing, for a phone, a desk or paper.

    Parameters
    ----------
    model : fitted estimator, str or path
        An estimator of parsgd's, or a model file.  A file that ``parsgd fit`` wrote tells of its data, its score on the
        rows kept apart, its warnings and its command, too.
    out : str, path or None
        The file to write, whole or not at all.  None: nothing is written.
    X, y : array-like, optional
        Rows to score the model on; accuracy or R^2 (of a one-class model, the share of inliers; y is not needed).
    plan : Plan, optional
        What :func:`parsgd.plan` said of this fit, to compare with.

    Returns
    -------
    str or Path
        The page, or where it was written.

    Raises
    ------
    InvalidArgumentError
        If the model is none of parsgd's or is not fitted, if ``X`` comes without ``y``, or ``out`` cannot be written.
    ModelFileError
        If the file is missing, damaged or no model file.

    Examples
    --------
    >>> from parsgd import SGDClassifier, write_report
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = SGDClassifier(n_jobs=2, max_iter=5, tol=None, random_state=0).fit(X[:1500] / 16, y[:1500])
    >>> write_report(model, X=X[1500:] / 16, y=y[1500:]).startswith("<!DOCTYPE html>")
    True
    """
    if out is not None:
        check_out(Path(out), "The 'out' parameter of report", model if isinstance(model, (str, os.PathLike)) else None)
    estimator, run, version = _opened(model)
    if plan is not None and not isinstance(plan, TrainingPlan):
        raise InvalidArgumentError(
            f"The 'plan' parameter of report must be what parsgd.plan returns. Got {plan!r} instead."
        )
    if X is not None or y is not None:
        run = replace(run, scores=_score(estimator, X, y), scored_on="given")
    return written(page(fit_facts_of(estimator, run, version), plan), out)


def written(text: str, out: str | os.PathLike | None) -> str | Path:
    """The text, or the path it was written to, whole or not at all."""
    if out is None:
        return text
    with write_atomically(out) as temporary:
        # names of files may be no UTF-8
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return Path(out)


def _opened(model: Any) -> tuple[Any, RunMetadata, str | None]:
    """The estimator, what is known of its run, and the version that wrote its file."""
    if isinstance(model, (str, os.PathLike)):
        saved = model_files.open_file(model)
        try:
            run = from_notes(saved.notes.get("run") or {})
        except ModelFileError as error:
            raise ModelFileError(f"{model}: {error}") from error
        return saved.estimator, run, saved.version
    check_fitted(model, "The 'model' parameter of report", "an estimator of parsgd's or the path of a model file")
    model, now = snapshot(model), here()
    # when and by what it was fitted is not known, but the fit was seen on this machine most likely
    return model, RunMetadata(versions=now["versions"], platform=now["platform"], processors=now["processors"]), None


def _score(estimator: Any, X: Any, y: Any) -> Mapping[str, float]:
    one_class = type(estimator).__name__ == "SGDOneClassSVM"
    if X is None or (y is None and not one_class):
        raise InvalidArgumentError("The 'X' and 'y' parameters of report go together: give both, or neither.")
    if one_class:
        return {"inliers": float((estimator.predict(X) == 1).mean())}
    return {"accuracy" if "Classifier" in type(estimator).__name__ else "r2": float(estimator.score(X, y))}


def check_out(out: Path, argument: str, model: str | os.PathLike | None = None) -> None:
    """Refuse a place where no page can be written, or where it would take the place of the model, before any work.

    >>> check_out(Path("."), "--report")
    Traceback (most recent call last):
    parsgd.errors.InvalidArgumentError: --report must name a file, such as report.html. Got the folder '.' instead.
    """
    got = f"{str(out)!r}"
    if out.is_dir():
        raise InvalidArgumentError(f"{argument} must name a file, such as report.html. Got the folder {got} instead.")
    if not out.parent.is_dir():
        raise InvalidArgumentError(f"{argument} must lie in a folder that exists; make it first. Got {got} instead.")
    if not os.access(out.parent, os.W_OK):
        raise InvalidArgumentError(
            f"{argument} must lie where you may write; choose another folder. Got {got} instead."
        )
    if model is not None and os.path.realpath(model) == os.path.realpath(out):
        raise InvalidArgumentError(f"{argument} must not be the model file, which would be lost. Got {got} instead.")
