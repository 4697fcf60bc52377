"""Modules of estimators: from an instance, a class or a function, with the numbers of features and outputs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from parsgd.errors import InvalidArgumentError
from parsgd.estimators.torch.components.component_params import accepted_arguments, with_settings
from parsgd.estimators.torch.first_batch import described


def make_mlp(
    n_features: int,
    n_outputs: int,
    hidden: int | Sequence[int] = 100,
    activation: Callable[[], torch.nn.Module] = torch.nn.ReLU,
    dropout: float = 0.0,
    dtype: torch.dtype | None = None,
) -> torch.nn.Sequential:
    """Return a feed-forward network, the module of estimators with ``module=None``.

    Its layers are ``Linear``, ``activation`` and, if ``dropout`` is above 0, ``Dropout`` per number in ``hidden``.  A
    ``Linear`` without activation follows.  Inputs ``(n_rows, ...)`` have ``n_features`` values per row.

    >>> make_mlp(4, 3, hidden=[8])
    Sequential(
      (0): Flatten(start_dim=1, end_dim=-1)
      (1): Linear(in_features=4, out_features=8, bias=True)
      (2): ReLU()
      (3): Linear(in_features=8, out_features=3, bias=True)
    )
    """
    layers: list[torch.nn.Module] = [torch.nn.Flatten()]
    width = n_features
    for size in [hidden] if isinstance(hidden, int) else hidden:
        layers += [torch.nn.Linear(width, size, dtype=dtype), activation()]
        if dropout > 0:
            layers.append(torch.nn.Dropout(dropout))
        width = size
    return torch.nn.Sequential(*layers, torch.nn.Linear(width, n_outputs, dtype=dtype))


def make_module(
    module: Any, settings: Mapping[str, Any], n_features: int, n_outputs: int, owner: str
) -> torch.nn.Module:
    """Return a new module: a copy of an instance, or what a class or function returns.

    A class or function gets ``n_features`` and ``n_outputs`` if it has arguments of these names, and ``settings``.

    Raises
    ------
    InvalidArgumentError
        If ``module`` is not of these kinds, does not accept a setting, or fails.
    """
    if isinstance(module, torch.nn.Module):
        if settings:
            raise InvalidArgumentError(
                f"The parameters {', '.join(f'module__{name}' for name in settings)} of {owner} need a class or"
                f" function as module. Got an instance of {type(module).__name__}; pass module={type(module).__name__}."
            )
        return copy.deepcopy(module)
    if not callable(module):
        raise InvalidArgumentError(
            f"The 'module' parameter of {owner} must be a torch.nn.Module, a class or function that makes one, or None."
            f" Got {module!r} instead."
        )
    named, _ = accepted_arguments(module)
    sizes = {"n_features": n_features, "n_outputs": n_outputs}
    arguments = {**{name: size for name, size in sizes.items() if name in named}, **settings}
    make = with_settings(module, arguments, "module", owner)
    name = getattr(module, "__name__", repr(module))
    try:
        made = make()
    except Exception as error:
        raise InvalidArgumentError(
            f"The 'module' parameter of {owner}, {name}, failed with the arguments {arguments}: {type(error).__name__}:"
            f" {error}. Pass its arguments as module__name=value; n_features and n_outputs are set if it has them."
        ) from error
    if not isinstance(made, torch.nn.Module):
        raise InvalidArgumentError(
            f"The 'module' parameter of {owner}, {name}, must return a torch.nn.Module. It returned"
            f" {type(made).__name__} instead."
        )
    return made


def first_output(module: torch.nn.Module, inputs: torch.Tensor, owner: str) -> torch.Tensor:
    """Return the output of a module for a few rows, in evaluation mode; it initializes lazy modules.

    Raises
    ------
    InvalidArgumentError
        If the module fails, or its output is not a tensor with one row per row of the inputs.
    """
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            output = module(inputs)
    except Exception as error:
        raise InvalidArgumentError(
            f"The module of {owner} failed on the first rows, {described(inputs)}: {type(error).__name__}: {error}. Let"
            " it accept rows of this shape; input_type sets their type."
        ) from error
    finally:
        module.train(training)
    if not isinstance(output, torch.Tensor) or output.ndim not in (1, 2) or len(output) != len(inputs):
        raise InvalidArgumentError(
            f"The module of {owner} must return a tensor of shape (n_rows, n_outputs), or (n_rows,) for one output. For"
            f" inputs {described(inputs)} it returned {described(output)}."
        )
    return output
