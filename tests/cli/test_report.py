"""``parsgd report`` and ``fit --report``: the same page by both; what cannot be written is told first."""

import json
import re

import pytest
from sklearn.datasets import load_iris

import parsgd
from parsgd import SGDClassifier
from parsgd.model_io import model_files

FAST = ("--max-iter", "3", "--tol", "none")


def numbers(page):
    return json.loads(re.search(r'id="run">(.*?)</script>', page.read_text(encoding="utf-8")).group(1))


def test_both_commands_write_the_same_page_and_it_says_what_fit_said(cli, table_csv, tmp_path):
    model, page, again = tmp_path / "m", tmp_path / "page.html", tmp_path / "again.html"
    options = ("--target", "kind", "--drop", "y", "--workers", "2", "--algorithm", "local", *FAST)
    typed = ("fit", table_csv, "--out", model, "--report", page, *options)
    told = cli.report(*typed)
    cli("report", model, "--out", again)
    assert page.read_text(encoding="utf-8") == again.read_text(encoding="utf-8")
    ours = numbers(page)
    assert ours["run"]["scores"] == told["scores"]
    assert ours["run"]["seconds"] == told["seconds"]
    assert ours["run"]["rows"] == told["rows"]["training"]
    assert ours["run"]["command"] == [*map(str, typed), "--json"]
    assert ours["run"]["warnings"] == told["warnings"]
    assert sum(ours["run"]["classes"].values()) == told["rows"]["training"]
    assert ours["run"]["columns"] == 6
    for theirs, worker in zip(told["workers"], ours["workers"], strict=True):
        assert theirs["examples"] == worker["examples"]
        assert theirs["seconds"] == pytest.approx(worker["computing"])


def test_what_the_fit_warned_of_is_on_the_page(cli, table_csv, tmp_path):
    page = tmp_path / "page.html"
    cli("fit", table_csv, "-o", tmp_path / "m", "--report", page, "--target", "kind", "--max-iter", "2", "--tol", "0")
    assert "Maximum number of iteration reached" in page.read_text(encoding="utf-8")


def test_a_model_from_python_has_a_page_that_says_what_is_not_known(cli, tmp_path):
    model = SGDClassifier(max_iter=3, tol=None, n_jobs=1).fit(*load_iris(return_X_y=True))
    model_files.save(model, tmp_path / "m")
    cli("report", tmp_path / "m", "-o", tmp_path / "page.html")
    assert "The command is unknown" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_one_class_and_regression_models_have_pages(cli, table_csv, tmp_path):
    for model, target in (("sgd-regressor", ("--target", "y")), ("sgd-one-class-svm", ())):
        page = tmp_path / f"{model}.html"
        cli.fit(table_csv, tmp_path / "m", "--model", model, *target, "--report", page)
        assert numbers(page)["run"]["classes"] == {}


def test_a_page_that_cannot_be_written_is_refused_before_the_data_are_read(cli, tmp_path):
    pages = {tmp_path: "folder", tmp_path / "no" / "page": "existing folder", tmp_path / "m": "model file"}
    for page, said in pages.items():
        result = cli("fit", "no such data", "--out", tmp_path / "m", "--report", page, code=2)
        assert "--report" in result.stderr
        assert said in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_report_of_what_is_no_model_says_so(cli, tmp_path):
    (tmp_path / "m").write_text("no model")
    assert "model file" in cli("report", tmp_path / "m", "--out", tmp_path / "p", code=1).stderr
    assert not (tmp_path / "p").exists()


def test_the_page_of_python_is_that_of_the_command(cli, table_csv, tmp_path):
    cli.fit(table_csv, tmp_path / "m", "--target", "kind")
    cli("report", tmp_path / "m", "--out", tmp_path / "page.html")
    assert parsgd.write_report(tmp_path / "m") == (tmp_path / "page.html").read_text(encoding="utf-8")
