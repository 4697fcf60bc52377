"""Trial of an estimator's optimizer and scheduler, before any worker makes its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import Any

import torch

from parsgd.errors import InvalidArgumentError


def try_optimizer(
    make: Callable[..., Any], make_scheduler: Callable[..., Any] | None, module: torch.nn.Module, owner: str
) -> dict[str, Any]:
    """Make an optimizer and a scheduler for the module, and return a description of both in plain values.

    Raises
    ------
    InvalidArgumentError
        If one of them cannot be made, or its steps need an argument, such as a closure or a validation loss.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not trained:
        # refused later, with a message of its own
        return {}
    optimizer = _made(make, trained, "optimizer", owner)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InvalidArgumentError(
            f"The 'optimizer' parameter of {owner} must make a torch.optim.Optimizer. It made"
            f" {type(optimizer).__name__} instead."
        )
    _refuse_arguments(optimizer, "optimizer", "torch.optim.AdamW", owner)
    # before the scheduler is made, which may change the rates
    groups = [_numbers(group) for group in optimizer.param_groups]
    found: dict[str, Any] = {"optimizer": {"class": type(optimizer).__name__, "groups": groups}}
    if make_scheduler is not None:
        scheduler = _made(make_scheduler, optimizer, "scheduler", owner)
        _refuse_arguments(scheduler, "scheduler", "torch.optim.lr_scheduler.CosineAnnealingLR", owner)
        found["scheduler"] = {"class": type(scheduler).__name__, **_numbers(scheduler.state_dict())}
    return found


def _numbers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that are numbers, texts, or tuples and lists of these."""
    plain = (bool, int, float, str, type(None))
    return {
        name: value
        for name, value in settings.items()
        if isinstance(value, plain)
        or (isinstance(value, (tuple, list)) and all(isinstance(part, plain) for part in value))
    }


def _refuse_arguments(made: Any, component: str, instead: str, owner: str) -> None:
    """Raise unless ``made.step()`` can be called."""
    if not callable(getattr(made, "step", None)):
        raise InvalidArgumentError(
            f"The {component!r} parameter of {owner} must make an object with a method step. It made"
            f" {type(made).__name__} instead; use {instead}."
        )
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    parameters = signature(made.step).parameters.values()
    required = [p.name for p in parameters if p.kind in kinds and p.default is Parameter.empty]
    if required:
        raise InvalidArgumentError(
            f"The {component!r} parameter of {owner} must make steps without arguments. {type(made).__name__} needs"
            f" {', '.join(required)}; use {instead}."
        )


def _made(make: Callable[..., Any], argument: Any, component: str, owner: str) -> Any:
    try:
        return make(argument)
    except Exception as error:
        raise InvalidArgumentError(
            f"The {component!r} parameter of {owner} failed: {type(error).__name__}: {error}. Set the arguments that"
            " it needs."
        ) from error
