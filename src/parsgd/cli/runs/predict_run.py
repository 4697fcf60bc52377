"""``parsgd predict`` and ``parsgd evaluate``: predictions and scores of a saved model on new rows."""

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
# Predictions per write to standard output.
_CHUNK_ROWS = 1000


def predict(
    model: Path,
    names: Sequence[str],
    out: str,
    console: Console,
    stream: bool | None = None,
    options: EncodingOptions | None = None,
) -> dict[str, Any]:
    """Write predictions, and probabilities or scores if the model has them, for all rows.

    Returns the report that ``--json`` prints.
    """
    suffix = Path(out).suffix.lower() if out != "-" else "-"
    if suffix not in (*_WRITABLE, "-"):
        raise UsageError(f"--out {out}: the file name must end in {', '.join(_WRITABLE)}, or be - for standard output.")
    if out != "-" and not Path(out).parent.is_dir():
        raise UsageError(
            f"--out {out}: the folder {Path(out).parent} does not exist; create it: mkdir -p {Path(out).parent}"
        )
    fitted = modelfile.load(model)
    data = _test_part(files.read(names, options, stream, fitted.columns))
    notes = [*_stream_notes(data), *data.notes]
    rows = fitted.dataset(data) if data.stream_reason is not None else fitted.rows(data)
    columns = predictions(fitted.estimator, rows)
    if out == "-":
        table = _frame(columns)
        for start in range(0, max(len(table), 1), _CHUNK_ROWS):
            rows = table.iloc[start : start + _CHUNK_ROWS]
            output.write(rows.to_csv(index=False, header=start == 0))
    else:
        with write_atomically(out) as temporary:
            _write(columns, temporary, suffix)
    console.print_notes(notes)
    console.print(f"{len(columns['prediction']):,} predictions written to {'standard output' if out == '-' else out}")
    return {"model": str(model), "data": list(names), "out": out, "rows": len(columns["prediction"])}


def predictions(estimator: Any, rows: Any) -> dict[str, np.ndarray]:
    """Return the columns ``prediction``; ``probability (n_rows, n_classes)`` and ``classes``; or ``score``."""
    columns = {"prediction": estimator.predict(rows)}
    if task_of(estimator) == "outliers":
        columns["score"] = estimator.decision_function(rows)
    elif hasattr(estimator, "predict_proba"):
        columns["probability"] = estimator.predict_proba(rows)
        columns["classes"] = estimator.classes_
    return columns


def _frame(columns: dict[str, np.ndarray]) -> Any:
    """Return the columns as a DataFrame; matrices become one column per class or output."""
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


def _stream_notes(data: files.Data) -> list[str]:
    return [] if data.stream_reason is None else [f"{data.name}: {data.n_rows:,} rows, streamed ({data.stream_reason})"]


def evaluate(
    model: Path,
    names: Sequence[str],
    target: str | None,
    console: Console,
    stream: bool | None = None,
    options: EncodingOptions | None = None,
) -> dict[str, Any]:
    """Score a saved model on data; return the report that ``--json`` prints."""
    fitted = modelfile.load(model)
    task = task_of(fitted.estimator)
    column = target or fitted.target
    data = _test_part(files.read(names, options, stream, fitted.columns, column))
    if not data.predefined_target and (task != "outliers" or column in data.schema.names):
        data = target_column.take_target(data, column, needed=task != "outliers")
    else:
        data = target_column.take_target(data, target, needed=task != "outliers")
    data = target_column.clean(data, task)
    found = None
    if data.target is not None or not data.is_table:
        found = data.targets(task, _labels(fitted.estimator) if task == "classes" else None)[0]
    rows = fitted.dataset(data) if data.stream_reason is not None else fitted.rows(data)
    scores = score(fitted.estimator, rows, found)
    console.print_notes([*_stream_notes(data), *data.notes])
    console.print(f"{data.name}: {scores_in_words(scores)} ({data.n_rows:,} rows)", style="bold")
    return {"model": str(model), "data": data.name, "rows": data.n_rows, "scores": scores}


def _labels(estimator: Any) -> str:
    """Return the type of the classes."""
    kind = estimator.classes_.dtype.kind
    return "text" if kind in "UO" else "boolean" if kind == "b" else "number"


def _test_part(data: files.Data) -> files.Data:
    """Return the test set of the file if it has one, because the model may have been fitted to the other rows."""
    if data.test is None:
        return data
    return replace(data.test, notes=(*data.notes, "only the test rows of the file are used"))
