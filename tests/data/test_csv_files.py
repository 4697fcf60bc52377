"""CSV files as people write them: read as they are meant, or refused in one sentence; never a lost row."""

import gzip
import time

import numpy as np
import pandas as pd
import pytest

from parsgd import open_dataset
from parsgd.data.columns.column_kinds import HashedCategories, Numeric, OneHot, Text
from parsgd.data.formats import csv_layout, line_spans
from parsgd.errors import DataFileError


@pytest.fixture(params=["one span", "many spans"])
def spans(request, monkeypatch):
    """Files are cut into spans much shorter than they are, or not at all."""
    if request.param == "many spans":
        monkeypatch.setattr(line_spans, "SPAN_BYTES", 50)


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path, **how):
    """Dense rows, and targets, of a file."""
    chunks = list(open_dataset(path, **how).blocks())
    x = [chunk.x.toarray() if hasattr(chunk.x, "toarray") else chunk.x for chunk in chunks]
    y = None if chunks[0].y is None else np.concatenate([chunk.y for chunk in chunks]).tolist()
    return np.concatenate(x).tolist(), y


def refused(said, path, **how):
    with pytest.raises(DataFileError, match=said) as error:
        read(path, **how)
    assert path.name in str(error.value)
    assert "\n" not in str(error.value)


# -- quotes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", ['3" pipe', "6'2\"", 'a "b" c', '5"x7"', 'x""'])
def test_a_quote_within_an_unquoted_value_is_part_of_it(odd, tmp_path, spans):
    lines = [f"pipe {i},{i},{'yes' if i % 2 else 'no'}" for i in range(300)]
    lines[100] = f"{odd},100,no"
    dataset = open_dataset(
        write(tmp_path / "d.csv", "size,price,label\n" + "\n".join(lines)),
        target="label",
        columns=[Numeric("price"), OneHot("size")],
    )
    assert dataset.n_rows == 300
    x = np.concatenate([chunk.x.toarray() for chunk in dataset.blocks()])
    assert x[:, 0].tolist() == list(range(300))
    assert f"size={odd}" in dataset.feature_names


def test_quotes_that_do_not_close_are_refused_with_their_line(tmp_path, spans):
    rows = "a,b\n" + "x,1\n" * 50
    refused(r"d.csv, line 52: the quoted field.*no closing quote", write(tmp_path / "d.csv", rows + '"pipe,1\nx,2\n'))
    refused(
        "line 54: 'pipe.*follows a closing quote.*began in line 52",
        write(tmp_path / "d.csv", rows + '"pipe,1\nx,2\n"pipe,3\nx,4\n'),
    )


def test_quoted_separators_newlines_and_quotes_are_values(tmp_path, spans):
    texts = ["a,b", "c\nd", 'e "f"', '"', "g\r\nh", "", '""']
    frame = pd.DataFrame({"t": texts * 30, "y": range(210)})
    frame.to_csv(tmp_path / "d.csv", index=False)
    dataset = open_dataset(tmp_path / "d.csv", target="y", columns=[OneHot("t", missing="ignore")])
    assert np.concatenate([chunk.y for chunk in dataset.blocks()]).tolist() == list(range(210))
    assert set(dataset.feature_names) == {f"t={text}" for text in texts if text}


@pytest.mark.alone
def test_the_scan_is_linear_in_quotes(tmp_path):
    def seconds(n):
        write(tmp_path / "d.csv", "a,b\n" + '5" x 3",1\n' * n)
        began = time.perf_counter()
        assert open_dataset(tmp_path / "d.csv", columns=["b"]).n_rows == n
        return time.perf_counter() - began

    seconds(1000)
    assert seconds(800_000) < 8 * max(seconds(200_000), 0.02)


