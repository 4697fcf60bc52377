"""A custom source: rows that a function computes when a worker reads them, so that they are never stored."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from parsgd import SGDClassifier, open_dataset
from parsgd.data.contracts import BasePiece, Chunk

CHUNK_ROWS = 1000


@dataclass(frozen=True)
class Simulated(BasePiece):
    """``n_rows`` rows ``x ~ N(0, 1)``; the target is 1 where the sum of ``x`` is positive, otherwise 0."""

    seed: int
    n_rows: int
    n_features: int = 8

    @property
    def name(self) -> str:
        return f"simulation {self.seed}"

    def chunks(self) -> Iterator[Chunk]:
        rng = np.random.default_rng(self.seed)  # every pass yields the same rows
        for first in range(0, self.n_rows, CHUNK_ROWS):
            x = rng.standard_normal((min(CHUNK_ROWS, self.n_rows - first), self.n_features))
            yield Chunk(x, (x.sum(axis=1) > 0.0).astype(int), None)


if __name__ == "__main__":
    data = open_dataset([Simulated(seed, 25_000) for seed in range(8)])
    model = SGDClassifier("log_loss", n_jobs=2, algorithm="local", random_state=0).fit(data)
    print("accuracy:", model.score(open_dataset(Simulated(99, 10_000))))
