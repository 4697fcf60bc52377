"""Global settings that a run changes: the random number generators, and PyTorch's number of threads."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Generator
from typing import Any, NamedTuple

import numpy as np
import torch


class RandomStates(NamedTuple):
    """States of the generators of PyTorch (CPU and the device), NumPy and Python, as arrays and numbers."""

    torch_cpu: np.ndarray
    torch_device: np.ndarray | None
    numpy: tuple[Any, ...]
    python: tuple[Any, ...]


def _numpy_state() -> tuple[Any, ...]:
    # the global generator, which data sets draw from
    return np.random.get_state()  # noqa: NPY002


def seed_all(seed: int, device: torch.device) -> None:
    """Seed all generators, as ``torch.manual_seed(seed)``, ``numpy.random.seed(seed)`` and ``random.seed(seed)`` do."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)


def capture(device: torch.device) -> RandomStates:
    """Return the states of all generators."""
    on_device = torch.cuda.get_rng_state(device).numpy().copy() if device.type == "cuda" else None
    return RandomStates(torch.get_rng_state().numpy().copy(), on_device, _numpy_state(), random.getstate())


def restore(states: RandomStates, device: torch.device) -> None:
    """Set all generators to captured states."""
    torch.set_rng_state(torch.from_numpy(states.torch_cpu))
    if device.type == "cuda" and states.torch_device is not None:
        torch.cuda.set_rng_state(torch.from_numpy(states.torch_device), device)
    np.random.set_state(states.numpy)  # noqa: NPY002
    random.setstate(states.python)


def to_numbers(states: RandomStates) -> tuple[Any, ...]:
    """Return the states as tuples of arrays and numbers, which can be stored.

    >>> device = torch.device("cpu")
    >>> states = capture(device)
    >>> restored = from_numbers(to_numbers(states))
    >>> bool((restored.torch_cpu == states.torch_cpu).all()) and restored.python == states.python
    True
    """
    version, numbers, gauss = states.python
    return states.torch_cpu, states.torch_device, states.numpy, (version, np.array(numbers, dtype=np.int64), gauss)


def from_numbers(numbers: Any) -> RandomStates:
    """Return the inverse of :func:`to_numbers`."""
    torch_cpu, torch_device, numpy_state, (version, python, gauss) = numbers
    return RandomStates(torch_cpu, torch_device, tuple(numpy_state), (version, tuple(python.tolist()), gauss))


def use_threads(n_threads: int) -> None:
    """Set PyTorch's number of threads in this thread; the caller of a fit restores its own."""
    if torch.get_num_threads() != n_threads:
        torch.set_num_threads(n_threads)


@contextlib.contextmanager
def preserved(device: torch.device) -> Generator[None]:
    """Leave the generators, and PyTorch's number of threads in this thread, as they were before the context."""
    states, n_threads = capture(device), torch.get_num_threads()
    try:
        yield
    finally:
        restore(states, device)
        use_threads(n_threads)
