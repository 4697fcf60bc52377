"""Strides, byte order, index width, alignment, writeability and duplicates change no bit."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from fitted_parameters import parameters
from scipy import sparse

import parsgd
from parsgd.errors import InvalidArgumentError
from parsgd.estimators.validation import input_validation
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.utils.row_arrays import rows_of, standard_array, standard_csr

N_ROWS, N_FEATURES = 90, 8
DENSE = unit_rows(N_ROWS, N_FEATURES)
CSR = sparse.random(N_ROWS, N_FEATURES, 0.4, format="csr", random_state=0)
Y, VALUES = labels(DENSE, 3), targets(DENSE)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SHORT = {"max_iter": 3, "tol": None, "random_state": 0}
PASSIVE = {"learning_rate": "pa1", "eta0": 1.0, "loss": "epsilon_insensitive"}
LBFGS = {"hidden_layer_sizes": (4,), "solver": "lbfgs", "max_iter": 3, "random_state": 0}
ADAGRAD = {"learning_rate": "adagrad", "n_jobs": 2}

FITS = {
    "binary": lambda X, y, v, w: parsgd.SGDClassifier(**SHORT).fit(X, y > 0, sample_weight=w),
    "classes": lambda X, y, v, w: parsgd.SGDClassifier(**SHORT).fit(X, y, sample_weight=w),
    "adagrad": lambda X, y, v, w: parsgd.SGDClassifier(**SHORT, **ADAGRAD).fit(X, y, sample_weight=w),
    "regressor": lambda X, y, v, w: parsgd.SGDRegressor(**SHORT, **PASSIVE).fit(X, v, sample_weight=w),
    "one class": lambda X, y, v, w: parsgd.SGDOneClassSVM(**SHORT).fit(X, sample_weight=w),
    "network": lambda X, y, v, w: parsgd.MLPClassifier((4,), max_iter=3, random_state=0).fit(X, y, w),
    "lbfgs": lambda X, y, v, w: parsgd.MLPRegressor(**LBFGS).fit(X, v, w),
}


def outputs(model, X):
    """The most detailed output of a model."""
    names = ("decision_function", "predict_proba", "predict")
    return getattr(model, next(name for name in names if hasattr(model, name)))(X)


def strided(array):
    """The same numbers, every third of a longer array's, backwards in memory."""
    wide = np.zeros(3 * len(array), dtype=array.dtype)
    wide[::3] = array[::-1]
    return wide[::3][::-1]


def in_a_record(array):
    """A field of a packed record array: strided, and not aligned."""
    records = np.zeros(len(array), dtype=[("odd", "i1"), ("field", array.dtype)])
    records["field"] = array
    return records["field"]


def swapped(array):
    return array.astype(array.dtype.newbyteorder())


def frozen(array):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


ARRAYS = {"strided": strided, "record": in_a_record, "other byte order": swapped, "read-only": frozen}


def csr_of(data, indices, indptr):
    matrix = sparse.csr_matrix(CSR.shape)
    matrix.data, matrix.indices, matrix.indptr = data, indices, indptr
    return matrix


def twice(matrix):
    """Every number as two of its index, in descending order of indices."""
    data = np.column_stack([0.25 * matrix.data, 0.75 * matrix.data]).ravel()
    order = np.concatenate([np.arange(2 * b - 1, 2 * a - 1, -1) for a, b in pairwise(matrix.indptr)])
    return csr_of(data[order], np.repeat(matrix.indices, 2)[order], 2 * matrix.indptr)


def made_of(make, m):
    return csr_of(*map(make, (m.data, m.indices, m.indptr)))


MATRICES = {
    **{name: partial(made_of, make) for name, make in ARRAYS.items()},
    "wide": lambda m: csr_of(m.data, m.indices.astype(np.int64), m.indptr.astype(np.int64)),
    "mixed widths": lambda m: csr_of(m.data, m.indices, m.indptr.astype(np.int64)),
    "narrow": lambda m: csr_of(m.data, m.indices.astype(np.int16), m.indptr),
    "unsigned": lambda m: csr_of(m.data, m.indices.astype(np.uint32), m.indptr),
    "duplicates": twice,
    "real part": lambda m: (m * (1 + 1j)).real,
}


