"""Dask API of parsgd: collections as input, lazy collections as output, and ``client`` as a property.

>>> import dask.array as da, parsgd.dask
>>> from distributed import Client
>>> with Client(n_workers=2) as client:  # doctest: +SKIP
...     model = parsgd.dask.DaskSGDClassifier().fit(da.random.random((1000, 4)), da.zeros(1000))
...     labels = model.predict(da.random.random((10, 4))).compute()

Only the inputs and outputs of ``fit`` and ``predict`` differ from the estimators of the same names in :mod:`parsgd`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from dask import array as da
from distributed import default_client

from parsgd.data.open_dataset import open_dataset
from parsgd.engines.dask.dask_engine import Dask
from parsgd.estimators.linear import sgd_classifier, sgd_regressor
from parsgd.estimators.network import mlp_classifier, mlp_regressor

__all__ = ["Dask", "DaskMLPClassifier", "DaskMLPRegressor", "DaskSGDClassifier", "DaskSGDRegressor"]

# Names of columns added to a dataframe.
_TARGET, _WEIGHT = "parsgd target", "parsgd weight"


class _DaskMixin:
    """Mixin with ``fit`` and ``predict`` on collections; ``engine="auto"`` means :class:`Dask`."""

    @property
    def client(self) -> Any:
        """Client of the cluster that runs the fits: the one that was set, or else the active one."""
        given = getattr(self.engine, "client", None)
        return default_client() if given is None else given

    @client.setter
    def client(self, client: Any) -> None:
        self.engine: Dask = Dask(client=client)

    def fit(self, X: Any, y: Any = None, *, sample_weight: Any = None, **settings: Any) -> Any:
        """Fit to a Dask array or dataframe ``X`` and ``y`` of the same kind, or to other input of the base class."""
        given = self.engine
        self.engine = Dask() if isinstance(given, str) and given == "auto" else given
        try:
            if not _is_collection(X):
                if sample_weight is not None:
                    settings["sample_weight"] = sample_weight
                return super().fit(X, y, **settings)
            with self.client.as_current():
                return super().fit(_open_collection(X, y, sample_weight), **settings)
        finally:
            self.engine = given

    def predict(self, X: Any) -> Any:
        """Predict; for a collection, return a lazy Dask array or series."""
        if not _is_collection(X):
            return super().predict(X)
        if isinstance(X, da.Array):
            example = super().predict(np.zeros((1, self.n_features_in_)))
            X = X.rechunk({1: -1}) if X.numblocks[1] > 1 else X
            # several outputs have one column each
            axes = {"drop_axis": 1} if example.ndim == 1 else {"chunks": (X.chunks[0], (example.shape[1],))}
            return X.map_blocks(super().predict, dtype=example.dtype, **axes)
        return X.map_partitions(_predicted, super().predict, getattr(self, "columns_", None))


def _predicted(part: Any, predict: Any, columns: Any) -> Any:
    """Return the predictions for a partition of a dataframe, with its index; ``columns`` encodes the features."""
    import pandas as pd

    found = np.zeros(0)
    if len(part):
        found = predict(part if columns is None else open_dataset(part, columns=columns))
    return (pd.Series if found.ndim == 1 else pd.DataFrame)(found, index=part.index)


def _is_collection(data: Any) -> bool:
    return type(data).__module__.partition(".")[0] == "dask"


def _open_collection(x: Any, y: Any, weight: Any) -> Any:
    """Return a Dataset of a collection and its targets."""
    if isinstance(x, da.Array):
        dtype = "float32" if x.dtype == "float32" else "float64"
        return open_dataset(x, target=y, weight=weight, dtype=dtype)
    extra_columns = {name: part for name, part in ((_TARGET, y), (_WEIGHT, weight)) if part is not None}
    names = {"target": _TARGET if y is not None else None, "weight": _WEIGHT if weight is not None else None}
    return open_dataset(x.assign(**extra_columns), **names)


class DaskSGDClassifier(_DaskMixin, sgd_classifier.SGDClassifier):
    """:class:`parsgd.SGDClassifier` on a cluster."""


class DaskSGDRegressor(_DaskMixin, sgd_regressor.SGDRegressor):
    """:class:`parsgd.SGDRegressor` on a cluster."""


class DaskMLPClassifier(_DaskMixin, mlp_classifier.MLPClassifier):
    """:class:`parsgd.MLPClassifier` on a cluster."""


class DaskMLPRegressor(_DaskMixin, mlp_regressor.MLPRegressor):
    """:class:`parsgd.MLPRegressor` on a cluster."""
