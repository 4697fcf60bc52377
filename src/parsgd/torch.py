"""Training of PyTorch modules on several workers.

>>> import torch
>>> from parsgd.torch import LocalSGD, Trainer
>>> X, y = torch.randn(64, 4), torch.randn(64, 1)
>>> trainer = Trainer(torch.nn.Linear(4, 1), torch.nn.MSELoss(), algorithm=LocalSGD(sync_every=0.5), engine="serial",
...                   n_workers=2, optimizer=lambda params: torch.optim.SGD(params, lr=0.1))
>>> len(trainer.fit((X, y), epochs=3).history_)
6
"""

from __future__ import annotations

from parsgd.errors import MissingDependencyError

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise MissingDependencyError("parsgd.torch needs PyTorch: pip install 'parsgd[torch]'") from error

from parsgd.algorithms.async_diloco import AsyncDiLoCo
from parsgd.algorithms.async_local_sgd import AsyncLocalSGD
from parsgd.algorithms.diloco import DiLoCo
from parsgd.algorithms.local_sgd import LocalSGD
from parsgd.algorithms.minibatch import MiniBatch
from parsgd.algorithms.post_local_sgd import PostLocalSGD
from parsgd.estimators.torch.trainer import Trainer

__all__ = ["AsyncDiLoCo", "AsyncLocalSGD", "DiLoCo", "LocalSGD", "MiniBatch", "PostLocalSGD", "Trainer"]
