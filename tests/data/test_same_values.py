"""The same rows give the same features and predictions whatever file they come from, or one clear error."""

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import parsgd
from parsgd import open_dataset
from parsgd.data.columns.column_kinds import Dates, HashedCategories, Numeric, OneHot
from parsgd.data.columns.encoder import encoder_of
from parsgd.errors import DataFileError, InvalidArgumentError

DAYS = [datetime.date(2020, 1, 1), datetime.date(2020, 1, 2), datetime.date(2021, 1, 1), datetime.date(2020, 1, 1)]
MOMENTS = pd.to_datetime(["2020-01-01 12:30", "2020-01-02 00:00", "2021-01-01 00:00", "2020-01-01 00:00"])
VALUES = {
    "whole numbers": [3, 1, 2, 3],
    "whole numbers as floats": [3.0, 1.0, 2.0, 3.0],
    "floats": [0.1, 2.5, 1e-5, 1e20],
    "float32": np.array([0.1, 2.5, 3.0, 1e-5], dtype=np.float32),
    "booleans": [True, False, True, False],
    "codes": ["01", "1", "007", "1e5"],
    "texts like booleans": ["TRUE", "FALSE", "TRUE", "FALSE"],
    "dates": DAYS,
    "midnights": MOMENTS.normalize(),
    "moments": MOMENTS,
    "moments in a zone": MOMENTS.tz_localize("UTC"),
    "times": [datetime.time(12, 30), datetime.time(1, 2, 3), datetime.time(0, 0), datetime.time(12, 30)],
    "texts with spaces": [" a", "b ", "c", "a"],
    "looking missing": ["NA", "None", "?", "nan"],
    "gaps": ["a", None, "b", ""],
    "categories": pd.Categorical([3, 1, 3, 2]),
}


def in_every_format(frame, folder):
    """What ``open_dataset`` takes: the frame itself, and files and tables of it."""
    frame.to_csv(folder / "data.csv", index=False)
    frame.to_csv(folder / "data.csv.gz", index=False, sep=";")
    frame.to_parquet(folder / "data.parquet", index=False)
    return {
        "CSV": folder / "data.csv",
        "packed CSV": folder / "data.csv.gz",
        "Parquet": folder / "data.parquet",
        "pandas": frame,
        "Arrow": pa.Table.from_pandas(frame, preserve_index=False),
    }


def rows(dataset):
    x = [chunk.x.toarray() if hasattr(chunk.x, "toarray") else chunk.x for chunk in dataset.blocks()]
    return np.concatenate(x).tolist()


@pytest.mark.parametrize("kind", [OneHot, HashedCategories])
@pytest.mark.parametrize("name", VALUES)
def test_a_category_has_one_spelling_in_every_format(name, kind, tmp_path):
    frame = pd.DataFrame({"c": VALUES[name]})
    settings = {"n_features": 64} if kind is HashedCategories else {}
    datasets = [
        open_dataset(data, columns=[kind("c", missing="indicator", **settings)])
        for data in in_every_format(frame, tmp_path).values()
    ]
    assert len({tuple(dataset.feature_names) for dataset in datasets}) == 1
    assert all(rows(dataset) == rows(datasets[0]) for dataset in datasets)


@pytest.mark.parametrize("trained", ["CSV", "Parquet", "pandas"])
@pytest.mark.parametrize("name", ["whole numbers as floats", "booleans", "dates", "moments"])
def test_a_model_predicts_the_same_from_every_format(name, trained, tmp_path):
    values = np.asarray(VALUES[name], dtype=object)
    frame = pd.DataFrame({"c": list(values) * 25, "y": [str(value) == str(values[0]) for value in values] * 25})
    frame["y"] = np.where(frame["y"], "yes", "no")
    formats = in_every_format(frame, tmp_path)
    data = open_dataset(formats[trained], target="y", columns=[OneHot("c")])
    model = parsgd.SGDClassifier(random_state=0, max_iter=20, tol=None).fit(data)
    for other in formats.values():
        assert model.score(open_dataset(other, target="y", columns=model.columns_)) == 1.0


@pytest.mark.parametrize(
    "labels", [["0", "1"], ["01", "02"], [0, 1], [0.0, 1.0], [True, False], ["NA", "None"], ["a ", "b"]]
)
@pytest.mark.parametrize("trained", ["CSV", "Parquet"])
def test_labels_are_the_same_in_every_format(labels, trained, tmp_path):
    frame = pd.DataFrame({"x": [0.0, 1.0] * 40, "y": labels * 40})
    formats = in_every_format(frame, tmp_path)
    model = parsgd.SGDClassifier(random_state=0).fit(open_dataset(formats[trained], target="y"))
    scores = {
        name: model.score(open_dataset(data, target="y", columns=model.columns_)) for name, data in formats.items()
    }
    assert set(scores.values()) == {1.0}, scores


def test_labels_of_another_type_are_refused_before_any_prediction(tmp_path):
    frame = pd.DataFrame({"x": [0.0, 1.0] * 40, "y": ["no", "yes"] * 40})
    model = parsgd.SGDClassifier(random_state=0).fit(open_dataset(frame, target="y"))
    numbers = open_dataset(frame.assign(y=[0, 1] * 40), target="y")
    with pytest.raises(InvalidArgumentError, match=r"the targets are \[0, 1, 0\], and the classes.*'no', 'yes'"):
        model.score(numbers)


