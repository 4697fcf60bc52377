"""``write_report``: an HTML page about a fitted estimator or a model file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from parsgd.errors import InvalidArgumentError, ModelFileError
from parsgd.estimators.fitted.transaction import snapshot
from parsgd.model_io import model_files
from parsgd.planning.plan_table import TrainingPlan
from parsgd.utils.atomic_io import write_atomically
from parsgd.viz.report.fit_facts import check_fitted, fit_facts_of
from parsgd.viz.report.page import page
from parsgd.viz.report.run_metadata import RunMetadata, from_notes, here


def write_report(
    model: Any,
    out: str | os.PathLike[str] | None = None,
    *,
    X: Any = None,
    y: Any = None,
    plan: TrainingPlan | None = None,
) -> str | Path:
    """Write an HTML page about a fit: its score, its speedup, the work of each worker and the use of time.

    The page is one file without external resources, for any screen size and for print.

    Parameters
    ----------
    model : fitted estimator, str or path
        A parsgd estimator, or a model file.  A file from ``parsgd fit`` also has the data, the test score, the
        warnings and the command.
    out : str, path or None
        The file to write, atomically.  None: return the page.
    X, y : array-like, optional
        Rows for the score: accuracy or R^2.  For a one-class model, the fraction of inliers, without ``y``.
    plan : Plan, optional
        The result of :func:`parsgd.plan` for this fit; the page compares the prediction with the fit.

    Returns
    -------
    str or Path
        The page, or the path of the file.

    Raises
    ------
    InvalidArgumentError
        If the model is not a fitted parsgd estimator, if ``X`` comes without ``y``, or ``out`` cannot be written.
    ModelFileError
        If the file is missing, damaged or not a model file.

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
        model_file = model if isinstance(model, (str, os.PathLike)) else None
        check_out(Path(out), "The 'out' parameter of write_report", model_file)
    estimator, run, version = _opened(model)
    if plan is not None and not isinstance(plan, TrainingPlan):
        raise InvalidArgumentError(
            f"The 'plan' parameter of write_report must be a result of parsgd.plan. Got {plan!r} instead."
        )
    if X is not None or y is not None:
        run = replace(run, scores=_score(estimator, X, y), scored_on="given")
    text = page(fit_facts_of(estimator, run, version), plan)
    if out is None:
        return text
    with write_atomically(out) as temporary:
        # file names may contain bytes that are not valid UTF-8
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return Path(out)


def _opened(model: Any) -> tuple[Any, RunMetadata, str | None]:
    """Return the estimator, its run metadata, and the version that wrote its file."""
    if isinstance(model, (str, os.PathLike)):
        saved = model_files.open_file(model)
        try:
            run = from_notes(saved.notes.get("run") or {})
        except ModelFileError as error:
            raise ModelFileError(f"{model}: {error}") from error
        return saved.estimator, run, saved.version
    check_fitted(model, "The 'model' parameter of write_report", "a parsgd estimator or the path of a model file")
    model, now = snapshot(model), here()
    # the time and command of the fit are unknown; the machine is probably this one
    return model, RunMetadata(versions=now["versions"], platform=now["platform"], processors=now["processors"]), None


def _score(estimator: Any, X: Any, y: Any) -> Mapping[str, float]:
    one_class = type(estimator).__name__ == "SGDOneClassSVM"
    if X is None or (y is None and not one_class):
        raise InvalidArgumentError("The 'X' and 'y' parameters of write_report must be given together.")
    if one_class:
        return {"inliers": float((estimator.predict(X) == 1).mean())}
    return {"accuracy" if "Classifier" in type(estimator).__name__ else "r2": float(estimator.score(X, y))}


def check_out(out: Path, argument: str, model: str | os.PathLike[str] | None = None) -> None:
    """Raise InvalidArgumentError if the page cannot be written to ``out`` or would overwrite the model.

    >>> check_out(Path("."), "--report")
    Traceback (most recent call last):
    parsgd.errors.InvalidArgumentError: --report must name a file, such as report.html. Got the folder '.' instead.
    """
    same = model is not None and os.path.realpath(model) == os.path.realpath(out)
    for wrong, expected in (
        (out.is_dir(), f"name a file, such as report.html. Got the folder {str(out)!r}"),
        (not out.parent.is_dir(), f"be in an existing folder; create it first. Got {str(out)!r}"),
        (not os.access(out.parent, os.W_OK), f"be in a writable folder; choose another. Got {str(out)!r}"),
        (same, f"not be the model file, to keep the model. Got {str(out)!r}"),
    ):
        if wrong:
            raise InvalidArgumentError(f"{argument} must {expected} instead.")
