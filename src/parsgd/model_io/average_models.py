"""``average_models``: models that were fitted elsewhere, on other machines or at other times, into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import clone

from parsgd.algorithms.common import merge_weights
from parsgd.algorithms.common.learned_weights import learn_weights
from parsgd.core import Model, Rows
from parsgd.errors import InvalidArgumentError, choose
from parsgd.estimators.fitted_attributes import base_name, is_network
from parsgd.estimators.input_validation import validate_data
from parsgd.estimators.linear.two_classes import halves, is_difference
from parsgd.estimators.resume_attributes import AVERAGES, SQUARES
from parsgd.estimators.training_data import InMemoryData
from parsgd.estimators.transaction import snapshot
from parsgd.model_io.merge_checks import as_ours, check_alike, cosines
from parsgd.utils.callers import warn
from parsgd.utils.floating import silent
from parsgd.utils.row_arrays import rows_of

_PARTS = ("coef_", "intercept_", "offset_")
# Networks after a common start have cosines of 0.7 to 1, after different ones of 0 to 0.1 (digits, 5 to 200 epochs).
_STRANGERS = 0.3
# What a network's validation set chooses from: how sharply a smaller loss counts, and how far to go from the best
# network to the mean.
_SHARPNESS, _WAYS = (0.0, 1.0, 4.0), (1.0, 0.75, 0.5, 0.25)


@silent()
def average_models(estimators: Sequence[Any], weights: Any = None, *, X_val: Any = None, y_val: Any = None) -> Any:
    """One fitted estimator from several: ``coef = sum_i a_i coef_i``, and so for all parameters.

    Parameters
    ----------
    estimators : sequence of fitted estimators
        parsgd's, all of one class, with the same classes, columns, loss and layers; also scikit-learn's
        SGDClassifier, SGDRegressor and SGDOneClassSVM.  None of them is changed.
    weights : array-like of shape (n_estimators,), "uniform", "steps" or None
        Numbers >= 0, which are made to sum to 1.  ``"uniform"``: ``1 / n_estimators``.  ``"steps"``: in proportion to
        the steps (networks: examples) that each one made, by its ``t_``.  None: learned where there is a validation
        set, else ``"steps"``.
    X_val, y_val : array-like of shape (n_rows, n_features) and (n_rows,), optional
        Some hundred rows that none of the models has seen.  Linear models: weights that make the merged loss on them
        smallest, by cross-validation within them (:mod:`parsgd.algorithms.common.learned_weights`); they need not sum
        to 1. Networks: the best on them of a few means, in which networks of smaller loss count more, and of points
        between the best network and such a mean.  Where ``weights`` are given, the set only serves the warning below.
        Not for one-class models: their loss on rows of one class cannot tell good weights from long ones.

    Returns
    -------
    estimator
        Of the first one's class and parameters; predicts, can be saved, and goes on with ``partial_fit``.
        ``merge_weights_ (n_estimators,)`` are the weights.  ``t_`` is the mean of theirs by the weights, so that a
        falling learning rate goes on where they were; of networks the sum, as it counts examples there.  What belongs
        to the course of one fit (``history_``, ``loss_curve_`` and the like) is left out.

    Raises
    ------
    parsgd.errors.InvalidArgumentError
        If the estimators do not go together; says which one differs in what.

    Warns
    -----
    UserWarning
        If the merged model is worse on the validation set than the best single one; or if networks seem to come from
        different starts.  Units of a network can be exchanged without changing what it computes, so that the mean of
        networks means something only where they set out from the same weights (the same ``random_state``, or copies
        of one fitted before).

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
    ours = [snapshot(as_ours(estimator, number)) for number, estimator in enumerate(estimators)]
    if not ours:
        raise InvalidArgumentError("There is nothing to merge: estimators is empty.")
    check_alike(ours)
    if (X_val is None) != (y_val is None):
        raise InvalidArgumentError("X_val and y_val belong together; only one of them was given.")
    if X_val is not None and type(ours[0]).__name__ == "SGDOneClassSVM":
        raise InvalidArgumentError("One-class models are merged without X_val and y_val; give weights instead.")
    merged = _outline(ours[0])
    given = None if weights is None else _given(weights, ours)
    a = _by_steps(ours) if given is None else given
    if X_val is not None and len(ours) > 1:
        model, rows = _posed(merged, ours[0], X_val, y_val)
        states = [_state(model, estimator) for estimator in ours]
        if given is None:
            a = _learned(model, rows, states, a)
        _compare(model, rows, states, a)
    elif is_network(merged) and len(ours) > 1:
        _warn_of_strangers(ours)
    _fill(merged, ours, a)
    return merged


