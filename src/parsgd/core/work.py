"""The function that runs the tasks of a fit, as the training loop passes it to an engine."""

from __future__ import annotations

from dataclasses import dataclass

from parsgd.core.algorithm_protocol import Algorithm
from parsgd.core.engine_protocols import ProgressCallback
from parsgd.core.model_protocols import Model
from parsgd.core.records import Report, Task
from parsgd.core.source_protocols import Shard


@dataclass(frozen=True)
class Work:
    """The algorithm and the model of a fit; called with a shard, a task and a progress callback, it runs the task.

    Engines send it to their workers.
    """

    algorithm: Algorithm
    model: Model

    def __call__(self, shard: Shard, task: Task, progress: ProgressCallback) -> Report:
        return self.algorithm.run(self.model, shard, task, progress)
