"""The forms that benchmarks/single/matrix_form.py times compute the same, and docs/matrix-form.md shows them so."""

import importlib.util
import inspect
from pathlib import Path

import numpy as np
import pytest

from parsgd.models.network.network_model import Network

ROOT = Path(__file__).resolve().parents[2]
SMALL = [((7, 5, 3), 4), ((6, 9, 5, 4), 10), ((5, 3), 6)]


@pytest.fixture
def forms():
    spec = importlib.util.spec_from_file_location("matrix_form", ROOT / "benchmarks" / "single" / "matrix_form.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("sizes", "batch_size"), SMALL)
def test_all_forms_compute_the_same(forms, sizes, batch_size):
    forms.check(forms.differences(sizes, batch_size))


@pytest.mark.parametrize("form", ["by_example", "matrix_form"])
def test_a_wrong_gradient_is_found(forms, form, monkeypatch):
    right = getattr(forms, form)

    def wrong(*arguments):
        gradients = right(*arguments)
        gradients[0][0, 0] += 1e-9
        return gradients

    monkeypatch.setattr(forms, form, wrong)
    with pytest.raises(SystemExit, match="gradients: matrix form") as left:
        forms.check(forms.differences(*SMALL[0]))
    # a message as the code: Python prints it and ends with status 1
    assert isinstance(left.value.code, str)


def test_a_wrong_gradient_of_the_library_is_found(forms, monkeypatch):
    right = Network.gradient

    def wrong(self, state, rows):
        value, gradient = right(self, state, rows)
        return value, gradient * (1 + 1e-9)

    monkeypatch.setattr(Network, "gradient", wrong)
    with pytest.raises(SystemExit, match="parsgd's reference"):
        forms.check(forms.differences(*SMALL[0]))


def test_a_difference_that_is_no_number_is_found(forms):
    with pytest.raises(SystemExit, match="lost"):
        forms.check({"kept": 0.0, "lost": np.nan})


@pytest.mark.parametrize("name", ["softmax", "by_example", "matrix_form", "descend"])
def test_the_page_shows_the_code_that_is_measured(forms, name):
    page = (ROOT / "docs" / "matrix-form.md").read_text(encoding="utf-8")
    assert inspect.getsource(getattr(forms, name)) in page
