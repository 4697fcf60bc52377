"""Losses of estimators: from a class, a module or a function, with a value per example where rows have weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from parsgd.errors import InvalidArgumentError
from parsgd.estimators.torch.components.component_params import accepted_arguments, with_settings

# Losses of classifiers by what they read: the class, and the function of the same formula.
_FAMILIES = {
    "logits": (torch.nn.CrossEntropyLoss, functional.cross_entropy),
    "log_probabilities": (torch.nn.NLLLoss, functional.nll_loss),
    "one_logit": (torch.nn.BCEWithLogitsLoss, functional.binary_cross_entropy_with_logits),
    "one_probability": (torch.nn.BCELoss, functional.binary_cross_entropy),
}
ONE_COLUMN = frozenset({"one_logit", "one_probability"})
COLUMN_PER_CLASS = frozenset({"logits", "log_probabilities"})


def family_of(loss: Any) -> str:
    """Return what a classifier's loss reads, ``"other"`` for losses that PyTorch does not have.

    >>> family_of(torch.nn.BCEWithLogitsLoss), family_of(functional.nll_loss), family_of(None)
    ('one_logit', 'log_probabilities', 'other')
    """
    loss = loss.func if isinstance(loss, partial) else loss
    for family, (kind, function) in _FAMILIES.items():
        if loss is function or isinstance(loss, kind) or (isinstance(loss, type) and issubclass(loss, kind)):
            return family
    return "other"


def make_loss(loss: Any, settings: Mapping[str, Any], weighted: bool, device: str, owner: str) -> Any:
    """Return the loss as a function of output and target; for ``weighted`` rows with a value per example if possible.

    Raises
    ------
    InvalidArgumentError
        If the loss is not callable, or does not accept a setting.
    """
    if not callable(loss):
        raise InvalidArgumentError(
            f"The 'loss' parameter of {owner} must be a class such as torch.nn.MSELoss, an instance of it, a function"
            f" of (output, target), or None. Got {loss!r} instead."
        )
    if isinstance(loss, torch.nn.Module) and settings:
        raise InvalidArgumentError(
            f"The parameters {', '.join(f'loss__{name}' for name in settings)} of {owner} need a class or function as"
            f" loss. Got an instance of {type(loss).__name__}; pass loss=torch.nn.{type(loss).__name__}."
        )
    made = copy.deepcopy(loss) if isinstance(loss, torch.nn.Module) else with_settings(loss, settings, "loss", owner)
    if isinstance(loss, type):
        made = made()
    if isinstance(made, torch.nn.Module):
        if weighted and hasattr(made, "reduction"):
            made.reduction = "none"
        return made.to(device)
    return partial(made, reduction="none") if weighted and "reduction" in accepted_arguments(made)[0] else made
