"""State dictionaries of optimizers as arrays, numbers, texts and containers, which every engine and file can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from parsgd.errors import IncompatiblePartsError

# A tensor as (this mark, array, name of its type); numpy has no bfloat16, whose bits are an int16 array.
_TENSOR = "torch.Tensor"


def to_plain(value: Any, name: str = "the state") -> Any:
    """Return ``value`` with copies of its tensors as tuples of arrays.

    >>> to_plain({"step": torch.tensor(2.0), "betas": (0.9, 0.999)})
    {'step': ('torch.Tensor', array(2., dtype=float32), 'float32'), 'betas': (0.9, 0.999)}
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, torch.Tensor):
        tensor = value.detach().to("cpu", copy=True)
        kind = str(tensor.dtype).removeprefix("torch.")
        array = tensor.view(torch.int16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()
        return (_TENSOR, array, kind)
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: to_plain(item, f"{name}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [to_plain(item, name) for item in value]
        return items if isinstance(value, list) else tuple(items)
    raise IncompatiblePartsError(
        f"{name} holds {value!r}, which cannot be stored: parsgd stores tensors, numbers, texts and containers of"
        " these. Use an optimizer or scheduler whose state_dict() holds only these."
    )


def from_plain(value: Any) -> Any:
    """Return the inverse of :func:`to_plain`; tensors are copies on the CPU."""
    if isinstance(value, (list, tuple)):
        if len(value) == 3 and isinstance(value[0], str) and value[0] == _TENSOR:
            tensor = torch.from_numpy(np.array(value[1]))
            return tensor.view(torch.bfloat16) if value[2] == "bfloat16" else tensor
        items = [from_plain(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, Mapping):
        return {key: from_plain(item) for key, item in value.items()}
    return value
