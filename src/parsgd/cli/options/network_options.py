"""Networks on the command line: the options of ``fit`` as parameters of a network."""

from __future__ import annotations

import math
from typing import Any

from parsgd.cli.cli_errors import UsageError

# --hidden turns each of these models into a network.
NETWORKS = {"sgd-classifier": "mlp-classifier", "sgd-regressor": "mlp-regressor"}
# Parameters that a network lacks, each with the reason or the alternative.
_UNSUPPORTED = {
    "penalty": "its penalty is l2 with strength --alpha",
    "average": "to average several workers use --workers",
    "loss": "its loss is the cross-entropy",
}
_MINIBATCH_OPTIONS = {"n_jobs": "workers", "algorithm": "algorithm", "engine": "engine", "batch_size": "batch-size"}


def layers(text: str) -> tuple[int, ...]:
    """Parse the sizes of the hidden layers.

    >>> layers("256,128")
    (256, 128)
    """
    sizes = [part.strip() for part in text.split(",")]
    if not all(size.isascii() and size.isdigit() and int(size) > 0 for size in sizes):
        raise UsageError(f"--hidden {text}: give the number of units of each hidden layer, such as --hidden 256,128")
    return tuple(int(size) for size in sizes)


def model_parameters(model: str, parameters: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the model and its parameters; with hidden layers those of a network.

    >>> model_parameters("sgd-regressor", {"hidden_layer_sizes": (8,), "eta0": 0.01})
    ('mlp-regressor', {'hidden_layer_sizes': (8,), 'learning_rate_init': 0.01})
    """
    if "hidden_layer_sizes" in parameters:
        model = NETWORKS.get(model, model)
    if model not in NETWORKS.values():
        if "hidden_layer_sizes" in parameters:
            raise UsageError(f"{model} has no hidden layers; use --hidden with {' or '.join(NETWORKS)}.")
        return model, parameters
    for name in parameters:
        if name in _UNSUPPORTED and not (name == "loss" and model == "mlp-regressor"):
            raise UsageError(f"A network ({model}) has no {name}: {_UNSUPPORTED[name]}. Remove --{name}.")
    _check_solver(parameters.get("solver", "adam"), parameters)
    parameters = dict(parameters)
    if "eta0" in parameters:
        parameters["learning_rate_init"] = parameters.pop("eta0")
    if parameters.get("tol", 0) is None:
        # the tol of a network must be a number; these values disable the stopping rule
        parameters |= {"tol": 0.0, "n_iter_no_change": math.inf}
    return model, parameters


def _check_solver(solver: Any, parameters: dict[str, Any]) -> None:
    """Raise UsageError for parameters that the solver would ignore."""
    if "learning_rate" in parameters and solver != "sgd":
        raise UsageError(
            f"--learning-rate needs --set solver=sgd for networks; {solver} has no schedule. Use --eta0 for the rate."
        )
    unused = [option for name, option in _MINIBATCH_OPTIONS.items() if name in parameters]
    if solver == "lbfgs" and unused:
        raise _lbfgs_error(unused[0])


def check_rounds(estimator: Any) -> None:
    """Raise UsageError for ``--round-seconds`` if the solver has no rounds."""
    if getattr(estimator, "solver", None) == "lbfgs":
        raise _lbfgs_error("round-seconds")


def _lbfgs_error(option: str) -> UsageError:
    return UsageError(
        f"--{option} needs --set solver=adam, adamw or sgd for networks; lbfgs uses all rows in each step, on one"
        f" worker. Remove --{option}."
    )
