"""Base class of the estimators around a PyTorch module: the fit and the forward pass."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch.utils import data as torch_data

from parsgd.data.dataset import Dataset
from parsgd.errors import InvalidArgumentError
from parsgd.estimators.epochs import epochs_of
from parsgd.estimators.fitted.transaction import forget, transactional
from parsgd.estimators.torch.components.component_params import accepted_arguments, with_settings
from parsgd.estimators.torch.components.input_tensors import as_array, input_type_of, parameter_type, tensor_of
from parsgd.estimators.torch.components.loss_making import make_loss
from parsgd.estimators.torch.components.module_making import first_output, make_mlp, make_module
from parsgd.estimators.torch.components.optimizer_trial import try_optimizer
from parsgd.estimators.torch.torch_params import TRAINER_PARAMS, TorchParams, check_weights
from parsgd.estimators.torch.trainer import Trainer
from parsgd.estimators.validation import param_validation
from parsgd.estimators.validation.input_validation import to_native
from parsgd.estimators.validation.random_states import MAX_SEED, draw_seed, make_generator
from parsgd.models.torch import global_settings
from parsgd.registry import ALGORITHMS, resolve
from parsgd.utils.interrupts import interruptible

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from parsgd.errors import Outcome
    from parsgd.estimators.auto_select import Choice
    from parsgd.training.reporting.history import History

# Rows on which a new module is tried.
_FIRST_ROWS = 16
# Values of the rows that are predicted together, if a batch of the fit is not larger.
_BLOCK_VALUES = 1 << 16


def fitting(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a fitting method: it changes the estimator in one step or not at all, and handles Ctrl-C."""
    return interruptible(transactional(method), returns=method.__name__ == "fit")


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows ``x``, encoded targets ``y``, and weights ``(n_rows,)`` or None."""

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None = None

    def rows(self, numbers: np.ndarray) -> Examples:
        """Return the examples with these numbers."""
        return Examples(self.x[numbers], self.y[numbers], None if self.weight is None else self.weight[numbers])

    def simplified(self) -> Examples:
        """Return the examples with a positive weight, without weights if these are equal.

        The largest weight is 1, so that none overflows as float32.  Those that float32 makes 0 are left out.
        """
        if self.weight is None:
            return self
        scaled = replace(self, weight=self.weight / self.weight.max())
        positive = scaled.weight.astype(np.float32) > 0
        kept = scaled if positive.all() else scaled.rows(np.flatnonzero(positive))
        return replace(kept, weight=None) if np.all(kept.weight == kept.weight[0]) else kept


class TorchEstimator(TorchParams):
    """Fits of both estimators around a PyTorch module."""

    module_: torch.nn.Module

    @fitting
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        resume: bool = False,
    ) -> Self:
        """Fit the module.

        Parameters
        ----------
        X : array-like or tensor of shape (n_rows, ...)
            Numbers.  Rows of several dimensions, such as images, are passed to the module as they are.
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
            Labels of any type; for a regression numbers.
        sample_weight : array-like of shape (n_rows,), optional
            Weights of at least 0.  Rows of weight 0 are left out.
        X_val, y_val : array-like, optional
            Validation set.  ``validation_losses_`` records its loss; with ``early_stopping=True`` the loss decides.
        resume : bool, default=False
            Continue from the last checkpoint of the same fit in the folder ``checkpoint``.

        Returns
        -------
        self

        Raises
        ------
        parsgd.errors.InvalidArgumentError
            For invalid parameters or data, and a module that does not fit the data.  Raised before the training.
        parsgd.errors.DivergedError
            If a parameter or the loss becomes NaN or infinite.
        """
        self._check_parameters()
        param_validation.check_pair(X_val, y_val)
        warm = self.warm_start and "module_" in vars(self)
        examples = self._read(X, y, sample_weight, warm=warm)
        held_out = None
        if X_val is not None:
            X_val, y_val = self._validated(X_val, y_val, reset=False)
            held_out = Examples(X_val, self._encode(y_val))
        self._train(examples, held_out, warm, int(self.max_epochs), resume)
        return self

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any) -> Self:
        """Make one pass over the rows."""
        self._check_parameters()
        warm = "module_" in vars(self)
        self._train(self._read(X, y, sample_weight, warm=warm, partial=True), None, warm, 1, partial=True)
        return self

    # -- differences between classifier and regressor ------------------------------------------------------------------

    @abstractmethod
    def _learn_targets(self, y: np.ndarray, warm: bool, partial: bool) -> None:
        """Set the attributes that describe the targets."""

    @abstractmethod
    def _encode(self, y: np.ndarray) -> np.ndarray:
        """Return targets as numbers, or raise if they do not fit the attributes."""

    @abstractmethod
    def _count_outputs(self) -> int:
        """Return the number of outputs that a module should have."""

    @abstractmethod
    def _choose_loss(self, output: torch.Tensor) -> Any:
        """Return the loss, as the parameter ``loss`` has it, for an output, or raise if they do not fit together."""

    @abstractmethod
    def _target_tensor(self, y: np.ndarray, output: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return encoded targets in the form that the loss expects, for modules with such an output."""

    def _all_weights(self, y: np.ndarray, encoded: np.ndarray, weight: np.ndarray | None) -> np.ndarray | None:
        return weight

    def _stratify(self, y: np.ndarray) -> np.ndarray | None:
        return None

    # -- input ---------------------------------------------------------------------------------------------------------

    def _validated(self, X: Any, y: Any = "no_validation", *, reset: bool) -> Any:
        """Return rows, and targets if there are any, as arrays."""
        if isinstance(X, (Dataset, torch_data.Dataset, torch_data.DataLoader)):
            raise InvalidArgumentError(
                f"X of {type(self).__name__} must be an array of rows. Got {type(X).__name__} instead, which"
                " parsgd.torch.Trainer reads."
            )
        targets = (
            {} if isinstance(y, str) and y == "no_validation" else {"y": to_native(as_array(y)), "multi_output": True}
        )
        return validate_data(self, to_native(as_array(X)), **targets, reset=reset, order="C", allow_nd=True)

    def _read(self, X: Any, y: Any, sample_weight: Any, *, warm: bool, partial: bool = False) -> Examples:
        """Return validated examples of positive weight."""
        X, y = self._validated(X, y, reset=not warm)
        self._learn_targets(y, warm, partial)
        encoded = self._encode(y)
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(as_array(sample_weight), X, dtype=np.float64, allow_all_zero_weights=True)
            check_weights(weight)
        weight = self._all_weights(y, encoded, weight)
        return Examples(X, encoded, weight).simplified()

    # -- the run -------------------------------------------------------------------------------------------------------

    def _train(
        self,
        examples: Examples,
        held_out: Examples | None,
        warm: bool,
        epochs: int,
        resume: bool = False,
        partial: bool = False,
    ) -> None:
        module_seed, seed = self._draw_seeds(warm)
        device, random = torch.device(self.device), np.random.RandomState(seed)
        if self.early_stopping and held_out is None and not partial:
            examples, held_out = self._split(examples, random)
        with global_settings.preserved(device):
            global_settings.seed_all(module_seed, device)
            module = copy.deepcopy(self.module_) if warm else self._make_module(examples.x)
            module.to(device)
            kind = input_type_of(module, self.input_type)
            output = first_output(module, tensor_of(examples.x[:_FIRST_ROWS], kind).to(device), type(self).__name__)
            # in the context, because a user's function may draw random numbers
            optimizer, scheduler = self._factories(module)
        loss = self._choose_loss(output)

        def tensors(part: Examples) -> tuple[torch.Tensor, ...]:
            dtype = parameter_type(module)
            rows = tensor_of(part.x, kind), self._target_tensor(part.y, output, dtype)
            if part.weight is None:
                return rows
            # float32 also for modules of float16 and bfloat16
            return *rows, tensor_of(part.weight, torch.promote_types(dtype, torch.float32), "sample_weight")

        trainer = Trainer(
            module,
            make_loss(loss, self._settings("loss"), examples.weight is not None, self.device, type(self).__name__),
            optimizer=optimizer,
            scheduler=scheduler,
            patience=int(self.patience) if self.early_stopping and held_out is not None else None,
            random_state=seed,
            **{name: getattr(self, name) for name in TRAINER_PARAMS},
        )
        validation = None if held_out is None else tensors(held_out)
        trainer.run(tensors(examples), validation, epochs, resume=resume)
        self._record(trainer, warm)

    def _draw_seeds(self, warm: bool) -> tuple[int, int]:
        """Return seeds of the parameters and of the orders; an int gives other orders in every warm fit."""
        if isinstance(self.random_state, (int, np.integer)):
            n_before = self.n_iter_ if warm else 0
            return draw_seed(self.random_state), draw_seed(self.random_state, skipped=1 + n_before)
        random = make_generator(self.random_state)
        return int(random.randint(MAX_SEED)), int(random.randint(MAX_SEED))

    def _make_module(self, X: np.ndarray) -> torch.nn.Module:
        factory = make_mlp if self.module is None else self.module
        n_features = int(np.prod(X.shape[1:]))
        return make_module(factory, self._settings("module"), n_features, self._count_outputs(), type(self).__name__)

    def _factories(self, module: torch.nn.Module) -> tuple[Any, Any]:
        """Return functions that make the optimizer, and the scheduler or None, after a trial of both."""
        who, settings = type(self).__name__, self._settings("optimizer")
        if self.lr is not None and "lr" in accepted_arguments(self.optimizer)[0]:
            settings = {"lr": self.lr, **settings}
        optimizer = with_settings(self.optimizer, settings, "optimizer", who)
        settings = self._settings("scheduler")
        if self.scheduler is None and settings:
            raise InvalidArgumentError(
                f"The parameters {', '.join(f'scheduler__{name}' for name in settings)} of {who} need a scheduler. Pass"
                " scheduler=torch.optim.lr_scheduler.StepLR, for example."
            )
        scheduler = None if self.scheduler is None else with_settings(self.scheduler, settings, "scheduler", who)
        try_optimizer(optimizer, scheduler, module, who)
        return optimizer, scheduler

    def _split(self, examples: Examples, random: np.random.RandomState) -> tuple[Examples, Examples]:
        """Return training and validation examples."""
        train, held_out = train_test_split(
            np.arange(len(examples.x)),
            test_size=self.validation_fraction,
            random_state=random,
            stratify=self._stratify(examples.y),
        )
        return examples.rows(train), examples.rows(held_out)

    def _record(self, trainer: Trainer, warm: bool) -> None:
        """Set the fitted attributes."""
        if not warm:
            forget(self, "n_iter_", "loss_curve_", "validation_losses_")
        forget(self, "resumed_from_")
        one_shot = resolve(ALGORITHMS, self.algorithm, "algorithm", type(self).__name__, ("traits",)).traits.one_shot
        fit: Any = SimpleNamespace(history=trainer.history_, n_epochs=trainer.n_epochs_)
        losses, _ = epochs_of(fit, one_shot)
        self.module_ = trainer.module
        self.history_: History = trainer.history_
        self.algorithm_: Choice = trainer.algorithm_
        self.engine_: str = trainer.engine_
        self.outcome_: Outcome | None = trainer.outcome_
        self.n_iter_: int = getattr(self, "n_iter_", 0) + trainer.n_epochs_
        self.loss_curve_: list[float] = [*getattr(self, "loss_curve_", ()), *losses]
        validation = trainer.validation_losses_
        self.validation_losses_: list[float] = [*getattr(self, "validation_losses_", ()), *validation]
        if self.checkpoint is not None:
            self.resumed_from_: int | None = trainer.resumed_from_

    # -- predictions ---------------------------------------------------------------------------------------------------

    def _outputs(self, X: Any) -> torch.Tensor:
        """Return the outputs of the module for all rows, on the CPU, as float32 or float64."""
        check_is_fitted(self, "module_")
        X = self._validated(X, reset=False)
        module, device = self.module_.to(self.device), torch.device(self.device)
        kind = input_type_of(module, self.input_type)
        size = max(int(self.batch_size), _BLOCK_VALUES // max(int(np.prod(X.shape[1:])), 1))
        if module.training:
            module.eval()
        with torch.no_grad(), global_settings.preserved(device):
            blocks = [
                module(tensor_of(X[at : at + size], kind).to(device, non_blocking=True)).cpu()
                for at in range(0, len(X), size)
            ]
        output = torch.cat(blocks)
        return output if output.dtype == torch.float64 else output.float()

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes, with the module on the CPU."""
        state = dict(super().__getstate__())
        module = state.get("module_")
        if module is not None and any(tensor.device.type != "cpu" for tensor in module.state_dict().values()):
            state["module_"] = copy.deepcopy(module).cpu()
        return state
