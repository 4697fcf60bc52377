"""Engines that do to a fit what happens to fits."""

from collections import deque

import pytest

from parsgd.core import EngineDefaults, TaskFailed
from parsgd.engines.serial import SerialWorkerPool


class LosingCrew(SerialWorkerPool):
    """A worker is gone when it is to do its task number ``at``."""

    def __init__(self, work, shards, progress, worker, at):
        super().__init__(work, shards, progress)
        self.worker, self.left = worker, at

    def receive(self, at_least):
        if self.tasks and self.tasks[0].worker == self.worker:
            if self.left == 0:
                task = self.tasks.popleft()
                return [TaskFailed(task.worker, task.round, "pulled the plug")]
            self.left -= 1
            return super().receive(1)
        return super().receive(1 if self.tasks else 0)


class TurnsCrew(SerialWorkerPool):
    """Reports come in the order that is given, over and over, as far as tasks are under way."""

    def __init__(self, work, shards, progress, order):
        super().__init__(work, shards, progress)
        self.order = deque(order)

    def receive(self, at_least):
        reports = []
        while self.tasks and len(reports) < at_least:
            while not any(task.worker == self.order[0] for task in self.tasks):
                self.order.rotate(-1)
            worker = self.order[0]
            self.order.rotate(-1)
            task = next(task for task in self.tasks if task.worker == worker)
            self.tasks.remove(task)
            reports.append(self.work(self.shards[worker], task, self.progress))
        return reports


class Engine(EngineDefaults):
    capabilities = frozenset()

    def __init__(self, name, crew, **settings):
        self.name, self.crew, self.settings = name, crew, settings

    def open(self, work, shards, progress):
        return self.crew(work, shards, progress, **self.settings)


@pytest.fixture
def losing():
    """``losing(worker, at)``: an engine that loses a worker."""
    return lambda worker, at: Engine("losing", LosingCrew, worker=worker, at=at)


@pytest.fixture
def in_order():
    """``in_order([0, 0, 1])``: an engine on which worker 0 reports twice as often as worker 1."""
    return lambda order: Engine("in order", TurnsCrew, order=order)
