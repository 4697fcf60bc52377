"""Conversion of networks to and from PyTorch's state dictionaries; only ``tensors=True`` needs PyTorch.

Names are those of ``torch.nn.Sequential(Linear, activation, Linear, ...)``: layer ``l`` has ``"{2l}.weight"`` of shape
``(n_out, n_in)``, the transpose of ``coefs_[l]``, and ``"{2l}.bias" (n_out,)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from parsgd.errors import InvalidArgumentError, MissingDependencyError
from parsgd.estimators.fitted.transaction import snapshot
from parsgd.estimators.network.mlp_classifier import MLPClassifier
from parsgd.estimators.network.mlp_records import set_parameters
from parsgd.estimators.network.mlp_regressor import MLPRegressor
from parsgd.models.network.network_model import Network

_SUFFIXES = (".weight", ".bias")


def network_state_dict(network: Any, *, tensors: bool = False) -> dict[str, Any]:
    """Export the weights of a fitted network with PyTorch's names and layout.

    The PyTorch network computes the products of the last layer. The estimator predicts their softmax; for two classes,
    which share one output, and for multilabel targets their sigmoid; for ``loss="poisson"`` their exponential;
    otherwise the products. parsgd's gelu is ``torch.nn.GELU(approximate="tanh")``.

    Parameters
    ----------
    network : fitted MLPClassifier or MLPRegressor
    tensors : bool, default=False
        Return ``torch.Tensor`` instead of ``numpy.ndarray``.

    Returns
    -------
    dict of str to ndarray or Tensor
        Copies, in the dtype of the network.

    Raises
    ------
    parsgd.errors.InvalidArgumentError
        If it is not a network of parsgd.
    parsgd.errors.MissingDependencyError
        If ``tensors`` is True and PyTorch is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from parsgd import MLPRegressor, network_state_dict
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> network = MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs", alpha=1.0, random_state=0).fit(X, X[:, 0])
    >>> {name: array.shape for name, array in network_state_dict(network).items()}
    {'0.weight': (8, 3), '0.bias': (8,), '2.weight': (1, 8), '2.bias': (1,)}
    """
    _check_network(network, "network_state_dict")
    network = snapshot(network)
    check_is_fitted(network)
    state = {}
    for layer, (coef, intercept) in enumerate(zip(network.coefs_, network.intercepts_, strict=True)):
        state[f"{2 * layer}.weight"] = np.array(coef.T, order="C")
        state[f"{2 * layer}.bias"] = intercept.copy()
    if not tensors:
        return state
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingDependencyError("tensors=True needs PyTorch: pip install torch") from error
    return {name: torch.from_numpy(array) for name, array in state.items()}


def from_state_dict(network: Any, state: Mapping[str, Any], *, classes: Any = None, multilabel: bool = False) -> Any:
    """Build a fitted network with weights from PyTorch, for prediction or further training with ``partial_fit``.

    Parameters
    ----------
    network : MLPClassifier or MLPRegressor
        Source of the parameters: the activation must match the weights; the hidden layer sizes are taken from the
        weights. It is not changed, and need not be fitted.
    state : mapping of str to Tensor or ndarray
        A state dictionary of linear layers: ``weight (n_out, n_in)`` and ``bias (n_out,)`` of each, in order of
        execution, with any prefix before the last point of the name. A missing bias is 0.
    classes : array-like of shape (n_classes,), optional
        For an MLPClassifier: the names of its outputs, in ascending order, 0, 1, 2, ... by default. Two classes may
        have one output (of a sigmoid) or two (of a softmax); of two outputs the difference is stored.
    multilabel : bool, default=False
        For an MLPClassifier: each output is a separate label.

    Returns
    -------
    MLPClassifier or MLPRegressor

    Raises
    ------
    parsgd.errors.InvalidArgumentError
        If the weights are not those of consecutive linear layers, or do not match the classes.

    Examples
    --------
    >>> import numpy as np
    >>> from parsgd import MLPClassifier, from_state_dict
    >>> state = {"0.weight": np.eye(3), "0.bias": np.zeros(3)}
    >>> network = from_state_dict(MLPClassifier(), state, classes=["a", "b", "c"])
    >>> network.hidden_layer_sizes, network.predict([[0.1, 0.9, 0.3]])
    ((), array(['b'], dtype='<U1'))
    """
    _check_network(network, "from_state_dict")
    coefs, intercepts = _layers(state)
    fitted = clone(network)
    if isinstance(network, MLPClassifier):
        _name_outputs(fitted, coefs, intercepts, classes, multilabel)
    elif classes is not None or multilabel:
        raise InvalidArgumentError("from_state_dict accepts classes and multilabel with an MLPClassifier only.")
    layers = (coefs[0].shape[0], *(len(intercept) for intercept in intercepts))
    fitted.set_params(hidden_layer_sizes=layers[1:-1])
    fitted._check_parameters()
    fitted.n_features_in_, fitted.n_outputs_ = layers[0], layers[-1]
    fitted.t_ = fitted.n_iter_ = 0
    model = Network(layers, dtype=coefs[0].dtype.name, activation=fitted.activation, **fitted._network_loss())
    state_vector = np.zeros(model.n_parameters, dtype=model.dtype)
    set_parameters(model, state_vector, coefs + intercepts)
    vars(fitted).update(fitted._weights_of(model, state_vector))
    return fitted


def _layers(state: Mapping[str, Any]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return weights ``(n_in, n_out)`` and biases of all layers, in one dtype."""
    if not isinstance(state, Mapping) or not state:
        raise InvalidArgumentError(
            f"The 'state' parameter of from_state_dict must be a state dictionary. Got {state!r}."
        )
    arrays = {str(name): _array(name, value) for name, value in state.items()}
    for name in arrays:
        layer_name = name.rpartition(".")[0]
        if not f".{name}".endswith(_SUFFIXES) or f"{layer_name}.weight".lstrip(".") not in arrays:
            raise InvalidArgumentError(
                f"state holds {name!r}, which is not the weight or bias of a linear layer. Remove it."
            )
    weights = [name for name in arrays if f".{name}".endswith(".weight")]
    coefs, intercepts = [], []
    dtype = np.result_type(np.float32, *arrays.values())
    for name in weights:
        bias = name.removesuffix("weight") + "bias"
        n_out = len(arrays[name])
        biases = arrays.get(bias, np.zeros(n_out))
        if arrays[name].ndim != 2 or not arrays[name].size or biases.shape != (n_out,):
            shapes = f"{arrays[name].shape} and {biases.shape}"
            raise InvalidArgumentError(
                f"{name!r} and its bias should be (n_out, n_in) and (n_out,); they are {shapes}."
            )
        coefs.append(np.ascontiguousarray(arrays[name].T, dtype=dtype))
        intercepts.append(biases.astype(dtype))
    for (name, next_name), (coef, next_coef) in zip(pairwise(weights), pairwise(coefs), strict=True):
        if coef.shape[1] != next_coef.shape[0]:
            raise InvalidArgumentError(
                f"{next_name!r} takes {next_coef.shape[0]} inputs, {name!r} gives {coef.shape[1]} outputs: the"
                " layers do not match."
            )
    return coefs, intercepts


