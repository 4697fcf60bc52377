"""An engine of one's own: workers are tasks in a pool of threads that the program has anyway."""

import time
from concurrent.futures import FIRST_COMPLETED, Executor, ThreadPoolExecutor, wait

from sklearn.datasets import load_digits

from parsgd import SGDClassifier


class InPool:
    name, capabilities = "pool", frozenset({"shared_memory"})  # what an algorithm may need and finds here

    def __init__(self, pool: Executor):
        self.pool = pool

    def open(self, work, shards, pulse):
        crew = InPool(self.pool)
        crew.work, crew.shards, crew.pulse, crew.under_way = work, shards, pulse, set()
        return crew

    def send(self, task):
        self.under_way.add(self.pool.submit(self.work, self.shards[task.worker], task, self.pulse))

    def receive(self, at_least):
        reports = []
        while self.under_way and len(reports) < at_least:
            done, self.under_way = wait(self.under_way, return_when=FIRST_COMPLETED)
            reports += [one.result() for one in done]  # an error of a worker is raised here
        return reports

    def set_shards(self, shards):
        self.shards = shards

    def now(self):
        return time.perf_counter()

    def close(self):
        wait([one for one in self.under_way if not one.cancel()])
        for shard in self.shards:
            shard.close()


if __name__ == "__main__":
    X, y = load_digits(return_X_y=True)
    with ThreadPoolExecutor(4) as pool:
        model = SGDClassifier(algorithm="local", engine=InPool(pool), n_jobs=4, random_state=0).fit(X / 16, y)
    print("accuracy:", model.score(X / 16, y))
