"""Rows in memory in the form that kernels read: conversion, selection and concatenation.  Pure functions on arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array, issparse

from parsgd.core import CsrRows, DenseRows, RowBlock, Rows
from parsgd.errors import InvalidArgumentError


def rows_of(x: Any, y: np.ndarray, weight: np.ndarray | None = None) -> Rows:
    """Convert a dense or CSR matrix and its targets to :class:`~parsgd.core.Rows`.

    Arrays in standard form are not copied (:func:`standard_array`, :func:`standard_csr`).

    >>> rows_of(np.ones((2, 3)), np.zeros(2)).x.n_features
    3
    """
    weight = np.zeros(0, dtype=x.dtype) if weight is None else weight
    if issparse(x):
        x = standard_csr(x)
        part: Any = CsrRows(x.data, x.indices, x.indptr)
    else:
        part = DenseRows(standard_array(x).reshape(-1), x.shape[1])
    return _frozen(part, standard_array(y), standard_array(weight))


def standard_array(array: Any) -> np.ndarray:
    """Return the array contiguous in C order, aligned and in native byte order; copied only if necessary.

    Kernels read memory by address and ignore strides.

    >>> standard_array(np.arange(6, dtype=">i4")[::-2])
    array([5, 3, 1], dtype=int32)
    """
    array = np.asarray(array)
    return np.require(array, dtype=array.dtype.newbyteorder("="), requirements=["C", "ALIGNED"])


class CsrBlock(csr_array):
    """Rows of a CSR matrix, as views of its standard arrays; made by :func:`csr_block`.

    ``is_checked``: the indices are known to be in range, sorted and without duplicates.
    """

    is_checked: bool = False


def csr_block(x: Any, rows: slice) -> CsrBlock:
    """Return the rows of a CSR matrix with standard arrays as a CSR matrix, without a copy of values and indices.

    SciPy copies the values when it selects rows, and also when it builds a matrix from a small part of an array.

    >>> matrix = csr_array(np.eye(4))
    >>> block = csr_block(matrix, slice(1, 3))
    >>> block.toarray().shape, np.shares_memory(block.data, matrix.data)
    ((2, 4), True)
    """
    pointers = x.indptr[rows.start : rows.stop + 1]
    begin, end = pointers[0], pointers[-1]
    block = CsrBlock((len(pointers) - 1, x.shape[1]), dtype=x.dtype)
    block.data, block.indices, block.indptr = x.data[begin:end], x.indices[begin:end], pointers - begin
    block.is_checked = getattr(x, "is_checked", False)
    return block


def standard_csr(x: Any) -> Any:
    """Return the CSR matrix with standard arrays, sorted indices and no duplicates.

    Indices and pointers are both int32 or both int64.  Arrays in standard form are not copied.

    Raises
    ------
    InvalidArgumentError
        If an index is out of range, or the pointers decrease.

    >>> from scipy.sparse import csr_array
    >>> twice = csr_array(([1.0, 2.0], [1, 1], [0, 2]), shape=(1, 2))
    >>> standard_csr(twice).data
    array([3.])
    """
    if type(x) is CsrBlock and x.is_checked:
        return x
    narrow = x.indices.dtype == x.indptr.dtype == np.int32
    kind = np.int32 if narrow else np.int64
    data, indices, indptr = map(standard_array, (x.data, x.indices, x.indptr))
    if type(x) is CsrBlock:
        plain = x
    else:
        # a new matrix, because a flag of the old one may be out of date
        plain = csr_array((data, indices.astype(kind, copy=False), indptr.astype(kind, copy=False)), shape=x.shape)
    sorted_once = plain.has_canonical_format
    check_csr(plain, sorted_once)
    if not sorted_once:
        plain = plain.copy()
        plain.sum_duplicates()
    return plain


def check_csr(x: Any, sorted_once: bool = False) -> None:
    """Raise InvalidArgumentError for decreasing pointers or indices out of range, which compiled code does not check.

    With ``sorted_once`` all rows are known to be sorted, so checking the ends of rows suffices.
    """
    lengths = np.diff(x.indptr)
    if len(lengths) and lengths.min() < 0:
        row = int(lengths.argmin())
        raise InvalidArgumentError(
            f"X is a CSR matrix with an indptr that falls from {x.indptr[row]} to {x.indptr[row + 1]} at row {row};"
            " pointers must not decrease. Rebuild it from its rows."
        )
    ends = x.indices
    if sorted_once:
        filled = lengths > 0
        ends = np.concatenate([x.indices[x.indptr[:-1][filled]], x.indices[x.indptr[1:][filled] - 1]])
    if len(ends) and (ends.min() < 0 or ends.max() >= x.shape[1]):
        raise InvalidArgumentError(
            f"X is a CSR matrix with indices from {ends.min()} to {ends.max()}; they must be between 0 and"
            f" {x.shape[1] - 1}, the number of its last feature. Rebuild it with the right shape."
        )


def read_only(array: np.ndarray) -> np.ndarray:
    """Return a read-only view.

    No kernel may write to the user's data.  Also, numba compiles separately for read-only arrays (memory maps, joblib's
    workers), so all arrays are read-only.
    """
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


def picked(rows: Rows, numbers: np.ndarray) -> Rows:
    """Return a copy of the given rows in the given order."""
    x, weight = rows.x, rows.weight[numbers] if rows.weight.size else rows.weight
    if isinstance(x, DenseRows):
        data = x.data.reshape(-1, x.n_features)[numbers]
        part: Any = DenseRows(data.reshape(-1), x.n_features)
    else:
        lengths = np.diff(x.indptr)[numbers]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(x.indptr.dtype)
        places = np.repeat(x.indptr[numbers] - indptr[:-1], lengths) + np.arange(indptr[-1])
        part = CsrRows(x.data[places], x.indices[places], indptr)
    return _frozen(part, rows.y[numbers], weight)


def joined(parts: Sequence[Rows]) -> Rows:
    """Concatenate the rows of several parts.

    >>> joined([rows_of(np.ones((2, 3)), np.zeros(2)), rows_of(np.zeros((1, 3)), np.ones(1))]).y
    array([0., 0., 1.])
    """
    if len(parts) == 1:
        return parts[0]
    y, weight = (np.concatenate([part[place] for part in parts]) for place in (1, 2))
    xs = [part.x for part in parts]
    if isinstance(xs[0], DenseRows):
        return _frozen(DenseRows(np.concatenate([x.data for x in xs]), xs[0].n_features), y, weight)
    begins = np.cumsum([0, *(len(x.data) for x in xs)])
    ends = [x.indptr[1:] + begin for x, begin in zip(xs, begins, strict=False)]
    indptr = np.concatenate([np.zeros(1, dtype=np.int64), *ends]).astype(xs[0].indptr.dtype)
    data, indices = np.concatenate([x.data for x in xs]), np.concatenate([x.indices for x in xs])
    return _frozen(CsrRows(data, indices, indptr), y, weight)


def _frozen(x: Any, y: np.ndarray, weight: np.ndarray) -> Rows:
    """Return rows with read-only arrays."""
    parts = (read_only(part) if isinstance(part, np.ndarray) else part for part in x)
    return Rows(type(x)(*parts), read_only(y), read_only(weight))


def visits(blocks: Iterator[RowBlock], n: int) -> RowBlock:
    """Return the next ``n`` visits as one block; rows are copied only if they span several blocks.

    At the end of an epoch there may be fewer.
    """
    found: list[Rows] = []
    for rows, order in blocks:
        if not found and len(order) >= n:
            return RowBlock(rows, order[:n])
        # copied at once, because a block is valid only until the next request
        found.append(picked(rows, order[:n]))
        n -= len(found[-1].y)
        if n <= 0:
            break
    if not found:
        return RowBlock(None, np.zeros(0, dtype=np.int64))
    rows = joined(found)
    return RowBlock(rows, np.arange(len(rows.y), dtype=order.dtype))