def _array(name: Any, value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        # NumPy has no bfloat16
        value = (value.float() if value.dtype.itemsize < 4 else value).numpy()
    array = np.asarray(value)
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise InvalidArgumentError(f"state[{name!r}] must hold finite floating-point numbers.")
    return array.astype(np.float32) if array.dtype.itemsize < 4 else array


def _name_outputs(
    fitted: Any, coefs: list[np.ndarray], intercepts: list[np.ndarray], classes: Any, multilabel: bool
) -> None:
    """Set ``classes_``; convert two softmax outputs for two classes to one sigmoid output."""
    n_outputs = len(intercepts[-1])
    n_classes = n_outputs if multilabel else max(n_outputs, 2)
    classes = np.arange(n_classes) if classes is None else np.asarray(classes)
    is_sorted = classes.ndim == 1 and np.array_equal(np.unique(classes), classes)
    if not is_sorted or len(classes) != n_classes:
        raise InvalidArgumentError(
            f"The 'classes' parameter of from_state_dict must name the classes of {n_outputs} outputs, in ascending"
            f" order and each once. Got {classes.tolist()!r} instead."
        )
    if not multilabel and n_outputs == 2:
        coefs[-1] = np.ascontiguousarray(coefs[-1][:, 1:] - coefs[-1][:, :1])
        intercepts[-1] = intercepts[-1][1:] - intercepts[-1][:1]
    fitted.classes_, fitted._multilabel = classes, bool(multilabel)


def _check_network(network: Any, who: str) -> None:
    if not isinstance(network, (MLPClassifier, MLPRegressor)):
        raise InvalidArgumentError(f"{who} takes a parsgd MLPClassifier or MLPRegressor. Got {type(network)!r}.")
