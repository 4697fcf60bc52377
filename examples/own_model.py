"""A custom model: least squares ``(x . w - y)^2 / 2``, with SGD steps in NumPy."""

from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_diabetes

from parsgd import LocalSGD
from parsgd.core import PlainModel, SGDRun, Totals
from parsgd.data.sources.array_source import ArraySource
from parsgd.engines.threads import Threads
from parsgd.training.loop import fit
from parsgd.utils.row_arrays import rows_of


@dataclass(frozen=True)
class LeastSquares(PlainModel):
    n_features: int
    eta: float = 0.05

    def init(self, seed):
        return np.zeros(self.n_features)

    def sgd_run(self, state, schedule_step, lr_scale, seed, schedule_step_size=1.0):
        return LeastSquaresRun(self, state, schedule_step, lr_scale, schedule_step_size)


class LeastSquaresRun(SGDRun):
    def __init__(self, model, state, schedule_step, lr_scale, schedule_step_size):
        self.eta, self.w, self.step, self.lr_scale = model.eta, state, schedule_step, lr_scale
        self.step_size, self.examples, self.loss = schedule_step_size, 0, np.zeros(1)

    schedule_step = property(lambda self: self.step)

    def run(self, rows, order, start, stop):
        X = rows.x.data.reshape(-1, rows.x.n_features)
        for i in order[start:stop]:
            error = X[i] @ self.w - rows.y[i]
            self.loss = self.loss + 0.5 * error**2
            self.w -= self.eta * self.lr_scale * error * X[i]
        self.step += (stop - start) * self.step_size
        self.examples += stop - start

    def take_totals(self):
        totals = Totals(self.examples, self.examples, self.loss, self.loss)  # no penalty: the loss is the objective
        self.examples, self.loss = 0, np.zeros(1)
        return totals

    def mean_loss(self):
        return float(self.loss[0]) / max(self.examples, 1)

    def finalize(self):
        pass


if __name__ == "__main__":
    X, y = load_diabetes(return_X_y=True)
    rows = rows_of(20.0 * X, (y - y.mean()) / y.std())
    found = fit(LeastSquares(X.shape[1]), LocalSGD(), Threads(), ArraySource(rows), n_workers=2, max_epochs=20)
    print("loss:", found.history[0]["loss"], "->", found.history[-1]["loss"])
