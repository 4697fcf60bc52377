"""Trial of an estimator's optimizer and scheduler, before any worker makes its own."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any

import torch

from parsgd.errors import InvalidArgumentError


def try_optimizer(
    make: Callable[..., Any], make_scheduler: Callable[..., Any] | None, module: torch.nn.Module, owner: str
) -> None:
    """Make an optimizer and a scheduler for the module.

    Raises
    ------
    InvalidArgumentError
        If one of them cannot be made, or the steps of the optimizer need a closure.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not trained:
        # refused later, with a message of its own
        return
    optimizer = _made(make, trained, "optimizer", owner)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InvalidArgumentError(
            f"The 'optimizer' parameter of {owner} must make a torch.optim.Optimizer. It made"
            f" {type(optimizer).__name__} instead."
        )
    closure = signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is Parameter.empty:
        raise InvalidArgumentError(
            f"The 'optimizer' parameter of {owner} must make steps from gradients alone. {type(optimizer).__name__}"
            " needs a closure; use torch.optim.AdamW or torch.optim.SGD."
        )
    if make_scheduler is not None:
        _made(make_scheduler, optimizer, "scheduler", owner)


def _made(make: Callable[..., Any], argument: Any, component: str, owner: str) -> Any:
    try:
        return make(argument)
    except Exception as error:
        raise InvalidArgumentError(
            f"The {component!r} parameter of {owner} failed: {type(error).__name__}: {error}. Pass its arguments as"
            f" {component}__name=value."
        ) from error