def test_values_and_headers_of_several_lines_and_megabytes(tmp_path):
    long = "word " * 700_000
    frame = pd.DataFrame({"t": ["a\nb", long, "c"], "first\nsecond": [1, 2, 3], "y": [0, 1, 0]})
    frame.to_csv(tmp_path / "d.csv", index=False)
    dataset = open_dataset(tmp_path / "d.csv", target="y", columns=["first\nsecond", Text("t", n_features=8)])
    assert dataset.n_rows == 3
    x = np.concatenate([chunk.x.toarray() for chunk in dataset.blocks()])
    assert x[:, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("n", [10, 40_000])
def test_newlines_in_quotes_in_small_and_large_files(n, tmp_path):
    frame = pd.DataFrame({"t": [f"row {i}\nof some length, more than a few bytes" for i in range(n)], "y": range(n)})
    frame.to_csv(tmp_path / "d.csv", index=False)
    frame.to_csv(tmp_path / "d.csv.gz", index=False)
    for name in ("d.csv", "d.csv.gz"):
        dataset = open_dataset(tmp_path / name, target="y", columns=[HashedCategories("t", n_features=4)])
        assert np.concatenate([chunk.y for chunk in dataset.blocks()]).tolist() == list(range(n))


# -- how values are written --------------------------------------------------------------------------------------------


def test_spaces_after_separators_are_no_part_of_values(tmp_path, spans):
    plain = 'age,work,label\n39,State gov,<=50K\n50,"a, b",>50K\n,x,<=50K\n'
    spaced = 'age, work, label\n39, State gov, <=50K\n50, "a, b", >50K\n, x, <=50K\n'
    how = {"target": "label", "columns": [Numeric("age", missing=-1), OneHot("work")]}
    both = [read(write(tmp_path / f"{i}.csv", text), **how) for i, text in enumerate((plain, spaced))]
    assert both[0] == both[1]
    assert both[0][1] == ["<=50K", ">50K", "<=50K"]


@pytest.mark.parametrize("missing", ["", '""', "NA", '"NA"', "?", "nan", '"?"', "  "])
def test_missing_numbers_quoted_or_not(missing, tmp_path):
    path = write(tmp_path / "d.csv", f"a,b\n1,2\n{missing},3\n")
    assert read(path, columns=[Numeric(["a", "b"], missing=0)])[0] == [[1, 2], [0, 3]]


def test_labels_that_look_missing_are_labels(tmp_path):
    path = write(tmp_path / "d.csv", "a,y\n1,NA\n2,None\n3,yes\n4,nan\n")
    assert read(path, target="y")[1] == ["NA", "None", "yes", "nan"]
    assert read(write(tmp_path / "e.csv", "a,y\n1,NA\n2,None\n"), target="y")[1] == ["NA", "None"]
    refused("row 2: column 'y' is the target, and is missing", write(tmp_path / "f.csv", "a,y\n1,NA\n2,\n"), target="y")


def test_columns_without_a_name_are_no_features_unless_they_are_named(tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "y": [0, 1, 0]})
    frame.to_csv(tmp_path / "d.csv")
    dataset = open_dataset(tmp_path / "d.csv", target="y")
    assert dataset.feature_names == ["a"]
    assert "no feature, since it is an index or has no name: Unnamed: 0" in repr(dataset)
    pd.read_csv(tmp_path / "d.csv").to_csv(tmp_path / "e.csv")
    assert open_dataset(tmp_path / "e.csv", target="y").feature_names == ["a"]
    assert open_dataset(tmp_path / "d.csv", target="y", columns=["Unnamed: 0"]).feature_names == ["Unnamed: 0"]
    assert open_dataset(write(tmp_path / "f.csv", "a,y,\n1,0,\n2,1,\n"), target="y").feature_names == ["a"]


def test_times_of_day_are_categories_or_seconds(tmp_path):
    path = write(tmp_path / "d.csv", "t,y\n12:30:00,0\n00:00:01,1\n")
    assert read(path, target="y", columns=[Numeric("t")])[0] == [[45000], [1]]
    dataset = open_dataset(path, target="y", columns=[OneHot("t")])
    assert dataset.feature_names == ["t=00:00:01", "t=12:30:00"]
    assert open_dataset(path, target="y").n_features == 2**18


