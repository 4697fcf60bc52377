"""Linear models that are trained together: their weights are columns of one matrix."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from parsgd.core import Rows
from parsgd.estimators.search.search_grid import Setting
from parsgd.kernels.losses import describe
from parsgd.utils import first_use

# Weights are stored as scale * w; a smaller scale is multiplied into the weights.
_TINY_SCALE = {"float32": 1e-6, "float64": 1e-9}
# As in scikit-learn, where the intercept changes far more often than a weight.
_SPARSE_INTERCEPT_DECAY = 0.01


@dataclass(frozen=True)
class Problem:
    """Facts that all columns share.  ``n_outputs`` columns are one model: 1, or the classes of a multi-class problem.

    ``n_classes`` is 0 for a regression.  A model whose mean loss is above ``loss_limits[loss]`` has diverged.
    ``tracks_penalty``: the stopping rule needs the objective.
    """

    n_features: int
    n_classes: int
    n_outputs: int
    dtype: str
    sparse: bool
    schedule: str
    power_t: float
    fit_intercept: bool
    loss_parameters: dict[str, float]
    loss_limits: dict[str, float]
    tracks_penalty: bool

    @property
    def adagrad(self) -> bool:
        return self.schedule == "adagrad"


def n_padded(n_columns: int) -> int:
    """Return the columns of a matrix for ``n_columns`` columns."""
    padding: int = first_use.kernels("search.columns").PADDING
    return -(-n_columns // padding) * padding


def slots_of(problem: Problem, chosen: list[Setting]) -> tuple[bool, bool]:
    """Return whether models of these settings keep AdaGrad's sums, and the penalty that each weight has had."""
    has_l1 = any(setting.l1_share > 0.0 and setting.alpha > 0.0 for setting in chosen)
    return problem.adagrad, has_l1 or (problem.adagrad and _have_l2(chosen))


def _have_l2(chosen: list[Setting]) -> bool:
    return any(setting.penalty and setting.l1_share < 1.0 and setting.alpha > 0.0 for setting in chosen)


