"""Conversion of networks to scikit-learn's estimators, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from parsgd.errors import IncompatiblePartsError
from parsgd.estimators.network import sklearn_optimizer_state
from parsgd.estimators.network.mlp_records import layers_of
from parsgd.estimators.to_sklearn import COMMON, construct, copy_attributes
from parsgd.models.network.forward import LOSSES

_CURVES = ("loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_")
_SHAPE = ("n_layers_", "n_outputs_", "out_activation_")
_ACTIVATIONS = ("identity", "logistic", "tanh", "relu")


def convert(ours: Any, name: str) -> Any:
    """Convert an estimator, whose class or base class is ``name``."""
    from sklearn import neural_network

    if ours.activation not in _ACTIVATIONS:
        raise IncompatiblePartsError(
            f"scikit-learn's {name} has no activation {ours.activation!r}, only {', '.join(_ACTIVATIONS)}. Use"
            " parsgd.to_onnx or parsgd.network_state_dict, which support all activations."
        )
    theirs = construct(ours, getattr(neural_network, name))
    theirs.solver = "adam" if ours.solver == "adamw" else ours.solver
    if name == "MLPRegressor":
        theirs.loss = LOSSES[ours.loss].to_sklearn or ours.loss
    copy_attributes(ours, theirs, (*COMMON, *_CURVES, *_SHAPE))
    theirs.coefs_ = [coef.copy() for coef in ours.coefs_]
    theirs.intercepts_ = [intercept.copy() for intercept in ours.intercepts_]
    if name == "MLPClassifier":
        theirs._label_binarizer = _binarizer(ours)
    if ours.solver == "lbfgs":
        return theirs
    # state of scikit-learn's stochastic solvers
    theirs._optimizer = sklearn_optimizer_state.optimizer_of(ours, theirs.coefs_ + theirs.intercepts_)
    idle = getattr(getattr(ours, "_rule", None), "idle", None)
    theirs._no_improvement_count = 0 if idle is None else int(idle[0])
    defaults = {"loss_curve_": [], "validation_scores_": None, "best_validation_score_": None}
    for key, value in (defaults | {"best_loss_": None if ours.early_stopping else np.inf}).items():
        if not hasattr(theirs, key):
            setattr(theirs, key, value)
    return theirs


def _binarizer(ours: Any) -> Any:
    """Build the LabelBinarizer in which scikit-learn's network keeps its classes."""
    from sklearn.preprocessing import LabelBinarizer

    binarizer = LabelBinarizer()
    binarizer.classes_ = ours.classes_
    y_type = "multiclass" if len(ours.classes_) > 2 else "binary"
    binarizer.y_type_ = "multilabel-indicator" if ours._multilabel else y_type
    binarizer.sparse_input_ = False
    return binarizer


def copy_back(ours: Any, theirs: Any) -> None:
    """Set the weights, the solver's slots and the stopping rule from those of scikit-learn's network."""
    ours.coefs_ = [coef.copy(order="K") for coef in theirs.coefs_]
    ours.intercepts_ = [intercept.copy() for intercept in theirs.intercepts_]
    if hasattr(theirs, "_label_binarizer"):
        ours._multilabel = theirs._label_binarizer.y_type_.startswith("multilabel")
    optimizer = getattr(theirs, "_optimizer", None)
    dtype = ours.coefs_[0].dtype
    ours._slots, ours._clock = sklearn_optimizer_state.slots_of(optimizer, layers_of(theirs), dtype)
    rule = sklearn_optimizer_state.rule_of(theirs)
    if rule is not None:
        ours._rule, ours._gains = rule