# -- weights ---------------------------------------------------------------------------------------------------------


def _given(weights: Any, estimators: Sequence[Any]) -> np.ndarray:
    """The weights asked for, which sum to 1."""
    if isinstance(weights, str):
        rule = choose(weights, ("uniform", "steps"), "weights", "average_models")
        return _by_steps(estimators) if rule == "steps" else merge_weights.uniform(np.ones(len(estimators)))
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


def _by_steps(estimators: Sequence[Any]) -> np.ndarray:
    steps = np.array([float(estimator.t_) - (not is_network(estimator)) for estimator in estimators])
    return merge_weights.by_steps(steps) if steps.any() else merge_weights.uniform(np.ones(len(steps)))


def _learned(model: Model, rows: Rows, states: Sequence[np.ndarray], towards: np.ndarray) -> np.ndarray:
    if model.is_linear:
        return learn_weights(model, rows, model.init(0), states, towards)
    losses = np.array([_loss(model, rows, state) for state in states])
    alone = np.eye(len(states))[losses.argmin()]
    moved = np.ones(len(states))
    means = [towards, *(merge_weights.inverse_loss(losses, moved, sharpness) for sharpness in _SHARPNESS)]
    tried = [alone + way * (mean - alone) for way in _WAYS for mean in means]
    return tried[int(np.argmin([_loss(model, rows, merge_weights.weighted_sum(states, a)) for a in tried]))]


def _compare(model: Model, rows: Rows, states: Sequence[np.ndarray], a: np.ndarray) -> None:
    """Warn if the merged model is worse than the best single one."""
    losses = np.array([_loss(model, rows, state) for state in states])
    merged = _loss(model, rows, merge_weights.weighted_sum(states, a))
    best = int(losses.argmin())
    if merged > losses[best]:
        warn(
            f"On X_val the loss of the merged model is {merged:.4g}; estimators[{best}] alone has {losses[best]:.4g}."
            " Take that one, or other weights." + ("" if model.is_linear else " " + _COMMON_START),
        )


_COMMON_START = (
    "Averages of networks are meaningful only if all set out from the same weights: the same random_state, or copies of"
    " one fitted before."
)


def _warn_of_strangers(networks: Sequence[Any]) -> None:
    alike = cosines(networks)
    strangest = int(np.argmin(alike))
    if alike[strangest] < _STRANGERS:
        warn(
            f"estimators[{strangest}] seems to come from another start than estimators[0]: the cosine of their weights"
            f" is {alike[strangest]:.2f}. {_COMMON_START} X_val and y_val would tell how good the merged network is.",
        )


def _loss(model: Model, rows: Rows, state: np.ndarray) -> float:
    return model.mean_loss(model.decision(state, rows.x), rows)[0]


# -- the problem that a validation set poses -------------------------------------------------------------------------


def _posed(merged: Any, first: Any, X: Any, y: Any) -> tuple[Model, Rows]:
    """The model, without slots and in float64, and the validation set as kernels take it."""
    name = base_name(merged)
    if is_network(merged):
        X, y = merged._read(X, y, reset=False)
        y = merged._labels(y) if name == "MLPClassifier" else y
        target = merged._targets(y, np.float64)
        layers = (X.shape[1], *(intercept.size for intercept in first.intercepts_))
        model = replace(merged._network(X, layers, 1), solver="sgd", dtype="float64", dropout=0.0)
        return model, rows_of(X, target)
    X, y = validate_data(
        merged, X, y, accept_sparse="csr", dtype=[np.float64, np.float32], order="C", reset=False,
        y_numeric=name == "SGDRegressor",
    )  # fmt: skip
    if name == "SGDClassifier":
        model, pose = merged._posed(InMemoryData(X, y))
        target = pose(y)[0]
    else:
        model, target = merged._linear(X, 1), merged._targets(y, np.float64)
    return replace(model, average=0, penalty="l2", dtype="float64"), rows_of(X, target)


