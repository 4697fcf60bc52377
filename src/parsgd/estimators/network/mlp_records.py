"""Records of network fits: weights, loss curves and the stopping rule that calls of ``partial_fit`` share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from parsgd.errors import Outcome
from parsgd.estimators.epochs import epochs_of, idle_epochs
from parsgd.estimators.fitted.transaction import forget
from parsgd.estimators.network.mlp_params import MLPParams
from parsgd.models.network.forward import LOSSES
from parsgd.models.network.network_model import Network
from parsgd.training import loop
from parsgd.training.stopping import StoppingRule


class MLPRecords(MLPParams):
    """Fitted attributes of both network estimators."""

    def _clear(self) -> None:
        """Delete the attributes of earlier fits."""
        forget(self, "_no_improvement_count", "_clock", "_slots", "coefs_", "intercepts_", "merge_weights_")
        self._clear_stopping_rule()
        self.t_: int = 0
        if self.solver != "lbfgs":
            forget(self, "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_")

    def _clear_stopping_rule(self) -> None:
        """Delete the stopping rule that calls of partial_fit share."""
        forget(self, "_rule", "_gains")

    def _weights_of(self, model: Network, state: np.ndarray) -> dict[str, Any]:
        """Return the attributes that hold a state, without copies."""
        views = model.views(state)
        return {
            "coefs_": views["coefs"],
            "intercepts_": views["intercepts"],
            "_slots": state[model.n_parameters :],
            "n_layers_": len(model.sizes),
            "out_activation_": LOSSES[model.loss].activation,
        }

    def _extend_curves(self, fit: loop.Fit) -> None:
        """Extend the loss and score curves.

        The previous fit may have kept other curves, because ``early_stopping`` can change between fits.
        """
        losses, scores = epochs_of(fit, self.algorithm_.algorithm.traits.one_shot)
        self.loss_curve_: list[float] = [*getattr(self, "loss_curve_", ()), *losses]
        costs = [-score for score in scores] if self.early_stopping else losses
        # a private attribute of scikit-learn that its own tests, and other programs, read
        self._no_improvement_count = idle_epochs(costs, self.tol)
        best = getattr(self, "best_loss_", None)
        previous_scores = getattr(self, "validation_scores_", None)
        if self.early_stopping:
            self.best_loss_: float | None = None
            self.validation_scores_: list[float] = [*(previous_scores or ()), *scores]
            # best score of this fit only, whose best weights are kept
            self.best_validation_score_: float = max((score for score in scores if score == score), default=-np.inf)
        else:
            self.best_loss_ = min(losses if best is None else [best, *losses])
            self.validation_scores_ = previous_scores
            self.best_validation_score_ = getattr(self, "best_validation_score_", None)

    def _stopping(self, monitor: Any, partial: bool) -> StoppingRule:
        """Build the stopping rule; scikit-learn's networks wait one epoch longer than its linear models."""
        adaptive = self.solver == "sgd" and self.learning_rate == "adaptive"
        return StoppingRule(
            tol=None if partial else float(self.tol),
            patience=self.n_iter_no_change + 1,
            adaptive_from=float(self.learning_rate_init) if adaptive else None,
            monitor=None if partial else monitor,
            decides=bool(self.early_stopping),
            keeps_best=bool(self.early_stopping),
        )

    def _update_rule(self, model: Network, state: np.ndarray, monitor: Any) -> None:
        """Apply the stopping rule that calls of ``partial_fit`` share.

        With early stopping it restores the best state after too many calls without a better score. With
        ``learning_rate="adaptive"`` it lowers the learning rate.
        """
        if "_rule" not in vars(self):
            self._rule = self._stopping(None, partial=False)
            self._gains = np.ones(1)
        rule, lr_scale = self._rule, self._gains
        if not self.early_stopping:
            if rule.adaptive_from is not None:
                rule.update(np.array([self.loss_]), state, lr_scale)
            return
        rule.monitor = monitor
        rule.update(np.array([self.loss_]), state, lr_scale)
        rule.monitor = None
        self.validation_scores_.append(rule.scores[-1])
        self.best_validation_score_ = max(rule.scores)
        if not lr_scale.any():
            vars(self).update(self._weights_of(model, rule.best_state))
            self.outcome_ = Outcome.CONVERGED


def layers_of(network: Any) -> tuple[int, ...]:
    """Return the layer sizes of a fitted network, input and output included."""
    return (network.coefs_[0].shape[0], *(coef.shape[1] for coef in network.coefs_))


def set_parameters(model: Network, state: np.ndarray, arrays: Sequence[np.ndarray]) -> None:
    """Set the parameters in a state to ``arrays``: the weights of all layers, then their biases."""
    views = model.views(state)
    for view, array in zip(views["coefs"] + views["intercepts"], arrays, strict=True):
        view[:] = array
