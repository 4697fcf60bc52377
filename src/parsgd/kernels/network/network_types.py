"""Types that the kernels of a network take: layout, buffers, hyper-parameters, and the fields of the run state."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class NetworkLayout(NamedTuple):
    """Positions in the flat arrays; all int64.

    ``sizes`` ``(L + 1,)``: units per layer.  ``weight_starts`` ``(L,)``: start of each layer's weights in the
    parameters.  ``value_starts`` ``(L + 3,)``: start of each layer's values in the buffer, then of two buffers for
    errors.
    """

    sizes: np.ndarray
    weight_starts: np.ndarray
    value_starts: np.ndarray


class NetworkBuffers(NamedTuple):
    """Buffers of one batch: values of all layers and errors of two, stored derivatives, gradients.

    ``derivatives`` is empty if none are stored.  ``gradient`` holds a block of rows or, if gathered whole, all
    parameters.
    """

    values: np.ndarray
    derivatives: np.ndarray
    gradient: np.ndarray


class NetworkHyperparams(NamedTuple):
    """Hyper-parameters in the form that compiled code takes.

    Names with ``_address``: functions called by address.  ``solver_params``: momentum, beta1, beta2, epsilon.
    ``loss_scale``: factor of the reported loss.  ``norm_every``: steps between two computations of the squared norm.
    ``min_decay``: least accumulated l2 shrinkage that is applied.
    """

    gemm_address: int
    activation: int
    activate_address: int
    differentiate_address: int
    dropout_address: int
    step_address: int
    loss: int
    loss_parameter: float
    loss_scale: float
    batch_size: int
    alpha: float
    weight_decay: float
    eta0: float
    is_invscaling: bool
    power_t: float
    rows_seen: float
    rows_per_epoch: float
    steps_per_epoch: float
    solver_params: tuple[float, float, float, float]
    clip: float
    keep_probability: float
    seed: int
    takes_step: bool
    norm_every: int
    min_decay: float
    release_gil_from: int
    is_shared: bool


# Fields of the run state, float64: everything kept between two kernel calls.
(
    SCHEDULE_STEP,  # schedule step, from 1
    FIRST_STEP,  # schedule step at the start of the fit
    LOSS,  # summed loss, penalty included
    SQUARED_NORM,  # sum of squares of the weights, without biases
    FIRST_LAYER_SQUARED_NORM,  # the first layer's part, of the weights as stored
    FIRST_LAYER_SCALE,  # with sparse rows: first layer's weights = FIRST_LAYER_SCALE * stored weights
    LR_SCALE,  # factor of the learning rate; 0: no steps
    PENDING_DECAY,  # l2 shrinkage not yet applied to dense layers
    STEPS_TAKEN,  # steps of this run since its totals were last taken
    PENALTY_FRACTION,  # fraction of the batch's penalty in the loss: 1 for a whole batch
    ROW_OFFSET,  # rows of the batch before these, for dropout masks
) = range(11)
N_FIELDS = 11
