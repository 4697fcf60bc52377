"""Contracts of the four axes (model, algorithm, engine, source) and the records exchanged between them.

The driver (:mod:`parsgd.training.loop`) sends each worker a :class:`Task`.  The worker runs SGD on its :class:`Shard`
and returns a :class:`Report`.  An :class:`Algorithm` merges the reports into the next state.  The :class:`Engine`
runs the workers, the :class:`Model` defines the objective and its steps, and the :class:`Source` provides the rows.

A state is one flat, contiguous vector, so a merge is a weighted sum, a message one buffer and a checkpoint one array.
"""

from parsgd.core.algorithm_protocol import (
    Algorithm,
    OuterStepsAlgorithm,
    PlannedAlgorithm,
    has_outer_steps,
    is_planned,
)
from parsgd.core.costs import CostModel
from parsgd.core.defaults import EngineDefaults, EngineWrapper, PlainModel, SynchronousAlgorithm, no_progress
from parsgd.core.engine_protocols import (
    Engine,
    GroupPool,
    ProgressCallback,
    StoppableProgress,
    WorkerPool,
    WorkFn,
)
from parsgd.core.model_protocols import (
    MODEL_CAPABILITIES,
    AveragingModel,
    FullGradientModel,
    GradientModel,
    LinearStateModel,
    Model,
    SharedModel,
    has_averaging,
    has_full_gradient,
    has_gradients,
    has_linear_state,
    has_shared_steps,
)
from parsgd.core.records import (
    AlgorithmTraits,
    Budget,
    CsrRows,
    DenseRows,
    FitState,
    MergeResult,
    Report,
    RowBlock,
    Rows,
    SparseState,
    StoppingCriterion,
    Task,
    TaskFailed,
    TaskSpec,
    Totals,
)
from parsgd.core.round_protocols import (
    CompiledGradientsModel,
    CompiledRoundsModel,
    FeatureModel,
    FeaturePart,
    has_compiled_gradients,
    has_compiled_rounds,
    has_features,
    rest_slices,
)
from parsgd.core.sgd_run import CompiledRoundsRun, RunningLoss, SGDRun, StartRun
from parsgd.core.source_protocols import PARTITIONS, Shard, Source
from parsgd.core.work import Work

__all__ = [
    "MODEL_CAPABILITIES",
    "PARTITIONS",
    "Algorithm",
    "AlgorithmTraits",
    "AveragingModel",
    "Budget",
    "CompiledGradientsModel",
    "CompiledRoundsModel",
    "CompiledRoundsRun",
    "CostModel",
    "CsrRows",
    "DenseRows",
    "Engine",
    "EngineDefaults",
    "EngineWrapper",
    "FeatureModel",
    "FeaturePart",
    "FitState",
    "FullGradientModel",
    "GradientModel",
    "GroupPool",
    "LinearStateModel",
    "MergeResult",
    "Model",
    "OuterStepsAlgorithm",
    "PlainModel",
    "PlannedAlgorithm",
    "ProgressCallback",
    "Report",
    "RowBlock",
    "Rows",
    "RunningLoss",
    "SGDRun",
    "Shard",
    "SharedModel",
    "Source",
    "SparseState",
    "StartRun",
    "StoppableProgress",
    "StoppingCriterion",
    "SynchronousAlgorithm",
    "Task",
    "TaskFailed",
    "TaskSpec",
    "Totals",
    "Work",
    "WorkFn",
    "WorkerPool",
    "has_averaging",
    "has_compiled_gradients",
    "has_compiled_rounds",
    "has_features",
    "has_full_gradient",
    "has_gradients",
    "has_linear_state",
    "has_outer_steps",
    "has_shared_steps",
    "is_planned",
    "no_progress",
    "rest_slices",
]
