"""The contracts between the four axes, and the plain records that travel along them.

A fit is a conversation.  The driver (:mod:`parsgd.training.loop`) sends each worker a :class:`Task`; the worker runs
stochastic gradient descent on its :class:`Shard` and answers with a :class:`Report`; an :class:`Algorithm` merges the
reports into the next state.  Who carries the messages is the :class:`Engine`'s business, what is fitted is the
:class:`Model`'s, and where the rows come from is the :class:`Source`'s.

A state is one flat, contiguous vector.  So a merge is a weighted sum, a message one buffer, a checkpoint one array.
"""

from parsgd.core.defaults import SynchronousAlgorithm, no_progress
from parsgd.core.protocols import (
    MODEL_OFFERS,
    PARTITIONS,
    Algorithm,
    Engine,
    Model,
    ProgressCallback,
    SGDRun,
    Shard,
    SharedModel,
    Source,
    WorkerPool,
    WorkFn,
)
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

__all__ = [
    "MODEL_OFFERS",
    "PARTITIONS",
    "Algorithm",
    "Budget",
    "CsrRows",
    "DenseRows",
    "Engine",
    "FitState",
    "MergeResult",
    "Model",
    "ProgressCallback",
    "Report",
    "RowBlock",
    "Rows",
    "SGDRun",
    "Shard",
    "SharedModel",
    "Source",
    "SynchronousAlgorithm",
    "Task",
    "TaskFailed",
    "Totals",
    "WorkFn",
    "WorkerPool",
    "no_progress",
]
