"""``average_models``: average separately fitted models into one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import clone

from parsgd.algorithms.merging import merge_weights
from parsgd.algorithms.merging.learned_weights import learn_weights
from parsgd.core import AveragingModel, Rows, has_linear_state
from parsgd.errors import InvalidArgumentError, choose
from parsgd.estimators.fitted.transaction import snapshot
from parsgd.estimators.kinds import kind_of, known_name
from parsgd.estimators.to_sklearn import copy_attributes
from parsgd.estimators.validation.param_validation import check_pair
from parsgd.model_io.merge_checks import check_mergeable, cosines, to_parsgd
from parsgd.utils.callers import warn
from parsgd.utils.floating import silent

# Networks from a common start have cosines of 0.7 to 1, from different starts 0 to 0.1 (digits, 5 to 200 epochs).
_MIN_COSINE = 0.3
# Candidates for merged networks: sharpness of the weighting by loss, and step lengths from the best network to the
# mean.
_SHARPNESS, _STEPS_TO_MEAN = (0.0, 1.0, 4.0), (1.0, 0.75, 0.5, 0.25)
# Attributes in which all models agree.
_SHARED = (
    "classes_",
    "n_features_in_",
    "feature_names_in_",
    "_multilabel",
    "n_outputs_",
    "n_layers_",
    "out_activation_",
)


@silent()
def average_models(estimators: Sequence[Any], weights: Any = None, *, X_val: Any = None, y_val: Any = None) -> Any:
    """Average fitted estimators into one: ``coef = sum_i a_i coef_i``, and likewise for all parameters.

    Parameters
    ----------
    estimators : sequence of fitted estimators
        Estimators of parsgd, all of one class, with the same classes, columns, loss and layers; also scikit-learn's
        SGDClassifier, SGDRegressor and SGDOneClassSVM. They are not changed.
    weights : array-like of shape (n_estimators,), "uniform", "steps" or None
        Numbers >= 0, normalized to sum to 1. ``"uniform"``: ``1 / n_estimators``. ``"steps"``: in proportion to the
        steps (networks: examples) of each estimator, from its ``t_``. None: learned if there is a validation set, else
        ``"steps"``.
    X_val, y_val : array-like of shape (n_rows, n_features) and (n_rows,), optional
        Several hundred rows that no model was trained on. Linear models: the weights minimize the merged loss on these
        rows, by cross-validation (:mod:`parsgd.algorithms.merging.learned_weights`); they need not sum to 1. Networks:
        the best of several candidates is used. Candidates are means that favor networks of smaller loss, and points
        between the best network and such a mean. If ``weights`` are given, the rows are used for the warning below
        only. Not for one-class models, whose loss on rows of one class decreases with the length of the weights.

    Returns
    -------
    estimator
        With the class and parameters of the first one; it can predict, be saved, and continue with ``partial_fit``.
        ``merge_weights_ (n_estimators,)`` are the weights. ``t_`` is the weighted mean of the models' ``t_``, so that a
        decaying learning rate continues; for networks it is the sum, since it counts examples. Records of a single fit
        (``history_``, ``loss_curve_`` and the like) are omitted.

    Raises
    ------
    parsgd.errors.InvalidArgumentError
        If the estimators are incompatible; names the estimator and the difference.

    Warns
    -----
    UserWarning
        If the merged model is worse on the validation set than the best single one, or if networks seem to have
        different initial weights. Units of a network can be permuted without changing its output, so a mean of networks
        is meaningful only with common initial weights (the same ``random_state``, or copies of one fitted network).

    References
    ----------
    Zinkevich, Weimer, Smola, Li, "Parallelized Stochastic Gradient Descent", NIPS 2010.

    Examples
    --------
    >>> from parsgd import SGDClassifier, average_models
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = scale(X)
    >>> parts = [SGDClassifier("log_loss", random_state=0).fit(X[i::3], y[i::3]) for i in range(2)]
    >>> merged = average_models(parts, X_val=X[2::3], y_val=y[2::3])
    >>> merged.score(X, y) > 0.95, merged.merge_weights_.shape
    (True, (2,))
    """
    models = [snapshot(to_parsgd(estimator, number)) for number, estimator in enumerate(estimators)]
    if not models:
        raise InvalidArgumentError("average_models needs at least one estimator: estimators is empty.")
    check_mergeable(models)
    check_pair(X_val, y_val)
    merged, kind = clone(models[0]), kind_of(models[0])
    copy_attributes(models[0], merged, _SHARED)
    if X_val is not None and known_name(merged) not in kind.plannable:
        raise InvalidArgumentError("One-class models cannot use X_val and y_val; pass weights instead.")
    given = None if weights is None else _check_weights(weights, models)
    a = _step_weights(models) if given is None else given
    if X_val is not None and len(models) > 1:
        model, rows = kind.validation_problem(merged, models[0], X_val, y_val)
        states = [kind.state(model, estimator) for estimator in models]
        if given is None:
            a = _learn_weights(model, rows, states, a)
        _compare(model, rows, states, a)
    elif kind.common_start and len(models) > 1:
        _warn_of_different_starts(models)
    shares = a / a.sum() if a.sum() > 0 else np.full(len(a), 1.0 / len(a))
    merged.merge_weights_ = a
    merged.n_iter_ = max(int(estimator.n_iter_) for estimator in models)
    kind.set_average(merged, models, a, shares)
    return merged


def _check_weights(weights: Any, estimators: Sequence[Any]) -> np.ndarray:
    """Validate the requested weights and normalize them to sum to 1."""
    if isinstance(weights, str):
        rule = choose(weights, ("uniform", "steps"), "weights", "average_models")
        return _step_weights(estimators) if rule == "steps" else merge_weights.uniform(np.ones(len(estimators)))
    try:
        a = np.asarray(weights, dtype=float)
    except (TypeError, ValueError):
        a = np.zeros(0)
    if a.shape != (len(estimators),) or not np.isfinite(a).all() or np.any(a < 0) or not np.any(a > 0):
        raise InvalidArgumentError(
            f"The 'weights' parameter of average_models must be 'uniform', 'steps', None, or {len(estimators)} numbers"
            f" >= 0, one for each estimator and not all 0. Got {weights!r} instead."
        )
    return a / a.sum()


def _step_weights(estimators: Sequence[Any]) -> np.ndarray:
    steps = np.array([kind_of(estimator).steps(estimator) for estimator in estimators])
    return merge_weights.by_steps(steps) if steps.any() else merge_weights.uniform(np.ones(len(steps)))


def _learn_weights(model: AveragingModel, rows: Rows, states: Sequence[np.ndarray], prior: np.ndarray) -> np.ndarray:
    if has_linear_state(model):
        return learn_weights(model, rows, model.init(0), states, prior)
    losses = np.array([_loss(model, rows, state) for state in states])
    alone = np.eye(len(states))[losses.argmin()]
    moved = np.ones(len(states))
    means = [prior, *(merge_weights.inverse_loss(losses, moved, sharpness) for sharpness in _SHARPNESS)]
    candidates = [alone + step * (mean - alone) for step in _STEPS_TO_MEAN for mean in means]
    return candidates[int(np.argmin([_loss(model, rows, merge_weights.weighted_sum(states, a)) for a in candidates]))]


def _compare(model: AveragingModel, rows: Rows, states: Sequence[np.ndarray], a: np.ndarray) -> None:
    """Warn if the merged model is worse than the best single one."""
    losses = np.array([_loss(model, rows, state) for state in states])
    merged = _loss(model, rows, merge_weights.weighted_sum(states, a))
    best = int(losses.argmin())
    if merged > losses[best]:
        warn(
            f"On X_val the loss of the merged model is {merged:.4g}; estimators[{best}] alone has {losses[best]:.4g}."
            " Use that one, or other weights." + ("" if has_linear_state(model) else " " + _COMMON_START),
        )


_COMMON_START = (
    "Averages of networks are meaningful only with the same initial weights: the same random_state, or copies of one"
    " fitted network."
)


def _warn_of_different_starts(networks: Sequence[Any]) -> None:
    alike = cosines(networks)
    lowest = int(np.argmin(alike))
    if alike[lowest] < _MIN_COSINE:
        warn(
            f"estimators[{lowest}] seems to have other initial weights than estimators[0]: the cosine of their weights"
            f" is {alike[lowest]:.2f}. {_COMMON_START} Pass X_val and y_val to measure the merged network.",
        )


def _loss(model: AveragingModel, rows: Rows, state: np.ndarray) -> float:
    return model.mean_loss(model.decision(state, rows.x), rows)[0]
