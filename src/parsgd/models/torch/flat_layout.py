"""The parameters and buffers of a module as one flat vector.

The vector holds, in the module's own order::

    parameters that require a gradient    a tied parameter once; frozen ones are not part of it
    floating-point buffers                such as the running mean and variance of BatchNorm
    integer buffers with one element      such as BatchNorm's num_batches_tracked; rounded when written back

Every tensor begins at a multiple of 64 bytes, as in memory that PyTorch allocates, so that its kernels sum in the same
order.  All other buffers (integer tables, masks) are constants of the module.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from parsgd.errors import IncompatiblePartsError

_ALIGNED_BYTES = 64


class Slot(NamedTuple):
    """Place of a tensor in the vector: elements ``start`` to ``stop``."""

    name: str
    start: int
    stop: int
    is_buffer: bool


@dataclass(frozen=True)
class FlatLayout:
    """The places of all tensors of a module in a vector of ``size`` elements of ``dtype`` (float32 or float64).

    It is float64 if some parameter or buffer is.  Tensors of other types are converted.
    """

    slots: tuple[Slot, ...]
    size: int
    dtype: str

    @staticmethod
    def of(module: torch.nn.Module) -> FlatLayout:
        """Return the layout of a module.

        Raises
        ------
        IncompatiblePartsError
            If no parameter requires a gradient, or a parameter is complex, sparse or not initialized.
        """
        found = list(_tensors(module))
        if not any(not is_buffer for _, _, is_buffer in found):
            raise IncompatiblePartsError(
                f"The module {type(module).__name__} has no parameter that requires a gradient, so there is nothing to"
                " train. Set requires_grad=True on some parameters."
            )
        for name, tensor, _ in found:
            _refuse_unusual(name, tensor)
        dtype = "float64" if any(tensor.dtype == torch.float64 for _, tensor, _ in found) else "float32"
        unit = _ALIGNED_BYTES // np.dtype(dtype).itemsize
        slots: list[Slot] = []
        size = 0
        for name, tensor, is_buffer in found:
            slots.append(Slot(name, size, size + tensor.numel(), is_buffer))
            size += -(-tensor.numel() // unit) * unit
        return FlatLayout(tuple(slots), size, dtype)

    @property
    def n_parameters(self) -> int:
        """Number of elements of all trained parameters."""
        return sum(slot.stop - slot.start for slot in self.slots if not slot.is_buffer)

    @property
    def first_buffer(self) -> int:
        """Number of elements before the buffers."""
        return next((slot.start for slot in self.slots if slot.is_buffer), self.size)

    def read(self, module: torch.nn.Module, out: np.ndarray) -> np.ndarray:
        """Copy the tensors of the module into the vector ``out``, and return it."""
        vector = torch.from_numpy(out)
        for slot, tensor in zip(self.slots, self.tensors(module), strict=True):
            vector[slot.start : slot.stop].copy_(tensor.detach().reshape(-1))
        return out

    def write(self, state: np.ndarray, module: torch.nn.Module) -> None:
        """Copy the vector into the tensors of the module."""
        vector = torch.from_numpy(np.ascontiguousarray(state))
        with torch.no_grad():
            for slot, tensor in zip(self.slots, self.tensors(module), strict=True):
                values = vector[slot.start : slot.stop].view(tensor.shape)
                tensor.copy_(values if tensor.is_floating_point() else values.round())

    def bind(self, module: torch.nn.Module, memory: np.ndarray) -> list[tuple[Slot, torch.Tensor]]:
        """Let the tensors of the module use the vector as their memory, where type and device permit it.

        Return the other tensors, which must be copied.
        """
        vector = torch.from_numpy(memory)
        self.read(module, memory)
        copied: list[tuple[Slot, torch.Tensor]] = []
        for slot, tensor in zip(self.slots, self.tensors(module), strict=True):
            if tensor.dtype == vector.dtype and tensor.device == vector.device and tensor.is_contiguous():
                tensor.data = vector[slot.start : slot.stop].view(tensor.shape)
            else:
                copied.append((slot, tensor))
        return copied

    def tensors(self, module: torch.nn.Module) -> list[torch.Tensor]:
        """Return the tensors of a module in the order of the slots."""
        return [tensor for _, tensor, _ in _tensors(module)]


def constants(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the buffers that are not part of the vector."""
    for name, buffer in module.named_buffers():
        if not _is_merged(buffer):
            yield name, buffer


def _tensors(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor, bool]]:
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            yield name, parameter, False
    for name, buffer in module.named_buffers():
        if _is_merged(buffer):
            yield name, buffer, True


def _is_merged(buffer: torch.Tensor) -> bool:
    is_counter = buffer.numel() == 1 and not buffer.is_complex() and buffer.dtype != torch.bool
    return buffer.is_floating_point() or is_counter


def _refuse_unusual(name: str, tensor: torch.Tensor) -> None:
    if isinstance(tensor, torch.nn.parameter.UninitializedTensorMixin):
        raise IncompatiblePartsError(
            f"The parameter {name!r} of a lazy module is not initialized. Call the module once on a batch before fit."
        )
    if tensor.is_complex() or tensor.layout != torch.strided:
        kind = "complex" if tensor.is_complex() else "sparse"
        raise IncompatiblePartsError(
            f"The tensor {name!r} of the module is {kind}; parsgd trains dense real parameters. Freeze it"
            " (requires_grad=False), or store its real parts."
        )