@pytest.mark.parametrize("kind", FITS)
def test_the_layout_of_arrays_changes_no_bit(kind):
    weight = np.linspace(0.5, 1.5, N_ROWS)
    plain = FITS[kind](DENSE, Y, VALUES, weight)
    for make in ARRAYS.values():
        rows = np.column_stack([make(column) for column in DENSE.T]) if make is not swapped else swapped(DENSE)
        for X in (rows, np.asfortranarray(rows), np.repeat(rows, 2, axis=1)[:, ::2]):
            ours = FITS[kind](X, make(Y), make(VALUES), make(weight))
            assert np.array_equal(parameters(ours), parameters(plain))
            assert np.array_equal(outputs(ours, X), outputs(plain, DENSE))


@pytest.fixture(params=[False, True], ids=["together", "in blocks"])
def in_blocks(request, monkeypatch):
    """Check small matrices in one piece, or as large ones: in blocks on several threads."""
    if request.param:
        monkeypatch.setattr(input_validation, "_BLOCK_VALUES", 8)


@pytest.mark.parametrize("kind", FITS)
def test_the_form_of_csr_changes_no_bit(kind, in_blocks):
    plain = FITS[kind](CSR, Y, VALUES, None)
    predicted = outputs(plain, CSR)
    for name, make in MATRICES.items():
        X = make(CSR)
        ours = FITS[kind](X, Y, VALUES, None)
        assert np.allclose(parameters(ours), parameters(plain), rtol=1e-12, atol=1e-13), name
        if name not in ("duplicates",):
            assert np.array_equal(parameters(ours), parameters(plain)), name
            assert np.array_equal(outputs(ours, X), predicted), name
        assert np.allclose(outputs(ours, X), predicted, rtol=1e-9, atol=1e-10), name


def test_float32_of_any_byte_order_stays_float32():
    model = parsgd.SGDClassifier(random_state=0).fit(DENSE.astype(">f4"), Y)
    assert model.coef_.dtype == np.float32


def test_a_flag_that_is_older_than_its_matrix_is_not_believed():
    matrix = CSR.copy()
    assert matrix.has_canonical_format
    matrix.indices[:] = matrix.indices[::-1].copy()
    seen = standard_csr(matrix)
    anew = sparse.csr_array((matrix.data, matrix.indices, matrix.indptr), CSR.shape)
    assert np.array_equal(seen.toarray(), anew.toarray())
    assert seen.has_sorted_indices


@pytest.mark.parametrize("fault", ["too large", "negative", "falling pointers"])
def test_csr_that_leads_out_of_its_memory_is_refused_by_every_method(fault, in_blocks):
    model = FITS["binary"](CSR, Y, VALUES, None)
    bad = CSR.copy()
    if fault == "too large":
        bad.indices[-1] = N_FEATURES + 100
    elif fault == "negative":
        bad.indices[0] = -7
    else:
        bad.indptr[3], bad.indptr[4] = bad.indptr[4] + 1, bad.indptr[3]
    for call in (lambda: model.fit(bad, Y > 0), lambda: model.partial_fit(bad, Y > 0), lambda: model.predict(bad)):
        with pytest.raises(InvalidArgumentError, match="CSR matrix"):
            call()
    assert model.predict(CSR).shape == (N_ROWS,)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 8, -1])
def test_a_value_that_is_not_finite_is_found_in_every_block(value, place, in_blocks):
    for X in (DENSE.copy(), CSR.copy()):
        (X.data if sparse.issparse(X) else X.reshape(-1))[place] = value
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            parsgd.SGDClassifier(n_jobs=2).fit(X, Y > 0)


def test_what_is_in_standard_form_is_not_copied():
    assert np.shares_memory(standard_array(VALUES), VALUES)
    assert np.shares_memory(rows_of(DENSE, VALUES).x.data, DENSE)
    assert np.shares_memory(rows_of(CSR, VALUES).x.data, CSR.data)
