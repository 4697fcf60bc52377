"""Options of ``open_dataset``, validated before any data are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from parsgd.data.formats.paths import ENDINGS
from parsgd.errors import InvalidArgumentError, check_count, choose

# Options of one file format.
ONLY = {"n_features": "svmlight", "zero_based": "svmlight", "filters": "parquet", "header": "csv", "decimal": "csv"}


@dataclass(frozen=True)
class OpenOptions:
    """Validated options of :func:`parsgd.open_dataset`."""

    target: Any = None
    columns: Any = None
    weight: Any = None
    filters: Any = None
    format: str | None = None
    dtype: str = "float32"
    sparse: bool | None = None
    shuffle_buffer_rows: int | None = None
    storage_options: Mapping[str, Any] | None = None
    n_features: int | None = None
    zero_based: bool | None = None
    header: Any = "auto"
    decimal: str = "."

    def __post_init__(self) -> None:
        try:
            name = np.dtype(self.dtype).name
        except TypeError:
            name = self.dtype
        choose(name, ("float32", "float64"), "dtype", "open_dataset")
        object.__setattr__(self, "dtype", name)
        if self.format is not None:
            choose(self.format, dict.fromkeys(ENDINGS.values()), "format", "open_dataset")
        check_count(self.shuffle_buffer_rows, "shuffle_buffer_rows", "open_dataset")
        check_count(self.n_features, "n_features", "open_dataset")
        choose(self.decimal, (".", ","), "decimal", "open_dataset")
        header = self.header
        if header is not None and header is not True and header != "auto" and not isinstance(header, (list, tuple)):
            raise InvalidArgumentError(
                f"open_dataset(header=) is 'auto', True, None or a list of names. Got {header!r}."
            )

    def refuse(self, what: str, *names: str) -> None:
        """Raise InvalidArgumentError if any argument of ``names``, which ``what`` does not support, was set."""
        for name in names:
            given, default = getattr(self, name), getattr(OpenOptions, name)
            if given is not default and not (isinstance(given, str) and given == default):
                raise InvalidArgumentError(f"open_dataset({name}=...) is not for {what}; leave it out.")
