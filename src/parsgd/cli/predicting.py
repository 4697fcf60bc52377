"""``parsgd predict`` and ``parsgd evaluate``: a saved model and new rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from parsgd.cli import data as files
from parsgd.cli import modelfile
from parsgd.cli.formats import Data
from parsgd.cli.mistakes import Mistake
from parsgd.cli.scoring import score, task_of
from parsgd.cli.speaking import Voice, scores_in_words
from parsgd.files import write_atomically

_WRITABLE = (".csv", ".parquet", ".npz")


def predict(model: Path, name: str, out: str, voice: Voice) -> None:
    """Write predictions for all rows of a data file: ``prediction``, and where the model has them probabilities."""
    suffix = Path(out).suffix.lower() if out != "-" else "-"
    if suffix not in (*_WRITABLE, "-"):
        raise Mistake(f"--out {out}: predictions go to a file that ends in {', '.join(_WRITABLE)}, or to - (here).")
    if out != "-" and not Path(out).parent.is_dir():
        raise Mistake(f"--out {out}: there is no folder {Path(out).parent}; make it first: mkdir -p {Path(out).parent}")
    fitted = modelfile.load(model)
    data = _test_part(files.read(name, fitted.as_text))
    rows = fitted.rows(data)
    columns = predictions(fitted.estimator, rows)
    if out == "-":
        _frame(columns).to_csv(sys.stdout, index=False)
    else:
        with write_atomically(out) as temporary:
            _write(columns, temporary, suffix)
    voice.points(data.said)
    voice.say(f"{len(columns['prediction']):,} predictions written to {'standard output' if out == '-' else out}")


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


def evaluate(model: Path, name: str, target: str | None, voice: Voice) -> dict[str, Any]:
    """Score a saved model on a data file; return the report that ``--json`` prints."""
    fitted = modelfile.load(model)
    task = task_of(fitted.estimator)
    column = target or fitted.target
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
