"""Checks of the parameters of a trainer, before any work starts."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import torch

from parsgd.checkpointing.settings import settings_of
from parsgd.errors import InvalidArgumentError, check_between, check_count, check_flag, choose

_TYPES = ("float16", "bfloat16")


def check_parameters(trainer: Any, who: str = "Trainer") -> None:
    """Raise for an invalid parameter, naming it."""
    if not isinstance(trainer.module, torch.nn.Module):
        raise InvalidArgumentError(
            f"The 'module' parameter of {who} must be a torch.nn.Module. Got {trainer.module!r} instead; pass an"
            " instance, such as Net(), and not a class."
        )
    if isinstance(trainer.module, torch.jit.ScriptModule):
        raise InvalidArgumentError(
            f"The 'module' parameter of {who} must be a plain torch.nn.Module. Got a TorchScript module, whose copies"
            " do not train; pass the module from which it was made."
        )
    for name, optional in (
        ("loss", True),
        ("optimizer", False),
        ("scheduler", True),
        ("count_tokens", True),
        ("on_epoch", True),
    ):
        value = getattr(trainer, name)
        if not (callable(value) or (optional and value is None)) or isinstance(value, torch.optim.Optimizer):
            got = f"an optimizer, {type(value).__name__}" if isinstance(value, torch.optim.Optimizer) else repr(value)
            example = " Pass lambda params: torch.optim.SGD(params, lr=0.1)." if name == "optimizer" else ""
            raise InvalidArgumentError(
                f"The {name!r} parameter of {who} must be a callable{', or None' if optional else ''}. Got {got}"
                f" instead.{example}"
            )
    for name in ("batch_size", "accumulate"):
        check_count(getattr(trainer, name), name, who, optional=False)
    for name in ("n_workers", "patience", "n_threads"):
        check_count(getattr(trainer, name), name, who)
    check_between(trainer.clip_norm, 0, float("inf"), "clip_norm", who, optional=True)
    choose(trainer.scheduler_interval, ("epoch", "step"), "scheduler_interval", who)
    choose(trainer.optimizer_state, ("keep", "new"), "optimizer_state", who)
    for name in ("shuffle", "drop_last", "allow_unused"):
        check_flag(getattr(trainer, name), name, who)
    if trainer.autocast is not None:
        choose(trainer.autocast, _TYPES, "autocast", who)
    whole = isinstance(trainer.random_state, Integral) and not isinstance(trainer.random_state, bool)
    if not whole or not 0 <= trainer.random_state < 2**31:
        raise InvalidArgumentError(
            f"The 'random_state' parameter of {who} must be an int from 0 to 2**31 - 1. Got {trainer.random_state!r}"
            " instead."
        )
    settings_of(trainer.checkpoint, who)
    _check_device(trainer.device, who)


def _check_device(device: Any, who: str) -> None:
    """Raise for a device that does not exist here."""
    try:
        torch.empty(0, device=device)
    except Exception as error:
        raise InvalidArgumentError(
            f"The 'device' parameter of {who} must be a device of this machine, and {device!r} is not:"
            f" {str(error).splitlines()[0]}. Use device='cpu'."
        ) from error
