"""Labels become targets: the quick ways of counting and looking up find what sorting and searching find."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from parsgd.errors import InvalidArgumentError
from parsgd.estimators.target_encoders import LabelEncoder, class_numbers, classes_of, is_second

INTEGERS = st.sampled_from(["int8", "int32", "int64", "uint8", "uint16", "uint64"])
LABELS = INTEGERS.flatmap(lambda dtype: hnp.arrays(dtype, st.integers(1, 30)))
OTHERS = [np.array(["no", "yes", "no"]), np.array([0.5, -1.0, 0.5]), np.array([True, False, True])]


@given(LABELS)
def test_the_classes_of_integers_are_their_sorted_distinct_values(y):
    ours, theirs = classes_of(y), np.unique(y)
    assert ours.dtype == theirs.dtype
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(
    "ends",
    [(-128, 127, "int8"), (0, 2**64 - 1, "uint64"), (2**64 - 2, 2**64 - 1, "uint64"), (-(2**63), 2**63 - 1, "int64")],
)
def test_labels_at_the_ends_of_their_type_are_found(ends):
    least, largest, dtype = ends
    y = np.array([largest, least, largest] * 20, dtype=dtype)
    assert classes_of(y).tolist() == [least, largest]
    assert class_numbers(np.unique(y), y).tolist() == [1, 0, 1] * 20
    assert is_second(np.unique(y), y).tolist() == [True, False, True] * 20


@given(LABELS, st.randoms(use_true_random=False))
def test_each_label_has_the_number_of_its_class(y, random):
    more = [value for value in (0, 1, 100) if random.random() < 0.5]
    classes = np.unique(np.concatenate([y, np.array(more, dtype=y.dtype)]))
    assert np.array_equal(class_numbers(classes, y), np.searchsorted(classes, y))
    assert np.array_equal(is_second(classes, y), np.searchsorted(classes, y) == 1)


@pytest.mark.parametrize("y", OTHERS, ids=lambda y: y.dtype.name)
def test_labels_of_every_kind_have_numbers(y):
    classes = classes_of(y)
    assert np.array_equal(classes, np.unique(y))
    assert np.array_equal(class_numbers(classes, y), np.searchsorted(classes, y))
    assert np.array_equal(is_second(classes, y), y == classes[1])


@pytest.mark.parametrize("find", [class_numbers, is_second])
@pytest.mark.parametrize(
    ("classes", "y"),
    [
        ([0, 1], [0, 2, 1]),
        ([0, 1], [-1, 0]),
        ([0, 10**12], [0, 10**12 + 1]),
        (["a", "b"], ["a", "c"]),
        ([0, 1], [0.5, 1.0]),
    ],
)
def test_a_label_that_is_no_class_is_named(find, classes, y):
    with pytest.raises(InvalidArgumentError, match=r"has classes not in `self\.classes_`: labels"):
        find(np.array(classes), np.array(y))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_two_classes_are_signs_or_a_column_in_the_type_of_the_data(dtype):
    y, classes = np.array([3, 5, 3]), np.array([3, 5])
    signs, _ = LabelEncoder(classes, "signs", dtype)(y)
    column, _ = LabelEncoder(classes, "column", dtype)(y)
    assert signs.dtype == column.dtype == dtype
    assert signs.tolist() == [-1.0, 1.0, -1.0]
    assert column.tolist() == [[0.0], [1.0], [0.0]]
