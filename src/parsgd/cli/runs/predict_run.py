"""``parsgd predict`` and ``parsgd evaluate``: a saved model and new rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parsgd.cli import output
from parsgd.cli.cli_errors import UsageError
from parsgd.cli.console import Console, scores_in_words
from parsgd.cli.scoring import score, task_of
from parsgd.cli.tables import modelfile, streamed_tables
from parsgd.cli.tables import read_data as files
from parsgd.cli.tables.file_readers import BUILT_IN, PIPE, Data
from parsgd.errors import DataFileError
from parsgd.utils.atomic_io import write_atomically

_WRITABLE = (".csv", ".parquet", ".npz")
# Of predictions that are written to standard output.
_ROWS_AT_A_TIME = 1000


def predict(
    model: Path, names: Sequence[str], out: str, voice: Console, stream: bool | None = None
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
    why = _why_streamed(fitted, names, stream)
    if why is not None:
        rows = streamed_tables.reopened(names, None, fitted.estimator, fitted.encoding)
        said = [f"{rows.name}: {rows.n_rows:,} rows, streamed ({why})"]
    else:
        data = _test_part(files.read(names[0], fitted.as_text))
        rows, said = fitted.rows(data), data.said
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


def _why_streamed(fitted: modelfile.ModelFile, names: Sequence[str], stream: bool | None) -> str | None:
    why = streamed_tables.why(names, stream)
    streamable = names[0] not in (*BUILT_IN, PIPE) and Path(names[0]).suffix != ".npz"
    if why is None and stream is None and streamable and hasattr(fitted.estimator, "columns_"):
        return "the model knows how its columns are read"
    return why


def evaluate(
    model: Path, names: Sequence[str], target: str | None, voice: Console, stream: bool | None = None
) -> dict[str, Any]:  # fmt: skip
    """Score a saved model on data; return the report that ``--json`` prints."""
    fitted = modelfile.load(model)
    task = task_of(fitted.estimator)
    column = target or fitted.target
    name = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    why = _why_streamed(fitted, names, stream)
    if why is not None:
        return _evaluate_stream(model, fitted, names, column, voice, why)
    return _evaluate_file(model, fitted, name, target, column, voice, task)


def _evaluate_stream(
    model: Path, fitted: modelfile.ModelFile, names: Sequence[str], column: str | None, voice: Console, why: str
) -> dict[str, Any]:  # fmt: skip
    outliers = task_of(fitted.estimator) == "outliers"
    dataset = streamed_tables.reopened(names, None if outliers else column, fitted.estimator, fitted.encoding)
    if not outliers and not dataset.target:
        raise DataFileError(f"{dataset.name}: name the column with the true values, --target COLUMN.")
    target = None if outliers else streamed_tables.targets_of(dataset)
    if target is not None and _text_classes(fitted.estimator):
        target = target.astype(str)
    scores = score(fitted.estimator, dataset, target)
    voice.say(f"{dataset.name}: {dataset.n_rows:,} rows, streamed ({why}): {scores_in_words(scores)}", style="bold")
    return {"model": str(model), "data": dataset.name, "rows": dataset.n_rows, "scores": scores}


def _evaluate_file(
    model: Path,
    fitted: modelfile.ModelFile,
    name: str,
    target: str | None,
    column: str | None,
    voice: Console,
    task: str,
) -> dict[str, Any]:
    data = files.read(name, (*fitted.as_text, *((column,) if column and _text_classes(fitted.estimator) else ())))
    data = _test_part(data)
    if data.is_table and data.target is None and (task != "outliers" or column in data.features.columns):
        data = files.take_target(data, column, needed=task != "outliers")
    else:
        data = files.take_target(data, target, needed=task != "outliers")
    data = files.clean(data, task)
    rows = fitted.rows(data)
    scores = score(fitted.estimator, rows, data.target)
    voice.points(data.said)
    voice.say(f"{name}: {scores_in_words(scores)} ({data.n_rows:,} rows)", style="bold")
    return {"model": str(model), "data": name, "rows": data.n_rows, "scores": scores}


def _text_classes(estimator: Any) -> bool:
    return getattr(estimator, "classes_", np.zeros(0)).dtype.kind in "UO"


def _test_part(data: Data) -> Data:
    """The rows that the file keeps for testing if it does; the others a model may have been fitted on."""
    if data.test is None:
        return data
    data.test.said.append("the test rows of the file were taken, not its training rows")
    return data.test
