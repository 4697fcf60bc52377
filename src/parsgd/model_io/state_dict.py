"""Networks as PyTorch's state dictionaries, and back; PyTorch itself is needed only if tensors are asked for.

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
from parsgd.estimators.network.mlp_classifier import MLPClassifier
from parsgd.estimators.network.mlp_regressor import MLPRegressor
from parsgd.estimators.transaction import snapshot
from parsgd.models.network.network_model import Network

_SUFFIXES = (".weight", ".bias")


def network_state_dict(network: Any, *, tensors: bool = False) -> dict[str, Any]:
    """The weights of a fitted network as PyTorch names and lays them out.

    The values are those of the last layer's products: what the estimator predicts is their softmax; for two classes,
    which share one output, and for several labels a row their sigmoid; for ``loss="poisson"`` their exponential; else
    they themselves.  PyTorch's name for parsgd's gelu is ``torch.nn.GELU(approximate="tanh")``.

    Parameters
    ----------
    network : fitted MLPClassifier or MLPRegressor
    tensors : bool, default=False
        Whether to give ``torch.Tensor`` and not ``numpy.ndarray``.

    Returns
    -------
    dict of str to ndarray or Tensor
        Copies, in the dtype of the network.

    Raises
    ------
    parsgd.errors.InvalidArgumentError
        If it is no network of parsgd.
    parsgd.errors.MissingDependencyError
        If tensors are asked for and PyTorch is not installed.

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
    """A fitted network with weights from PyTorch, which predicts and goes on with ``partial_fit``.

    Parameters
    ----------
    network : MLPClassifier or MLPRegressor
        Whose parameters to take: the activation must be that of the weights, the sizes of the hidden layers follow from
        them.  It is not changed, and need not be fitted.
    state : mapping of str to Tensor or ndarray
        A state dictionary of linear layers: ``weight (n_out, n_in)`` and ``bias (n_out,)`` of each, in the order in
        which they run, whatever stands before the last point of their names.  Layers without bias get one of 0.
    classes : array-like of shape (n_classes,), optional
        Of an MLPClassifier: the names of its outputs, in ascending order; not given: 0, 1, 2, ...  Two classes may have
        one output (of a sigmoid) or two (of a softmax); of two outputs the difference is kept.
    multilabel : bool, default=False
        Of an MLPClassifier: whether each output stands for a label of its own.

    Returns
    -------
    MLPClassifier or MLPRegressor

    Raises
    ------
    parsgd.errors.InvalidArgumentError
        If the weights are not those of linear layers that follow one another, or do not go with the classes.

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
        raise InvalidArgumentError("from_state_dict takes classes and multilabel with an MLPClassifier only.")
    layers = (coefs[0].shape[0], *(len(intercept) for intercept in intercepts))
    fitted.set_params(hidden_layer_sizes=layers[1:-1])
    fitted._check_parameters()
    fitted.n_features_in_, fitted.n_outputs_ = layers[0], layers[-1]
    fitted.t_ = fitted.n_iter_ = 0
    model = Network(layers, dtype=coefs[0].dtype.name, activation=fitted.activation, **fitted._network_loss())
    held = np.zeros(model.n_parameters, dtype=model.dtype)
    views = model.views(held)
    for view, array in zip(views["coefs"] + views["intercepts"], coefs + intercepts, strict=True):
        view[:] = array
    fitted._keep(model, held)
    return fitted


def _layers(state: Mapping[str, Any]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Weights ``(n_in, n_out)`` and biases of all layers, in one dtype."""
    if not isinstance(state, Mapping) or not state:
        raise InvalidArgumentError(
            f"The 'state' parameter of from_state_dict must be a state dictionary. Got {state!r}."
        )
    arrays = {str(name): _array(name, value) for name, value in state.items()}
    for name in arrays:
        owner = name.rpartition(".")[0]
        if not f".{name}".endswith(_SUFFIXES) or f"{owner}.weight".lstrip(".") not in arrays:
            raise InvalidArgumentError(
                f"state holds {name!r}, which is no weight or bias of a linear layer. Leave it out."
            )
    weights = [name for name in arrays if f".{name}".endswith(".weight")]
    coefs, intercepts = [], []
    dtype = np.result_type(np.float32, *arrays.values())
    for name in weights:
        bias = name.removesuffix("weight") + "bias"
        n_out = len(arrays[name])
        given = arrays.get(bias, np.zeros(n_out))
        if arrays[name].ndim != 2 or not arrays[name].size or given.shape != (n_out,):
            shapes = f"{arrays[name].shape} and {given.shape}"
            raise InvalidArgumentError(
                f"{name!r} and its bias should be (n_out, n_in) and (n_out,); they are {shapes}."
            )
        coefs.append(np.ascontiguousarray(arrays[name].T, dtype=dtype))
        intercepts.append(given.astype(dtype))
    for (name, after), (coef, following) in zip(pairwise(weights), pairwise(coefs), strict=True):
        if coef.shape[1] != following.shape[0]:
            raise InvalidArgumentError(
                f"{after!r} takes {following.shape[0]} inputs, {name!r} gives {coef.shape[1]} outputs: these layers do"
                " not follow one another."
            )
    return coefs, intercepts


def _array(name: Any, value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        # NumPy does not know bfloat16
        value = (value.float() if value.dtype.itemsize < 4 else value).numpy()
    array = np.asarray(value)
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise InvalidArgumentError(f"state[{name!r}] should hold finite floating-point numbers, and does not.")
    return array.astype(np.float32) if array.dtype.itemsize < 4 else array


def _name_outputs(
    fitted: Any, coefs: list[np.ndarray], intercepts: list[np.ndarray], classes: Any, multilabel: bool
) -> None:
    """Set ``classes_``; of two outputs for two classes, which are softmax's, make sigmoid's one."""
    n_outputs = len(intercepts[-1])
    if classes is None:
        classes = np.arange(n_outputs if multilabel else max(n_outputs, 2))
    classes = np.asarray(classes)
    possible = {n_outputs} if multilabel else {max(n_outputs, 2)}
    sorted_ = classes.ndim == 1 and np.array_equal(np.unique(classes), classes)
    if not sorted_ or len(classes) not in possible:
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