@pytest.mark.parametrize(("row", "said"), [("1,2", "got 2.*too few"), ("1,2,3,4", "got 4.*too many")])
def test_rows_of_another_length_are_refused_by_number(row, said, tmp_path, spans):
    path = write(tmp_path / "d.csv", "a,b,y\n" + "1,2,3\n" * 99 + row + "\n1,2,3\n")
    refused(f"d.csv, row 100: expected 3 columns, {said}", path, target="y", columns=["a", "b"])


def test_values_that_do_not_fit_their_column_are_refused_by_row(tmp_path, monkeypatch, spans):
    monkeypatch.setattr(csv_layout, "SAMPLE_BYTES", 100)
    rows = "a,d,y\n" + "1,2020-01-01,0\n" * 200
    path = write(tmp_path / "d.csv", rows + "high,2020-01-01,0\n")
    refused("d.csv, row 201: column 'a' should hold numbers, and has 'high'", path, target="y", columns=["a"])
    path = write(tmp_path / "d.csv", rows + "1,soon,0\n")
    refused("d.csv, row 201: column 'd' should hold .*, and has 'soon'", path, target="y", columns=[Numeric("d")])


def test_decimal_commas_are_read_as_asked(tmp_path):
    path = write(tmp_path / "d.csv", "a;y\n1,5;0\n-2,25;1\n")
    assert read(path, target="y", decimal=",")[0] == [[1.5], [-2.25]]


# -- headers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["5.1,3.5,0.2,Iris-setosa", "0,tcp,http,0", "39, State-gov, 13, <=50K", "1,1,2,x"])
def test_a_first_row_of_data_is_refused_or_read_as_asked(first, tmp_path):
    path = write(tmp_path / "d.csv", f"{first}\n{first}\n")
    refused("the first row looks like data.*header=None", path)
    dataset = open_dataset(path, header=None, target="f3")
    assert dataset.n_rows == 2
    assert open_dataset(path, header=["a", "b", "c", "d"], target="d").n_rows == 2
    refused("has 4 columns, and header= has 3 names", path, header=["a", "b", "c"])


@pytest.mark.parametrize("header", ["0,1,2,y", "0,1,2,3", "id,2013,2014,y"])
def test_numbers_as_names_are_read_with_a_remark(header, tmp_path):
    dataset = open_dataset(write(tmp_path / "d.csv", f"{header}\n4,5,6,7\n8,9,10,11\n"))
    assert dataset.n_rows == 2
    assert "the header has numbers" in dataset.notes[0]


def test_a_header_is_affirmed(tmp_path):
    path = write(tmp_path / "d.csv", "2013,2014\n1,2\n3,4\n")
    refused("looks like data", path)
    assert open_dataset(path, header=True).feature_names == ["2013", "2014"]


@pytest.mark.parametrize("header", ["a,b,a", "a, a"])
def test_two_columns_of_one_name_are_refused(header, tmp_path):
    refused("two columns are called 'a'", write(tmp_path / "d.csv", f"{header}\n"))


# -- files -------------------------------------------------------------------------------------------------------------


