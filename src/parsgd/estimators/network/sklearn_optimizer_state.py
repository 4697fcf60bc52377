"""Conversion of solver state between parsgd and scikit-learn's optimizers.

Both hold the same numbers: the velocity of momentum and Nesterov, Adam's two moments. parsgd stores them as slots after
the parameters, scikit-learn as lists of arrays, weights first and then biases.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parsgd.estimators.network.mlp_records import layers_of, set_parameters
from parsgd.models.network.network_model import Network
from parsgd.training.stopping import StoppingRule


def optimizer_of(network: Any, parameters: list[np.ndarray]) -> Any:
    """Build the scikit-learn optimizer that continues a fitted parsgd network's stochastic solver.

    ``parameters`` are the weights and then the biases of scikit-learn's network, which the optimizer updates in place.
    """
    from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

    moments = _moments_of(network)
    rate = float(network.learning_rate_init)
    if network.solver == "sgd":
        optimizer = SGDOptimizer(
            parameters, rate, network.learning_rate, network.momentum, network.nesterovs_momentum, network.power_t
        )
        if moments:
            optimizer.velocities = moments[0]
        if network.learning_rate == "invscaling" and network.t_:
            optimizer.learning_rate = rate / (network.t_ + 1) ** network.power_t
        if network.learning_rate == "adaptive":
            optimizer.learning_rate = rate * float(getattr(network, "_gains", [1.0])[0])
        return optimizer
    optimizer = AdamOptimizer(parameters, rate, network.beta_1, network.beta_2, network.epsilon)
    if len(moments) == 2:
        optimizer.ms, optimizer.vs = moments
        optimizer.t = int(network._clock) - 1
    return optimizer


def slots_of(optimizer: Any, layers: tuple[int, ...], dtype: Any) -> tuple[np.ndarray, float]:
    """Return parsgd's slots and schedule step from scikit-learn's optimizer; None gives no slots."""
    moments: list[list[np.ndarray]] = []
    schedule_step = 1.0
    if hasattr(optimizer, "vs"):
        moments, schedule_step = [optimizer.ms, optimizer.vs], optimizer.t + 1.0
    elif getattr(optimizer, "momentum", 0) > 0:
        moments = [optimizer.velocities]
    network = Network(layers, dtype=dtype)
    slots = np.zeros((len(moments), network.n_parameters), dtype=dtype)
    for slot, arrays in zip(slots, moments, strict=True):
        set_parameters(network, slot, arrays)
    return slots.ravel(), schedule_step


def rule_of(theirs: Any) -> tuple[StoppingRule, np.ndarray] | None:
    """Return the stopping rule of an adaptive rate across ``partial_fit`` calls, and its lr scale; or None."""
    optimizer, best = getattr(theirs, "_optimizer", None), getattr(theirs, "best_loss_", None)
    if best is None or getattr(optimizer, "lr_schedule", None) != "adaptive":
        return None
    rule = StoppingRule(
        float(theirs.tol),
        theirs.n_iter_no_change + 1,
        float(theirs.learning_rate_init),
        decides=False,
        best=np.array([float(best)]),
        idle=np.array([int(theirs._no_improvement_count)]),
    )
    return rule, np.array([optimizer.learning_rate / theirs.learning_rate_init])


def _moments_of(network: Any) -> list[list[np.ndarray]]:
    """Copy each slot of a fitted parsgd network as a list of arrays, weights first and then biases."""
    model = Network(layers_of(network))
    slots = getattr(network, "_slots", np.zeros(0)).reshape(-1, model.n_parameters)
    views = [model.views(slot) for slot in slots]
    return [[array.copy() for array in view["coefs"] + view["intercepts"]] for view in views]