def _state(model: Any, estimator: Any) -> np.ndarray:
    """The parameters that the estimator predicts with, as a state of the model."""
    state = np.zeros(model.init(0).size)
    views = model.views(state)
    if is_network(estimator):
        for name in ("coefs", "intercepts"):
            for view, array in zip(views[name], getattr(estimator, f"{name}_"), strict=True):
                view[:] = array
        return state
    coef = _dense(estimator.coef_)
    intercept = 1.0 - estimator.offset_ if hasattr(estimator, "offset_") else estimator.intercept_
    if is_difference(estimator):
        coef, intercept = halves(coef), halves(intercept)
    views["coef"][:], views["intercept"][:] = coef.reshape(model.n_outputs, -1).T, intercept
    return state


# -- the merged estimator --------------------------------------------------------------------------------------------


def _outline(first: Any) -> Any:
    """What all of them agree in."""
    merged = clone(first)
    for key in ("classes_", "_multilabel", "n_features_in_", "feature_names_in_", "n_outputs_", "n_layers_"):
        if hasattr(first, key):
            setattr(merged, key, getattr(first, key))
    if hasattr(first, "out_activation_"):
        merged.out_activation_ = first.out_activation_
    return merged


def _fill(merged: Any, estimators: Sequence[Any], a: np.ndarray) -> None:
    """The parameters of all of them, summed, and the counts."""
    shares = a / a.sum() if a.sum() > 0 else np.full(len(a), 1.0 / len(a))
    merged.merge_weights_ = a
    merged.n_iter_ = max(int(estimator.n_iter_) for estimator in estimators)
    if is_network(merged):
        merged.coefs_, merged.intercepts_ = (
            [_sum(layer, a) for layer in zip(*(getattr(e, name) for e in estimators), strict=True)]
            for name in ("coefs_", "intercepts_")
        )
        merged.t_ = int(sum(estimator.t_ for estimator in estimators))
        _fill_slots(merged, estimators, shares)
        return
    merged.t_ = float(shares @ [estimator.t_ for estimator in estimators])
    for key in (*_PARTS, *AVERAGES, *SQUARES):
        if not all(hasattr(estimator, key) for estimator in estimators):
            continue
        parts = [_dense(getattr(estimator, key)) for estimator in estimators]
        if key == "offset_":
            # of the intercept, 1 - offset, for weights that do not sum to 1
            merged.offset_ = _sum(parts, a) + (1.0 - a.sum()) if len(a) > 1 else parts[0].copy()
        elif key in SQUARES:
            # means, as of a solver's slots below
            merged.__dict__[key] = np.maximum(_sum(parts, shares), 0.0)
        else:
            merged.__dict__[key] = _sum(parts, a)


def _fill_slots(merged: Any, estimators: Sequence[Any], shares: np.ndarray) -> None:
    """The solver's slots, as means: they are what partial_fit goes on with."""
    slots = [getattr(estimator, "_slots", np.zeros(0)) for estimator in estimators]
    alike = len({len(part) for part in slots}) == 1 and merged.solver != "lbfgs"
    merged._slots = _sum(slots, shares) if alike else np.zeros(0, dtype=merged.coefs_[0].dtype)
    if alike and all(hasattr(estimator, "_clock") for estimator in estimators):
        merged._clock = float(np.ceil(shares @ [estimator._clock for estimator in estimators] - 1e-9))


def _sum(arrays: Sequence[np.ndarray], a: np.ndarray) -> np.ndarray:
    """``sum_i a_i arrays_i``, in the widest dtype among them."""
    dtype = np.result_type(*arrays)
    flat = [np.ascontiguousarray(array, dtype=dtype).reshape(-1) for array in arrays]
    return merge_weights.weighted_sum(flat, a).reshape(arrays[0].shape)


def _dense(array: Any) -> np.ndarray:
    return array.toarray() if hasattr(array, "toarray") else np.asarray(array)