def test_commas_in_quoted_names_do_not_divide(tmp_path):
    path = write(tmp_path / "d.csv", '"size, cm";"weight, kg";"y"\n1;2;0\n3;4;1\n')
    assert open_dataset(path, target="y").feature_names == ["size, cm", "weight, kg"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("before", ["", "\n", "  \n\n", "\ufeff", "\ufeff\n"])
def test_line_ends_and_blank_lines(end, before, tmp_path, spans):
    text = before + "a,y\n1,0\n2,1\n\n3,0\n"
    path = write(tmp_path / "d.csv", text.replace("\n", end))
    assert read(path, target="y") == ([[1], [2], [3]], [0, 1, 0])


def test_endings_of_names_in_capitals(tmp_path):
    (tmp_path / "X.CSV.GZ").write_bytes(gzip.compress(b"a,y\n1,0\n"))
    assert read(tmp_path / "X.CSV.GZ", target="y")[0] == [[1]]


def test_tabs_divide_files_that_end_in_tsv(tmp_path):
    path = write(tmp_path / "table.tsv.gz", gzip.compress(b"size\tnote, of it\tprice\n1\t2\t3\n4\t5\t6\n"))
    assert read(path, target="price") == ([[1.0, 2.0], [4.0, 5.0]], [3, 6])
    assert open_dataset(tmp_path, target="price").shape == (2, 2)


def test_rows_of_a_part_of_a_file_are_named_once(tmp_path, spans):
    path = write(tmp_path / "table.csv", "a,b\n" + "1,2\n" * 60 + "inf,2\n")
    with pytest.raises(DataFileError) as error:
        read(path, target="b")
    assert str(error.value).count("row 61") == str(error.value).count("table.csv") == 1
    assert "(rows" not in str(error.value)


@pytest.mark.parametrize(
    ("encoding", "said"), [("utf-16", "UTF-16"), ("utf-16-le", "UTF-16"), ("latin-1", "line 52.*Latin-1.*iconv")]
)
def test_other_encodings_are_named(encoding, said, tmp_path):
    text = "city,y\n" + "Bath,1\n" * 50 + "Köln,0\n"
    refused(said, write(tmp_path / "d.csv", text.encode(encoding)), target="y")


def test_a_folder_is_read_without_what_is_no_data(tmp_path, monkeypatch):
    (tmp_path / "data" / ".ipynb_checkpoints").mkdir(parents=True)
    for where in ("data/a.csv", "data/.ipynb_checkpoints/a-checkpoint.csv"):
        write(tmp_path / where, "a,y\n1,0\n2,1\n")
    for name in ("_SUCCESS", ".DS_Store", "README.md"):
        (tmp_path / "data" / name).write_text("text")
    monkeypatch.chdir(tmp_path)
    for path in ("data", "./data", "../" + tmp_path.name + "/data/", tmp_path / "data"):
        assert open_dataset(path, target="y").n_rows == 2
    monkeypatch.chdir(tmp_path / "data")
    assert open_dataset(".", target="y").n_rows == 2


@pytest.mark.slow
def test_opening_is_linear_in_columns(tmp_path):
    names = [f"column {i}" for i in range(20_000)]
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 20_000)).round(3), columns=names)
    frame.to_csv(tmp_path / "d.csv", index=False)
    frame.to_parquet(tmp_path / "d.parquet")
    for name in ("d.csv", "d.parquet"):
        began = time.process_time()
        dataset = open_dataset(tmp_path / name, target="column 7")
        assert time.process_time() - began < 3
        assert next(dataset.blocks()).x.shape == (20, 19_999)


FORMATTED = [["12%", "3 %"], ["1,234", "22,000,000"], ["$ 5", "$ 12"], ["1.234.567", "12.000.000"]]


@pytest.mark.parametrize("texts", FORMATTED)
@pytest.mark.parametrize("way", ["csv", "table", "dask", "onehot"])
def test_formatted_numbers_are_noted_on_every_path(tmp_path, texts, way):
    frame = pd.DataFrame({"price": texts * 20, "a": range(40), "y": [0, 1] * 20})
    frame.to_csv(tmp_path / "prices.csv", index=False)
    data = frame if way == "table" else tmp_path / "prices.csv"
    columns = [OneHot("price")] if way == "onehot" else None
    if way == "dask":
        data = pytest.importorskip("dask.dataframe").from_pandas(frame, npartitions=2)
    (note,) = (note for note in open_dataset(data, target="y", columns=columns).notes if "price" in note)
    assert note.startswith("price: encoded as categories, but looks like numbers with a decimal comma, digit groups")
    assert any(f"such as {text!r}" in note for text in texts)


def test_categories_with_signs_are_no_numbers(tmp_path):
    (tmp_path / "c.csv").write_text("size,y\n10 cm,1\n12%,2\nno,1\n", "utf-8")
    assert open_dataset(tmp_path / "c.csv", target="y").notes == ()
