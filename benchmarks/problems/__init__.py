"""Problems, a file each: `TITLE`, `REAL` (needs a folder of real data), and `make(options) -> Problem`.

`load` keeps what it made: a problem that several figures want is made once a run.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy import sparse

from benchmarks.options import Options


@dataclass(frozen=True, eq=False)
class Problem:
    """Rows to train on and rows to look at the loss on, float32, dense or CSR; `y` are classes from 0 on."""

    name: str
    title: str
    X: np.ndarray | sparse.csr_matrix
    y: np.ndarray
    X_test: np.ndarray | sparse.csr_matrix | None = None
    y_test: np.ndarray | None = None

    @property
    def n_rows(self) -> int:
        return self.X.shape[0]

    @property
    def n_classes(self) -> int:
        return int(self.y.max()) + 1

    def astype(self, dtype: str) -> Problem:
        """The same numbers in another precision; itself where it is in it already."""
        if self.X.dtype == dtype:
            return self
        test = None if self.X_test is None else self.X_test.astype(dtype)
        return replace(self, X=self.X.astype(dtype), X_test=test)


class Unavailable(Exception):
    """This problem, or this solver, cannot take part here; the message says why, in words for the page."""


def title(name: str) -> str:
    return _module(name).TITLE


@cache
def load(name: str, options: Options) -> Problem:
    """The problem, or `Unavailable` if it needs real data and there are none."""
    module = _module(name)
    if module.REAL and options.data is None:
        raise Unavailable("needs real data (`--data`)")
    made = module.make(options)
    if options.quick and made.n_rows > 3_000:
        few = np.random.default_rng(0).permutation(made.n_rows)[:3_000]
        made = replace(made, X=made.X[few], y=np.unique(made.y[few], return_inverse=True)[1])
    return made


def real(name: str, title: str, parts: tuple) -> Problem:
    """Of `X_train, X_test, y_train, y_test`, as `studies/datasets.py` gives them."""
    X, X_test, y, y_test = parts
    y, y_test = (np.unique(labels, return_inverse=True)[1] for labels in (y, y_test))
    return Problem(name, title, X, y, X_test, y_test)


def _module(name: str):
    return importlib.import_module(f"benchmarks.problems.{name}")
