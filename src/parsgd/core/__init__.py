"""Contracts of the four axes (model, algorithm, engine, source) and the records exchanged between them.

The driver (:mod:`parsgd.training.loop`) sends each worker a :class:`Task`.  The worker runs SGD on its :class:`Shard`
and returns a :class:`Report`.  An :class:`Algorithm` merges the reports into the next state.  The :class:`Engine`
runs the workers, the :class:`Model` defines the objective and its steps, and the :class:`Source` provides the rows.

A state is one flat, contiguous vector, so a merge is a weighted sum, a message one buffer and a checkpoint one array.
"""

from parsgd.core.algorithm_protocol import Algorithm
from parsgd.core.costs import CostModel
from parsgd.core.defaults import EngineDefaults, SynchronousAlgorithm, no_progress
from parsgd.core.engine_protocols import (
    Engine,
    ProgressCallback,
    RunningLoss,
    StoppableProgress,
    WorkerPool,
    WorkFn,
)
from parsgd.core.model_protocols import MODEL_OFFERS, LinearStateModel, Model, SGDRun, SharedModel
from parsgd.core.records import (
    Budget,
    CsrRows,
    DenseRows,
    FitState,
    MergeResult,
    Report,
    RowBlock,
    Rows,
    Task,
    TaskFailed,
    Totals,
)
from parsgd.core.source_protocols import PARTITIONS, Shard, Source
from parsgd.core.work import Work

__all__ = [
    "MODEL_OFFERS",
    "PARTITIONS",
    "Algorithm",
    "Budget",
    "CostModel",
    "CsrRows",
    "DenseRows",
    "Engine",
    "EngineDefaults",
    "FitState",
    "LinearStateModel",
    "MergeResult",
    "Model",
    "ProgressCallback",
    "Report",
    "RowBlock",
    "Rows",
    "RunningLoss",
    "SGDRun",
    "Shard",
    "SharedModel",
    "Source",
    "StoppableProgress",
    "SynchronousAlgorithm",
    "Task",
    "TaskFailed",
    "Totals",
    "Work",
    "WorkFn",
    "WorkerPool",
    "no_progress",
]
