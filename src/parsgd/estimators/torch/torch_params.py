"""Parameters of the estimators around a PyTorch module, and their checks."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator

from parsgd.checkpointing.settings import settings_of
from parsgd.core import Algorithm, Engine
from parsgd.errors import InvalidArgumentError
from parsgd.estimators.torch.components.component_params import ComponentParams
from parsgd.estimators.torch.components.input_tensors import INPUT_TYPES
from parsgd.estimators.validation import param_validation

if TYPE_CHECKING:
    from parsgd.estimators.torch.trainer import Trainer
    from parsgd.estimators.validation.argument_types import CheckpointLike, RandomState

# Parameters that a Trainer receives unchanged.
TRAINER_PARAMS = (
    "algorithm",
    "engine",
    "n_workers",
    "batch_size",
    "scheduler_interval",
    "accumulate",
    "clip_norm",
    "autocast",
    "device",
    "optimizer_state",
    "shuffle",
    "drop_last",
    "allow_unused",
    "n_threads",
    "checkpoint",
    "on_epoch",
    "verbose",
)


class TorchParams(ComponentParams, BaseEstimator):
    """Constructor of the estimators, and checks of what it stores."""

    _components: ClassVar[tuple[str, ...]] = ("module", "loss", "optimizer", "scheduler")

    def __init__(
        self,
        module: torch.nn.Module | Callable[..., torch.nn.Module] | None = None,
        *,
        loss: Callable[..., Any] | None = None,
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
        lr: float | None = 1e-3,
        max_epochs: int = 10,
        batch_size: int = 32,
        algorithm: str | Algorithm = "local",
        engine: str | Engine = "auto",
        n_workers: int | None = 1,
        scheduler: Callable[..., Any] | None = None,
        scheduler_interval: str = "epoch",
        accumulate: int = 1,
        clip_norm: float | None = None,
        autocast: str | None = None,
        device: str = "cpu",
        optimizer_state: str = "keep",
        shuffle: bool = True,
        drop_last: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        warm_start: bool = False,
        input_type: str | None = None,
        allow_unused: bool = False,
        n_threads: int | None = None,
        random_state: RandomState = None,
        checkpoint: CheckpointLike = None,
        on_epoch: Callable[[Trainer], bool | None] | None = None,
        verbose: bool | int = False,
        **components: Any,
    ):
        self._store(locals())

    def _check_parameters(self) -> None:
        """Raise for an invalid parameter, naming it, before any work starts."""
        check_number, check_choice = param_validation.check_number, param_validation.check_choice
        for name in ("batch_size", "max_epochs", "accumulate", "patience"):
            check_number(self, name, 1, whole=True)
        for name in ("n_workers", "n_threads"):
            check_number(self, name, 1, whole=True, optional=True)
        check_number(self, "lr", 0, optional=True)
        check_number(self, "clip_norm", 0, optional=True, closed="neither")
        check_number(self, "validation_fraction", 0, 1, closed="neither")
        for name in ("shuffle", "drop_last", "early_stopping", "warm_start", "allow_unused"):
            param_validation.check_flag(self, name)
        check_choice(self, "scheduler_interval", ("epoch", "step"))
        check_choice(self, "optimizer_state", ("keep", "new"))
        check_choice(self, "autocast", ("bfloat16", "float16", None))
        check_choice(self, "input_type", (*INPUT_TYPES, None))
        param_validation.check_random_state(self)
        param_validation.check_verbose(self)
        for name in ("optimizer", "scheduler", "on_epoch"):
            self._check_callable(name)
        self._check_device()
        settings_of(self.checkpoint, type(self).__name__)
        if self.checkpoint is not None and not isinstance(self.random_state, Integral):
            raise InvalidArgumentError(
                f"The 'random_state' parameter of {type(self).__name__} must be an int where checkpoints are written,"
                f" so that a resumed fit has the same seed. Got {self.random_state!r} instead."
            )

    def _check_callable(self, name: str) -> None:
        value, optional = getattr(self, name), name != "optimizer"
        # schedulers and optimizers are made per worker
        made = isinstance(value, (torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler))
        if (callable(value) and not made) or (optional and value is None):
            return
        example = {"optimizer": ", such as torch.optim.SGD", "scheduler": ", such as torch.optim.lr_scheduler.StepLR"}
        got = f"an instance of {type(value).__name__}" if made else repr(value)
        raise InvalidArgumentError(
            f"The {name!r} parameter of {type(self).__name__} must be a class or function{example.get(name, '')}"
            f"{', or None' if optional else ''}. Got {got} instead."
        )

    def _check_device(self) -> None:
        try:
            torch.empty(0, device=self.device)
        except Exception as error:
            raise InvalidArgumentError(
                f"The 'device' parameter of {type(self).__name__} must be a device of this machine, such as 'cpu'. Got"
                f" {self.device!r} instead: {str(error).splitlines()[0]}"
            ) from error


def check_weights(weight: np.ndarray, argument: str = "sample_weight") -> None:
    """Raise for weights below 0, and for weights that are all 0."""
    if (weight < 0).any():
        raise InvalidArgumentError(f"{argument} must be at least 0 in every row. The smallest is {weight.min()}.")
    if not weight.any():
        raise InvalidArgumentError(f"{argument} must not be zero everywhere. Give some row a positive weight.")
