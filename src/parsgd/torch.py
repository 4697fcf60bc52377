"""Training of PyTorch modules on several workers.

>>> import torch
>>> from parsgd import LocalSGD
>>> from parsgd.torch import Trainer
>>> X, y = torch.randn(64, 4), torch.randn(64, 1)
>>> trainer = Trainer(torch.nn.Linear(4, 1), torch.nn.MSELoss(), algorithm=LocalSGD(sync_every=0.5), engine="serial",
...                   n_workers=2, batch_size=8, optimizer=lambda params: torch.optim.SGD(params, lr=0.1))
>>> len(trainer.fit((X, y), epochs=3).history_)
6
"""

from __future__ import annotations

from parsgd.errors import MissingDependencyError

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise MissingDependencyError("parsgd.torch needs PyTorch: pip install 'parsgd[torch]'") from error

from parsgd.estimators.torch.torch_classifier import TorchClassifier
from parsgd.estimators.torch.torch_regressor import TorchRegressor
from parsgd.estimators.torch.trainer import Trainer

__all__ = ["TorchClassifier", "TorchRegressor", "Trainer"]
