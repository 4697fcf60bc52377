"""Networks on the command line: what makes a model one, and the options of ``fit`` as networks take them."""

from __future__ import annotations

import math
from typing import Any

from parsgd.cli.cli_errors import UsageError

# With hidden layers each of these models is a network.
NETWORKS = {"sgd-classifier": "mlp-classifier", "sgd-regressor": "mlp-regressor"}
# What a network does not have, and what to type instead.
_INSTEAD = {
    "penalty": "its penalty is l2, of strength --alpha",
    "average": "to average the work of several workers give --workers",
    "loss": "its loss is the cross-entropy of its classes",
}
_OF_STEPS = {"n_jobs": "workers", "algorithm": "algorithm", "engine": "engine", "batch_size": "batch-size"}


def layers(text: str) -> tuple[int, ...]:
    """Sizes of the hidden layers.

    >>> layers("256,128")
    (256, 128)
    """
    sizes = [part.strip() for part in text.split(",")]
    if not all(size.isascii() and size.isdigit() and int(size) > 0 for size in sizes):
        raise UsageError(f"--hidden {text}: write how many units each hidden layer has, such as --hidden 256,128")
    return tuple(int(size) for size in sizes)


def understood(model: str, parameters: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The model that is meant, and the parameters by the names that it has for them.

    >>> understood("sgd-regressor", {"hidden_layer_sizes": (8,), "eta0": 0.01})
    ('mlp-regressor', {'hidden_layer_sizes': (8,), 'learning_rate_init': 0.01})
    """
    if "hidden_layer_sizes" in parameters:
        model = NETWORKS.get(model, model)
    if model not in NETWORKS.values():
        if "hidden_layer_sizes" in parameters:
            raise UsageError(f"{model} has no hidden layers; --hidden is for {' and '.join(NETWORKS)}.")
        return model, parameters
    for name in parameters:
        if name in _INSTEAD and not (name == "loss" and model == "mlp-regressor"):
            raise UsageError(f"A network ({model}) has no {name}: {_INSTEAD[name]}. Leave out --{name}.")
    _check_solver(parameters.get("solver", "adam"), parameters)
    parameters = dict(parameters)
    if "eta0" in parameters:
        parameters["learning_rate_init"] = parameters.pop("eta0")
    if parameters.get("tol", 0) is None:
        # a network's tol is a number; this is how it never stops
        parameters |= {"tol": 0.0, "n_iter_no_change": math.inf}
    return model, parameters


def _check_solver(solver: Any, parameters: dict[str, Any]) -> None:
    """Refuse what the solver would leave unused."""
    if "learning_rate" in parameters and solver != "sgd":
        raise UsageError(
            f"--learning-rate is for networks with --set solver=sgd; {solver} follows no schedule. Leave it out, and"
            " give the rate as --eta0."
        )
    unused = [option for name, option in _OF_STEPS.items() if name in parameters]
    if solver == "lbfgs" and unused:
        raise _not_of_lbfgs(unused[0])


def check_rounds(estimator: Any) -> None:
    """Refuse ``--round-seconds`` where there are no rounds."""
    if getattr(estimator, "solver", None) == "lbfgs":
        raise _not_of_lbfgs("round-seconds")


def _not_of_lbfgs(option: str) -> UsageError:
    return UsageError(
        f"--{option} is for networks with --set solver=adam, adamw or sgd; lbfgs takes all rows at once, on one"
        " worker. Leave it out."
    )
