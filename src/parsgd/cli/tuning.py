"""``parsgd fit --tune``: a search over settings of a linear model, before its fit."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import parsgd
from parsgd.cli.cli_errors import UsageError
from parsgd.cli.console import Console
from parsgd.cli.fitting import FitInputs, call
from parsgd.data.dataset import Dataset
from parsgd.viz import number_format

_SEARCHES = {"SGDClassifier": "SGDClassifierCV", "SGDRegressor": "SGDRegressorCV"}
# Strengths of the penalty and rates of AdaGrad that are tried unless --alpha or --eta0 fixes them.
_ALPHAS, _ETAS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3), (0.01, 0.03, 0.1, 0.3, 1.0)
# parameters of the estimator that the search has, too
_COMMON = ("max_iter", "tol", "n_iter_no_change", "early_stopping", "validation_fraction", "shuffle", "power_t")
_COMMON += ("fit_intercept", "epsilon", "quantile", "n_jobs", "random_state")
_MAX_ITER = 20
# targets of a stream whose deviation is the unit of the rates of a regression
_SCALE_ROWS = 20_000
_SHOWN = 5


def check(estimator: Any) -> None:
    """Raise UsageError before data are read if there is no search for the model."""
    if type(estimator).__name__ not in _SEARCHES:
        raise UsageError(
            f"--tune searches settings of sgd-classifier and sgd-regressor; {type(estimator).__name__} has no search."
        )
    if estimator.learning_rate in ("pa1", "pa2"):
        raise UsageError(f"--tune: remove --learning-rate {estimator.learning_rate}, which has no rate to search.")
    if not isinstance(estimator.loss, str):
        raise UsageError("--tune needs a built-in --loss.")


def tune(estimator: Any, given: Mapping[str, Any], parts: FitInputs, console: Console) -> dict[str, float]:
    """Search, set the best parameters, and return the mean score of each setting by its name.

    ``given`` has the parameters of the command line, which are not searched.  Without ``learning_rate`` AdaGrad is
    used, and without ``loss`` the logistic loss.
    """
    streamed = isinstance(parts.rows, Dataset)
    if "learning_rate" not in given:
        estimator.set_params(learning_rate="adagrad")
    if "loss" not in given and type(estimator).__name__ == "SGDClassifier":
        estimator.set_params(loss="log_loss")
    if "max_iter" not in given:
        estimator.set_params(max_iter=_MAX_ITER)
    params = estimator.get_params(deep=False)
    search = getattr(parsgd, _SEARCHES[type(estimator).__name__])()
    settings = {name: params[name] for name in _COMMON if name in params and name in search.get_params()}
    settings |= {"losses": [params["loss"]], "penalties": [params["penalty"]], "learning_rate": params["learning_rate"]}
    settings["alphas"] = [params["alpha"]] if "alpha" in given else list(_ALPHAS)
    settings["l1_ratios"] = [0.15 if params["l1_ratio"] is None else params["l1_ratio"]]
    if params["learning_rate"] != "optimal":
        target = parts.rows.head_targets(_SCALE_ROWS) if streamed else parts.target
        scale = 1.0 if type(estimator).__name__ == "SGDClassifier" else max(float(target.std()), 1e-12)
        settings["etas"] = [params["eta0"]] if "eta0" in given else [scale * eta for eta in _ETAS]
    if "class_weight" in params:
        settings["class_weights"] = [params["class_weight"]]
    search.set_params(**settings, refit=False, halving=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call(search.fit, parts.rows, None if streamed else parts.target)
    estimator.set_params(**search.best_params_)
    results = search.cv_results_
    pairs = zip(results["params"], results["mean_test_score"], strict=True)
    scores = {number_format.setting_name(setting): float(score) for setting, score in pairs}
    print_results(scores, search.n_splits_, console)
    return scores


def print_results(scores: Mapping[str, float], n_folds: int, console: Console) -> None:
    """Print the best settings."""
    best = sorted(scores.items(), key=lambda pair: -pair[1])
    rows = [(name, number_format.number(score)) for name, score in best[:_SHOWN]]
    title = f"best of {len(scores)} settings, mean score of {n_folds} folds"
    console.print_table(title, ("setting", "score"), rows)
