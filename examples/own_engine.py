"""A custom engine: workers are tasks in an existing pool of threads."""

import time
from concurrent.futures import FIRST_COMPLETED, Executor, ThreadPoolExecutor, wait

from sklearn.datasets import load_digits

from parsgd import SGDClassifier
from parsgd.core import EngineDefaults


class InPool(EngineDefaults):
    name, capabilities = "pool", frozenset({"shared_memory"})  # compared with an algorithm's requires

    def __init__(self, pool: Executor):
        self.pool = pool

    def open(self, work, shards, progress):
        workers = InPool(self.pool)
        workers.work, workers.shards, workers.progress, workers.running = work, shards, progress, set()
        return workers

    def send(self, task):
        self.running.add(self.pool.submit(self.work, self.shards[task.worker], task, self.progress))

    def receive(self, at_least):
        reports = []
        while self.running and len(reports) < at_least:
            done, self.running = wait(self.running, return_when=FIRST_COMPLETED)
            reports += [one.result() for one in done]  # raises a worker's error
        return reports

    def set_shards(self, shards):
        self.shards = shards

    def now(self):
        return time.perf_counter()

    def close(self):
        wait([one for one in self.running if not one.cancel()])
        for shard in self.shards:
            shard.close()


if __name__ == "__main__":
    X, y = load_digits(return_X_y=True)
    with ThreadPoolExecutor(4) as pool:
        model = SGDClassifier(algorithm="local", engine=InPool(pool), n_jobs=4, random_state=0).fit(X / 16, y)
    print("accuracy:", model.score(X / 16, y))
