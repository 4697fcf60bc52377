"""``parsgd predict`` and ``parsgd evaluate``: predictions and scores of a saved model on new rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from parsgd.cli import output
from parsgd.cli.cli_errors import UsageError
from parsgd.cli.console import Console
from parsgd.cli.option_groups import FileOptions
from parsgd.cli.option_values import check_folder
from parsgd.cli.options import AsJson, DataFiles, ModelFile, Stream, option
from parsgd.utils.atomic_io import write_atomically
from parsgd.viz import number_format

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from parsgd.cli.fitting import Columns
    from parsgd.cli.tables.read_data import Data

PREDICT_EXAMPLES = (
    "parsgd predict iris.parsgd iris --out predictions.csv",
    "cat new.csv | parsgd predict price.parsgd - --out - | head -3",
)
EVALUATE_EXAMPLES = (
    "parsgd evaluate iris.parsgd iris",
    "parsgd evaluate price.parsgd table.csv --json",
)


_WRITABLE = (".csv", ".parquet", ".npz")
# Predictions per write to standard output.
_CHUNK_ROWS = 1000


def predict(
    model: ModelFile,
    data: DataFiles,
    out: Annotated[str, option("A .csv, .parquet or .npz file; - for CSV on stdout.", "--out", "-o", metavar="FILE")],
    files: FileOptions,
    stream: Stream = None,
    as_json: AsJson = False,
) -> None:
    """Predict a target for every row of the data.

    As DATA and as --out, - stands for CSV on standard input and standard output.
    """
    from parsgd.cli.tables import modelfile

    if as_json and out == "-":
        raise UsageError("--json and --out - both write to standard output; give --out a file.")
    console, path = Console(as_json, to_stderr=out == "-"), Path(out)
    if out != "-" and path.suffix.lower() not in _WRITABLE:
        raise UsageError(f"--out {out}: the file name must end in {', '.join(_WRITABLE)}, or be - for standard output.")
    if out != "-":
        check_folder(path, "--out")
    fitted = modelfile.load(model)
    rows = open_rows(data, files, stream, fitted.columns)
    columns = compute_predictions(fitted.estimator, fitted.rows(rows))
    count = len(columns["prediction"])
    if out == "-":
        table = _make_frame(columns)
        for start in range(0, max(count, 1), _CHUNK_ROWS):
            output.write(table.iloc[start : start + _CHUNK_ROWS].to_csv(index=False, header=start == 0))
    else:
        with write_atomically(out) as temporary:
            _write(columns, temporary, path.suffix.lower())
    console.print_notes(rows.notes)
    console.print(f"{count:,} predictions written to {'standard output' if out == '-' else out}")
    console.print_json({"model": str(model), "data": list(data), "out": out, "rows": count})


def compute_predictions(estimator: Any, rows: Any) -> dict[str, np.ndarray]:
    """Return the columns ``prediction``; ``probability (n_rows, n_classes)`` and ``classes``; or ``score``."""
    from parsgd.cli.scoring import has_probabilities, task_of

    columns = {"prediction": estimator.predict(rows)}
    if task_of(estimator) == "outliers":
        columns["score"] = estimator.decision_function(rows)
    elif has_probabilities(estimator):
        columns["probability"] = estimator.predict_proba(rows)
        columns["classes"] = estimator.classes_
    return columns


def _make_frame(columns: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return the columns as a DataFrame; matrices become one column per class or output."""
    import pandas as pd

    table = {}
    for name, values in columns.items():
        if values.ndim == 2:
            labels = columns.get("classes", range(values.shape[1]))
            table |= {f"{name}_{label}": values[:, i] for i, label in enumerate(labels)}
        elif name != "classes":
            table[name] = values
    return pd.DataFrame(table)


def _write(columns: dict[str, np.ndarray], path: Path, suffix: str) -> None:
    if suffix == ".npz":
        import numpy as np

        if columns["prediction"].dtype == object:
            columns = {key: value.astype(str) if value.dtype == object else value for key, value in columns.items()}
        with open(path, "wb") as file:
            np.savez(file, **columns)
    elif suffix == ".parquet":
        _make_frame(columns).to_parquet(path, index=False)
    else:
        _make_frame(columns).to_csv(path, index=False)


def evaluate(
    model: ModelFile,
    data: DataFiles,
    files: FileOptions,
    target: Annotated[
        str | None, option("Column of true values. Default: the target of the fit.", metavar="COLUMN")
    ] = None,
    stream: Stream = None,
    as_json: AsJson = False,
) -> None:
    """Score a saved model on data with true values."""
    from parsgd.cli.scoring import label_type, score, task_of
    from parsgd.cli.tables import modelfile, target_column

    console = Console(as_json)
    fitted = modelfile.load(model)
    task = task_of(fitted.estimator)
    column = target or fitted.target
    rows = open_rows(data, files, stream, fitted.columns, column)
    if rows.predefined_target or (task == "outliers" and column not in rows.schema.names):
        column = target
    rows = target_column.clean(target_column.take_target(rows, column, needed=task != "outliers"), task)
    labels = label_type(fitted.estimator.classes_) if task == "classes" else None
    scores = score(fitted.estimator, fitted.rows(rows), rows.targets(task, labels)[0] if rows.has_targets else None)
    console.print_notes(rows.notes)
    console.print(f"{rows.name}: {number_format.scores(scores)} ({rows.n_rows:,} rows)", style="bold")
    console.print_json({"model": str(model), "data": rows.name, "rows": rows.n_rows, "scores": scores})


def open_rows(
    names: Sequence[str],
    options: FileOptions,
    stream: bool | None,
    columns: Columns | None,
    target: str | None = None,
) -> Data:
    """Read data with notes about it: its test set if it has one, because the model may know the other rows."""
    from parsgd.cli.tables import read_data

    data = read_data.read(names, options, stream, columns, target)
    if data.test is not None:
        data = replace(data.test, notes=(*data.notes, "only the test rows of the file are used"))
    if data.stream_reason is not None:
        streamed = f"{data.name}: {data.n_rows:,} rows, streamed ({data.stream_reason})"
        data = replace(data, notes=(streamed, *data.notes))
    return data
