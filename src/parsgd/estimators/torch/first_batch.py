"""Check of a module on its first batch, before any worker starts."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import numpy as np
import torch

from parsgd.core import Algorithm, Source
from parsgd.errors import InvalidArgumentError
from parsgd.estimators.torch.torch_input import TorchInput
from parsgd.models.torch import global_settings
from parsgd.models.torch.batch_loss import batch_loss, call_module, check_loss, read_batch, to_device, weight_of
from parsgd.models.torch.flat_layout import constants
from parsgd.models.torch.probe_rows import has_decisions
from parsgd.models.torch.torch_model import TorchModel

# Examples of the batch: BatchNorm needs at least two.
_MOST_EXAMPLES = 16


def check_first_batch(model: TorchModel, source: Source, allow_unused: bool, sizes: Collection[int] = ()) -> bool:
    """Run a copy of the module forward and backward on a few examples, and return True if it draws random numbers.

    ``sizes`` are those of the last batch of each worker's epoch.

    Raises
    ------
    InvalidArgumentError
        If the module or the loss fails, the loss is not a scalar, a trained parameter gets no gradient, or an integer
        buffer changes.
    """
    device = torch.device(model.device)
    with global_settings.preserved(device):
        batch = _first_batch(model, source, _MOST_EXAMPLES)
        if weight_of(batch, model.loss, 1) == 0.0:
            # the first examples may have no weight
            batch = (*batch[:2], torch.ones_like(batch[2]))
        module = copy.deepcopy(model.module)
        tables = {name: buffer.clone() for name, buffer in constants(module)}
        before = torch.get_rng_state()
        loss = _loss(model, module, batch)
        draws = not torch.equal(before, torch.get_rng_state())
        check_loss(loss)
        if not torch.isfinite(loss).all():
            raise InvalidArgumentError(
                f"The loss of the first batch is {float(loss.detach())}. Remove NaN and infinite values from the data"
                " and the parameters, or scale the inputs."
            )
        try:
            loss.backward()
        except RuntimeError as error:
            raise InvalidArgumentError(f"The gradient of the first batch failed: {error}.") from error
        if 1 in sizes and model.batch_size > 1:
            _check_one_example(model, module, _first_batch(model, source, 1))
    unused = [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]
    if unused and not allow_unused:
        raise InvalidArgumentError(
            f"The loss of the first batch does not depend on the parameters {', '.join(unused[:5])}"
            f"{' and others' if len(unused) > 5 else ''}. Freeze them (requires_grad=False), or pass allow_unused=True."
        )
    changed = [name for name, buffer in constants(module) if not torch.equal(tables[name], buffer)]
    if changed:
        raise InvalidArgumentError(
            f"The buffer {changed[0]!r} of the module changes in training, and workers cannot average it: it is a table"
            " of integers or booleans. Store it as floating-point numbers."
        )
    return draws


def last_batches(data: TorchInput, algorithm: Algorithm, n_workers: int) -> list[int]:
    """Return the numbers of examples in each worker's last batch of an epoch."""
    size = data.plan.batch_size
    if data.plan.drop_last:
        return []
    if algorithm.traits.partition == "common_order":
        return [len(part) for part in np.array_split(np.arange(data.n_rows % (size * n_workers)), n_workers)]
    return [len(part) % size for part in np.array_split(np.arange(data.n_rows), n_workers)]


def output_shape(model: TorchModel, source: Source) -> tuple[int, ...] | None:
    """Return the shape of the module's output per row, or None if probe rows cannot judge it."""
    with global_settings.preserved(torch.device(model.device)):
        batch = _first_batch(model, source, _MOST_EXAMPLES)
        if not isinstance(batch, (list, tuple)):
            return None
        try:
            with torch.no_grad():
                output = call_module(copy.deepcopy(model.module), batch[0])
        except Exception:
            # the check of the first batch reports it
            return None
    return tuple(output.shape[1:]) if has_decisions(output, model.loss, batch) else None


def _first_batch(model: TorchModel, source: Source, n_examples: int) -> Any:
    """Return a batch of the first examples."""
    shard = source.split(1, 0, "contiguous")[0]
    try:
        rows, order = next(iter(shard.blocks(0, 0)))
        return to_device(read_batch(rows, order[: min(model.batch_size, n_examples)]), torch.device(model.device))
    finally:
        shard.close()


def _loss(model: TorchModel, module: torch.nn.Module, batch: Any) -> torch.Tensor:
    kind = model.autocast
    try:
        with torch.autocast(
            torch.device(model.device).type, dtype=kind and getattr(torch, kind), enabled=kind is not None
        ):
            return batch_loss(module, model.loss, batch)
    except InvalidArgumentError:
        raise
    except Exception as error:
        raise InvalidArgumentError(
            f"The module or its loss failed on the first batch, {described(batch)}: {type(error).__name__}: {error}"
        ) from error


def _check_one_example(model: TorchModel, module: torch.nn.Module, batch: Any) -> None:
    """Raise if the module cannot train on the last batch of an epoch, which has one example."""
    try:
        _loss(model, module, batch)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(
            f"The last batch of an epoch has one example, on which the module fails, as BatchNorm does. Pass"
            f" drop_last=True or another batch_size. ({error.__cause__})"
        ) from error


def described(batch: Any) -> str:
    """Return types and shapes of a batch.

    >>> described((torch.zeros(2, 3), torch.zeros(2)))
    '(float32 (2, 3), float32 (2,))'
    """
    if isinstance(batch, torch.Tensor):
        return f"{str(batch.dtype).removeprefix('torch.')} {tuple(batch.shape)}"
    if isinstance(batch, dict):
        return "{" + ", ".join(f"{name}: {described(part)}" for name, part in batch.items()) + "}"
    if isinstance(batch, (list, tuple)):
        return "(" + ", ".join(map(described, batch)) + ")"
    return type(batch).__name__ if not isinstance(batch, np.ndarray) else f"array {batch.shape}"
