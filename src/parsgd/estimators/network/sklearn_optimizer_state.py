"""What a network's solver remembers, as parsgd keeps it and as scikit-learn's optimisers keep it.

Both are the same numbers: the velocity of momentum and Nesterov, Adam's two moments.  parsgd has them as slots beside
the parameters, scikit-learn as lists of arrays, weights first and then biases.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parsgd.models.network.network_model import Network
from parsgd.training.stopping import StoppingRule


def optimizer_of(network: Any, parameters: list[np.ndarray]) -> Any:
    """scikit-learn's optimiser, that goes on where a fitted parsgd network's solver stopped.

    ``parameters`` are the weights and then the biases of scikit-learn's network, which the optimiser steps in place.
    None of lbfgs, which remembers nothing.
    """
    from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

    if network.solver == "lbfgs":
        return None
    kept = _split(network)
    rate = float(network.learning_rate_init)
    if network.solver == "sgd":
        optimizer = SGDOptimizer(
            parameters, rate, network.learning_rate, network.momentum, network.nesterovs_momentum, network.power_t
        )
        if kept:
            optimizer.velocities = kept[0]
        if network.learning_rate == "invscaling" and network.t_:
            optimizer.learning_rate = rate / (network.t_ + 1) ** network.power_t
        if network.learning_rate == "adaptive":
            optimizer.learning_rate = rate * float(getattr(network, "_gains", [1.0])[0])
        return optimizer
    optimizer = AdamOptimizer(parameters, rate, network.beta_1, network.beta_2, network.epsilon)
    if len(kept) == 2:
        optimizer.ms, optimizer.vs = kept
        optimizer.t = int(network._clock) - 1
    return optimizer


def slots_of(optimizer: Any, layers: tuple[int, ...], dtype: Any) -> tuple[np.ndarray, float]:
    """parsgd's slots, and its clock, from scikit-learn's optimiser; of None there are no slots."""
    kept: list[list[np.ndarray]] = []
    schedule_step = 1.0
    if hasattr(optimizer, "vs"):
        kept, schedule_step = [optimizer.ms, optimizer.vs], optimizer.t + 1.0
    elif getattr(optimizer, "momentum", 0) > 0:
        kept = [optimizer.velocities]
    network = Network(layers, dtype=dtype)
    slots = np.zeros((len(kept), network.n_parameters), dtype=dtype)
    for slot, arrays in zip(slots, kept, strict=True):
        views = network.views(slot)
        for view, array in zip(views["coefs"] + views["intercepts"], arrays, strict=True):
            view[:] = array
    return slots.ravel(), schedule_step


def rule_of(theirs: Any) -> tuple[StoppingRule, np.ndarray] | None:
    """By what rule an adaptive rate falls between calls of ``partial_fit``, and the factor on it so far; or None."""
    optimizer, best = getattr(theirs, "_optimizer", None), getattr(theirs, "best_loss_", None)
    if best is None or getattr(optimizer, "lr_schedule", None) != "adaptive":
        return None
    rule = StoppingRule(
        float(theirs.tol), theirs.n_iter_no_change + 1, float(theirs.learning_rate_init), decides=False,
        best=np.array([float(best)]), idle=np.array([int(theirs._no_improvement_count)]),
    )  # fmt: skip
    return rule, np.array([optimizer.learning_rate / theirs.learning_rate_init])


def layers_of(network: Any) -> tuple[int, ...]:
    """Units of all layers of a fitted network, input and output included."""
    return (network.coefs_[0].shape[0], *(coef.shape[1] for coef in network.coefs_))


def _split(network: Any) -> list[list[np.ndarray]]:
    """The slots of a fitted parsgd network, each as copies of its weights' and then its biases' numbers."""
    model = Network(layers_of(network))
    slots = getattr(network, "_slots", np.zeros(0)).reshape(-1, model.n_parameters)
    views = [model.views(slot) for slot in slots]
    return [[array.copy() for array in view["coefs"] + view["intercepts"]] for view in views]