def test_dates_are_days_in_every_format(tmp_path):
    frame = pd.DataFrame({"d": VALUES["moments"], "t": ["1970-01-02", None, "1970-01-03T12:00", "1970-01-01"]})
    datasets = [
        open_dataset(data, columns=[Dates(["d", "t"], missing="median")])
        for data in in_every_format(frame, tmp_path).values()
    ]
    assert rows(datasets[0])[1] == [18263.0, 1.0]
    assert all(rows(dataset) == rows(datasets[0]) for dataset in datasets)


@pytest.mark.parametrize(
    ("kind", "first", "said"), [(Dates("t"), "2020-01-01", "dates such as 2020-01-31"), (Numeric("t"), "1", "numbers")]
)
def test_texts_that_are_no_dates_or_numbers_are_named_by_row(kind, first, said):
    dataset = open_dataset(pa.table({"t": [first, "soon"]}), columns=encoder_of((kind,)))
    with pytest.raises(DataFileError, match=rf"row \d: column 't' should hold {said}, and has 'soon'"):
        rows(dataset)


# -- index columns and folders of Parquet ------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [None, "id"])
def test_the_index_of_pandas_is_no_feature(named, tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "y": [0, 1, 0]}, index=pd.Index([7, 3, 9], name=named))
    frame.to_parquet(tmp_path / "d.parquet")
    for data in (tmp_path / "d.parquet", pq.read_table(tmp_path / "d.parquet"), [tmp_path / "d.parquet"]):
        dataset = open_dataset(data, target="y")
        assert dataset.feature_names == ["a"]
        assert "no feature, since it is an index" in dataset.describe()
    column = named or "__index_level_0__"
    assert open_dataset(tmp_path / "d.parquet", columns=["a", column]).n_features == 2


def partitioned(folder, name, values):
    for value in values:
        (folder / f"{name}={value}").mkdir(parents=True)
        pq.write_table(pa.table({"a": [1.0, 2.0], "y": [0, 1]}), folder / f"{name}={value}" / "x.parquet")
    return folder


def test_a_file_within_a_partition_has_its_own_columns_only(tmp_path):
    folder = partitioned(tmp_path / "exp=5", "run", [1, 2])
    for data in (folder / "run=1" / "x.parquet", [folder / "run=1" / "x.parquet"], folder / "run=1"):
        assert open_dataset(data, target="y").feature_names == ["a"]
    assert open_dataset(folder, target="y").feature_names == ["a", "run"]


@pytest.mark.parametrize("values", [["01234", "90210"], ["7", "8"]])
def test_values_of_partitions_keep_their_zeros(values, tmp_path):
    folder = partitioned(tmp_path / "data", "zip", values)
    dataset = open_dataset(folder, target="y", columns=["a", OneHot("zip")])
    assert dataset.feature_names == ["a", *(f"zip={value}" for value in values)]
    assert rows(dataset) == [[1, 1, 0], [2, 1, 0], [1, 0, 1], [2, 0, 1]]


def test_other_files_beside_parquet_are_left_out(tmp_path):
    folder = partitioned(tmp_path / "data", "run", [1, 2])
    for name in ("_SUCCESS", "README.md", ".DS_Store", "run=1/notes.txt"):
        (folder / name).write_text("text")
    assert open_dataset(folder, target="y").n_rows == 4


# -- svmlight ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def svmlight(tmp_path):
    """Files of the same rows, with features counted from 0 and from 1."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)).round(3)
    for first in (0, 1):
        lines = [f"{int(row[0] > 0)} " + " ".join(f"{i + first}:{value}" for i, value in enumerate(row)) for row in x]
        (tmp_path / f"from{first}.svm").write_text("\n".join(lines) + "\n")
    (tmp_path / "few1.svm").write_text("1 1:2\n")
    return tmp_path


def test_the_number_of_the_first_feature_belongs_to_the_model(svmlight, tmp_path):
    model = parsgd.SGDClassifier(random_state=0).fit(open_dataset(svmlight / "from1.svm"))
    parsgd.save(model, tmp_path / "m.parsgd")
    model = parsgd.load(tmp_path / "m.parsgd")
    assert model.score(open_dataset(svmlight / "from1.svm", columns=model.columns_)) > 0.9
    assert model.predict(svmlight / "few1.svm").shape == (1,)
    with pytest.raises(DataFileError, match=r"from0.svm: has a feature with the number 0, and the model counts .* 1"):
        model.predict(svmlight / "from0.svm")
    asked = open_dataset(svmlight / "from0.svm", columns=model.columns_, zero_based=True)
    assert model.predict(asked).tolist() == model.predict(svmlight / "from1.svm").tolist()


def test_a_file_counted_from_1_is_no_file_of_a_model_counted_from_0(svmlight):
    model = parsgd.SGDClassifier(random_state=0).fit(open_dataset(svmlight / "from0.svm"))
    with pytest.raises(DataFileError, match=r"from1.svm: has features 1 to 3, and the model has 3, counted from 0"):
        model.predict(svmlight / "from1.svm")
    asked = open_dataset(svmlight / "from1.svm", columns=model.columns_, zero_based=False)
    assert model.predict(asked).tolist() == model.predict(svmlight / "from0.svm").tolist()


def test_a_table_is_no_file_for_a_model_of_svmlight_rows(svmlight, tmp_path):
    model = parsgd.SGDClassifier(random_state=0).fit(open_dataset(svmlight / "from0.svm"))
    (tmp_path / "d.csv").write_text("a,b,c\n1,2,3\n")
    with pytest.raises(DataFileError, match="svmlight rows, whose columns have no names"):
        model.predict(tmp_path / "d.csv")
    with pytest.raises(DataFileError, match="zero_based=False was given"):
        open_dataset(svmlight / "from0.svm", zero_based=False)
