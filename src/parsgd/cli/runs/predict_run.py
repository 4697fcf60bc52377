"""``parsgd predict`` and ``parsgd evaluate``: a saved model and new rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from parsgd.cli import output
from parsgd.cli.cli_errors import UsageError
from parsgd.cli.console import Console, scores_in_words
from parsgd.cli.scoring import score, task_of
from parsgd.cli.tables import modelfile, target_column
from parsgd.cli.tables import read_data as files
from parsgd.cli.tables.learn_columns import EncodingOptions
from parsgd.utils.atomic_io import write_atomically

_WRITABLE = (".csv", ".parquet", ".npz")
# Of predictions that are written to standard output.
_ROWS_AT_A_TIME = 1000


def predict(
    model: Path,
    names: Sequence[str],
    out: str,
    voice: Console,
    stream: bool | None = None,
    options: EncodingOptions | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write predictions for all rows of the data: ``prediction``, and where the model has them probabilities.

    Returns the report that ``--json`` prints.
    """
    suffix = Path(out).suffix.lower() if out != "-" else "-"
    if suffix not in (*_WRITABLE, "-"):
        raise UsageError(f"--out {out}: predictions go to a file that ends in {', '.join(_WRITABLE)}, or to - (here).")
    if out != "-" and not Path(out).parent.is_dir():
        raise UsageError(
            f"--out {out}: there is no folder {Path(out).parent}; make it first: mkdir -p {Path(out).parent}"
        )
    fitted = modelfile.load(model)
    data = _test_part(files.read(names, options, stream, fitted.columns))
    said = [*_streamed(data), *data.said]
    rows = fitted.dataset(data) if data.why is not None else fitted.rows(data)
    columns = predictions(fitted.estimator, rows)
    if out == "-":
        table = _frame(columns)
        for start in range(0, max(len(table), 1), _ROWS_AT_A_TIME):
            rows = table.iloc[start : start + _ROWS_AT_A_TIME]
            output.write(rows.to_csv(index=False, header=start == 0))
    else:
        with write_atomically(out) as temporary:
            _write(columns, temporary, suffix)
    voice.points(said)
    voice.say(f"{len(columns['prediction']):,} predictions written to {'standard output' if out == '-' else out}")
    return {"model": str(model), "data": list(names), "out": out, "rows": len(columns["prediction"])}


def predictions(estimator: Any, rows: Any) -> dict[str, np.ndarray]:
    """Columns of the output: ``prediction``; ``probability (n_rows, n_classes)`` and ``classes``; or ``score``."""
    columns = {"prediction": estimator.predict(rows)}
    if task_of(estimator) == "outliers":
        columns["score"] = estimator.decision_function(rows)
    elif hasattr(estimator, "predict_proba"):
        columns["probability"] = estimator.predict_proba(rows)
        columns["classes"] = estimator.classes_
    return columns


def _frame(columns: dict[str, np.ndarray]) -> Any:
    """The columns as a table; what has several numbers a row becomes a column for each class, or for each output."""
    import pandas as pd

    columns = dict(columns)
    classes, table = columns.pop("classes", None), {}
    for name, values in columns.items():
        labels = range(values.shape[1]) if values.ndim == 2 and classes is None else classes
        table |= {name: values} if values.ndim == 1 else {f"{name}_{c}": values[:, i] for i, c in enumerate(labels)}
    return pd.DataFrame(table)


def _write(columns: dict[str, np.ndarray], path: Path, suffix: str) -> None:
    if suffix == ".npz":
        if columns["prediction"].dtype == object:
            columns = {key: value.astype(str) if value.dtype == object else value for key, value in columns.items()}
        with open(path, "wb") as file:
            np.savez(file, **columns)
    elif suffix == ".parquet":
        _frame(columns).to_parquet(path, index=False)
    else:
        _frame(columns).to_csv(path, index=False)


def _streamed(data: files.Data) -> list[str]:
    return [] if data.why is None else [f"{data.name}: {data.n_rows:,} rows, streamed ({data.why})"]


def evaluate(
    model: Path,
    names: Sequence[str],
    target: str | None,
    voice: Console,
    stream: bool | None = None,
    options: EncodingOptions | None = None,
) -> dict[str, Any]:
    """Score a saved model on data; return the report that ``--json`` prints."""
    fitted = modelfile.load(model)
    task = task_of(fitted.estimator)
    column = target or fitted.target
    data = _test_part(files.read(names, options, stream, fitted.columns, column))
    if not data.brings_target and (task != "outliers" or column in data.schema.names):
        data = target_column.take_target(data, column, needed=task != "outliers")
    else:
        data = target_column.take_target(data, target, needed=task != "outliers")
    data = target_column.clean(data, task)
    found = None
    if data.target is not None or not data.is_table:
        found = data.targets(task, _labels(fitted.estimator) if task == "classes" else None)[0]
    rows = fitted.dataset(data) if data.why is not None else fitted.rows(data)
    scores = score(fitted.estimator, rows, found)
    voice.points([*_streamed(data), *data.said])
    voice.say(f"{data.name}: {scores_in_words(scores)} ({data.n_rows:,} rows)", style="bold")
    return {"model": str(model), "data": data.name, "rows": data.n_rows, "scores": scores}


def _labels(estimator: Any) -> str:
    """The type of the classes."""
    kind = estimator.classes_.dtype.kind
    return "text" if kind in "UO" else "boolean" if kind == "b" else "number"


def _test_part(data: files.Data) -> files.Data:
    """The rows that the file keeps for testing if it does; the others a model may have been fitted on."""
    if data.test is None:
        return data
    return replace(data.test, said=(*data.said, "the test rows of the file were taken, not its training rows"))
