"""Model files that earlier versions wrote are read as long as there is parsgd, and predict what they predicted."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

import parsgd
from parsgd.estimators.kinds import estimator_names
from parsgd.model_io import model_files

FOLDER = Path(__file__).parent / "saved"
FORMATS = {path.name: json.loads((path / "expected.json").read_text("utf-8")) for path in FOLDER.glob("format-*")}
FILES = [(form, name) for form, expected in sorted(FORMATS.items()) for name in expected]


@pytest.mark.parametrize(("form", "name"), FILES)
def test_a_file_of_an_earlier_version_predicts_what_it_predicted(form, name):
    expected = FORMATS[form][name]
    saved = model_files.open_file(FOLDER / form / f"{name}.parsgd")
    assert saved.notes == {"made_by": "write.py"}
    rows = np.array(expected["rows"], dtype=expected["dtype"])
    # products are summed in another order on other processors, and a label is not a matter of the last bits
    near = {"rtol": 1e-4, "atol": 1e-5} if expected["dtype"] == "float32" else {"rtol": 1e-9, "atol": 1e-12}
    for method in {"predict", "decision_function", "predict_proba"} & expected.keys():
        ours, theirs = getattr(saved.estimator, method)(rows), np.array(expected[method])
        if theirs.dtype.kind == "f":
            np.testing.assert_allclose(ours, theirs, **near)
        else:
            assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize(("form", "name"), FILES)
def test_a_file_of_an_earlier_version_can_be_saved_and_goes_on(form, name, tmp_path):
    model = parsgd.load(FOLDER / form / f"{name}.parsgd")
    rows = np.array(FORMATS[form][name]["rows"], dtype=FORMATS[form][name]["dtype"])
    parsgd.save(model, tmp_path / "again.parsgd")
    again = parsgd.load(tmp_path / "again.parsgd")
    assert np.array_equal(again.predict(rows), model.predict(rows))
    if getattr(model, "solver", None) == "lbfgs" or model.early_stopping:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # eight rows are fewer than a batch
        again.partial_fit(rows, model.predict(rows))
        model.partial_fit(rows, model.predict(rows))
    assert np.array_equal(again.predict(rows), model.predict(rows))


RENAMED = FOLDER / "renamed-since-0.1"
PARTS = json.loads((RENAMED / "expected.json").read_text("utf-8"))


@pytest.mark.parametrize("name", PARTS)
def test_parts_that_were_renamed_since_version_0_1_are_read(name):
    model = parsgd.load(RENAMED / f"{name}.parsgd")
    assert model.predict(np.array(PARTS[name]["rows"])).tolist() == PARTS[name]["predict"]
    assert repr(model.algorithm) == PARTS[name]["algorithm"]
    assert repr(model.engine) == PARTS[name]["engine"]


def test_columns_of_version_0_1_are_read():
    model = parsgd.load(RENAMED / "columns" / "columns.parsgd")
    assert [type(kind).__name__ for kind in model.columns_.kinds] == ["Numeric", "OneHot", "HashedCategories"]
    assert [getattr(kind, "missing", None) for kind in model.columns_.kinds] == ["mean", "indicator", "indicator"]


def test_there_is_a_file_of_every_estimator_for_every_format():
    assert {f"format-{number}" for number in range(1, model_files.FORMAT + 1)} == FORMATS.keys()
    for form in FORMATS:
        kinds = {type(parsgd.load(path)).__name__ for path in (FOLDER / form).glob("*.parsgd")}
        assert kinds == set(estimator_names())