class ColumnBlock:
    """Models with one loss and one kind of penalty, and their training.

    ``settings`` and ``folds`` name the setting and the fold of each model.  ``trains (n_kinds, n_models)``: rows of a
    kind are trained on.  ``class_weights (n_classes, n_models)`` are those of the folds.
    """

    def __init__(
        self,
        problem: Problem,
        all_settings: list[Setting],
        settings: np.ndarray,
        folds: np.ndarray,
        trains: np.ndarray,
        class_weights: np.ndarray,
    ):
        self.problem, self.all_settings = problem, all_settings
        self.settings, self.folds, self.trains, self.class_weights = settings, folds, trains, class_weights
        self.described = describe(all_settings[settings[0]].loss)
        chosen = [all_settings[setting] for setting in settings]
        self.has_l1 = any(setting.l1_share > 0.0 and setting.alpha > 0.0 for setting in chosen)
        self.has_l2 = _have_l2(chosen)
        fields = first_use.kernels("search.columns")
        size = n_padded(len(settings) * problem.n_outputs)
        n_weights = problem.n_features * size
        self.w = np.zeros(n_weights, problem.dtype)
        has_squares, has_applied = slots_of(problem, chosen)
        self.squares = np.zeros(n_weights if has_squares else 0, problem.dtype)
        self.applied = np.zeros(n_weights if has_applied else 0, problem.dtype)
        self.state = np.zeros((fields.N_FIELDS, size))
        self.state[[fields.SCALE, fields.LOSS_FACTOR, fields.STEP]] = 1.0
        self.state[fields.LR_SCALE, : len(settings) * problem.n_outputs] = 1.0
        self.losses = np.zeros(len(settings) * problem.n_outputs)
        self._prepare()

    # -- training ------------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Make the arguments of the kernel for the current columns."""
        problem, size = self.problem, self.state.shape[1]
        columns, losses = first_use.kernels("search.columns"), first_use.kernels("loss_kernels")
        schedules = first_use.kernels("schedules")
        chosen = [self.all_settings[setting] for setting in self.settings]
        alpha = self._spread([setting.alpha if setting.penalty else 0.0 for setting in chosen], 0.0)
        schedule_alpha = self._spread([setting.alpha for setting in chosen], 1.0)
        optimal = problem.schedule == "optimal"
        self.columns = columns.Columns(
            loss=losses.BuiltinLoss(self.described.code, self._loss_parameter()),
            schedule=getattr(schedules, problem.schedule.upper()),
            powers=np.zeros(0),
            first_step=0.0,
            fit_intercept=problem.fit_intercept,
            intercept_decay=_SPARSE_INTERCEPT_DECAY if problem.sparse and not problem.adagrad else 1.0,
            has_l2=self.has_l2,
            has_l1=self.has_l1,
            tracks_penalty=problem.tracks_penalty and (self.has_l1 or self.has_l2),
            n_joint=problem.n_outputs if self.described.joint else 0,
            alpha=schedule_alpha if optimal else alpha,
            l1_ratio=self._spread([setting.l1_share for setting in chosen], 0.0),
            eta0=self._spread([setting.eta0 for setting in chosen], 1.0),
            optimal_start=1.0 / (schedule_alpha * schedule_alpha**-0.25) if optimal else np.ones(size),
            signs=self._signs(size),
            class_weights=self._class_weights(size),
            trains=np.ascontiguousarray(self._spread_rows(self.trains, 0.0)),
        )
        self.vectors = np.zeros((3, size), problem.dtype)
        self.work = np.zeros((5, size))

    def run(self, rows: Rows, order: np.ndarray, start: int, stop: int, kinds: np.ndarray) -> None:
        """Make the steps on ``order[start:stop]``."""
        tiles = first_use.kernels("linear.row_ops_multi").ManyTiles()
        if self.problem.schedule == "invscaling":
            # powers take longer than the rest of a step, and columns share them
            steps = self.state[first_use.kernels("search.columns").STEP]
            first, last = steps[: self.n_columns].min(), steps[: self.n_columns].max()
            # columns of the padding make no steps
            steps[self.n_columns :] = first
            numbers = np.arange(first, last + (stop - start) + 1.0)
            self.columns = self.columns._replace(powers=numbers**-self.problem.power_t, first_step=float(first))
        where = (*rows, order, start, stop, kinds, self.w)
        if self.problem.adagrad:
            kernel = first_use.kernels("search.column_adagrad").run_adagrad_columns
            kernel(*where, self.squares, self.applied, self.vectors, self.work, tiles, self.state, self.columns)
        else:
            kernel = first_use.kernels("search.column_sgd").run_sgd_columns
            tiny = _TINY_SCALE[self.problem.dtype]
            kernel(*where, self.applied, self.vectors, self.work, tiles, tiny, self.state, self.columns)

    def end_pass(self) -> np.ndarray:
        """Apply what is pending, and return the mean objective of the pass for each column."""
        fields, n = first_use.kernels("search.columns"), self.n_columns
        if self.problem.adagrad and self.applied.size:
            apply = first_use.kernels("search.column_adagrad").apply_all_penalties
            apply(self.columns, self.w, self.squares, self.applied, self.state)
        state = self.state[:, :n]
        n_examples = np.maximum(state[fields.EXAMPLES], 1.0)
        with np.errstate(all="ignore"):
            losses = (state[fields.LOSS] + np.log(state[fields.LOSS_FACTOR])) / n_examples
            penalties = state[fields.PENALTY_SUM] / n_examples
            if self.described.joint:
                # the first column has the loss of the model
                n_outputs = self.problem.n_outputs
                losses = np.repeat(losses[::n_outputs], n_outputs)
                penalties = np.repeat(penalties.reshape(-1, n_outputs).sum(axis=1), n_outputs)
            total = losses + penalties
        self.losses = losses
        self.state[[fields.LOSS, fields.EXAMPLES, fields.PENALTY_SUM]] = 0.0
        self.state[fields.LOSS_FACTOR] = 1.0
        return np.where(np.isnan(total), np.inf, total)

    def diverged(self) -> np.ndarray:
        """Return True for models ``(n_models,)`` whose loss exploded in the last pass, though it may be finite.

        Gradients are clipped, which keeps the weights finite but not meaningful.
        """
        limit = self.problem.loss_limits.get(self.described.name, np.inf)
        losses = self.losses.reshape(len(self.settings), -1)
        return ~(losses <= limit).all(axis=1)

    # -- results -------------------------------------------------------------------------------------------------------

    @property
    def n_columns(self) -> int:
        return len(self.settings) * self.problem.n_outputs

    @property
    def lr_scale(self) -> np.ndarray:
        """Factors of the learning rates ``(n_columns,)``, a view; 0 where a column has converged."""
        return self.state[first_use.kernels("search.columns").LR_SCALE, : self.n_columns]

    def weights(self, columns: slice | np.ndarray = slice(None)) -> np.ndarray:
        """Return the weights ``(n_features, n_columns)`` of some columns, without their scales."""
        scale = self.state[first_use.kernels("search.columns").SCALE, : self.n_columns][columns]
        chosen = self._matrix(self.w)[:, : self.n_columns][:, columns]
        return chosen * scale.astype(self.problem.dtype) if np.any(scale != 1.0) else chosen

    def columns_of(self, models: np.ndarray) -> np.ndarray:
        """Return the numbers of the columns of some models."""
        n_outputs = self.problem.n_outputs
        return (np.asarray(models)[:, None] * n_outputs + np.arange(n_outputs)).ravel()

    def decision(self, models: np.ndarray, X: Any) -> np.ndarray:
        """Return the decision values ``(n_rows, n_models, n_outputs)``."""
        columns, fields = self.columns_of(models), first_use.kernels("search.columns")
        scale, intercept = self.state[fields.SCALE, columns], self.state[fields.INTERCEPT, columns]
        with np.errstate(all="ignore"):
            # the product with all columns reads the weights in place; a copy of some would take longer
            found = np.asarray(X @ self._matrix(self.w))[:, columns] * scale + intercept
        return found.reshape(X.shape[0], len(models), self.problem.n_outputs)

    def coefficients(self, model: int) -> tuple[np.ndarray, np.ndarray]:
        """Return ``coef (n_outputs, n_features)`` and ``intercept (n_outputs,)`` of a model."""
        columns = self.columns_of(np.array([model]))
        intercept = self.state[first_use.kernels("search.columns").INTERCEPT, columns]
        return np.ascontiguousarray(self.weights(columns).T), intercept.astype(self.problem.dtype)

    def of_models(self, models: np.ndarray) -> ColumnBlock:
        """Return a block of some models for scores, without the slots of training; itself if these are all."""
        if len(models) == len(self.settings):
            return self
        found = copy.copy(self)
        found.squares, found.applied = self.squares[:0], self.applied[:0]
        found.keep(models)
        return found

    def keep(self, models: np.ndarray) -> None:
        """Drop all other models."""
        columns, size = self.columns_of(models), n_padded(len(models) * self.problem.n_outputs)
        for name in ("w", "squares", "applied"):
            old = getattr(self, name)
            if old.size:
                new = np.zeros((self.problem.n_features, size), self.problem.dtype)
                new[:, : len(columns)] = self._matrix(old)[:, columns]
                setattr(self, name, new.ravel())
        fields = first_use.kernels("search.columns")
        state = np.zeros((fields.N_FIELDS, size))
        state[[fields.SCALE, fields.LOSS_FACTOR, fields.STEP]] = 1.0
        state[:, : len(columns)] = self.state[:, columns]
        self.state = state
        self.settings, self.folds = self.settings[models], self.folds[models]
        self.trains, self.class_weights = self.trains[:, models], self.class_weights[:, models]
        self.losses = self.losses[columns]
        self._prepare()

    # -- arrays of the columns -----------------------------------------------------------------------------------------

    def _matrix(self, flat: np.ndarray) -> np.ndarray:
        return flat.reshape(self.problem.n_features, -1)

    def _spread(self, values: Any, padding: float) -> np.ndarray:
        """Return the values of the models for their columns, with padding."""
        return self._spread_rows(np.asarray(values, dtype=np.float64)[None], padding)[0]

    def _spread_rows(self, values: np.ndarray, padding: float) -> np.ndarray:
        out = np.full((len(values), self.state.shape[1]), padding)
        out[:, : self.n_columns] = np.repeat(values, self.problem.n_outputs, axis=1)
        return out

    def _signs(self, size: int) -> np.ndarray:
        """Return the targets ``(n_classes, size)``: 1 if the class is that of the column, else -1."""
        n_classes, n_outputs = self.problem.n_classes, self.problem.n_outputs
        class_of = np.full(size, -1)
        class_of[: self.n_columns] = np.tile(np.arange(n_outputs), len(self.settings)) if n_outputs > 1 else 1
        return np.where(np.arange(n_classes)[:, None] == class_of, 1.0, -1.0)

    def _class_weights(self, size: int) -> np.ndarray:
        """Return the weights of rows of a class; one-against-all columns weigh rows of their class only."""
        weights = np.ascontiguousarray(self._spread_rows(self.class_weights, 1.0))
        if self.problem.n_outputs > 1 and not self.described.joint:
            weights[self._signs(size) < 0.0] = 1.0
        return weights

    def _loss_parameter(self) -> float:
        parameter = self.described.parameter
        return self.problem.loss_parameters[parameter] if isinstance(parameter, str) else float(parameter)
