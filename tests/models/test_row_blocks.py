"""Blocks of rows on several threads: same results, errors of the first block, no thread left behind."""

import signal
import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from parsgd.models.row_blocks import blocks_of, in_row_blocks, rows_per_block

ROWS = np.arange(1000.0)


def blas_threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.mark.parametrize(("n_rows", "block_rows"), [(0, 5), (1, 5), (5, 5), (9, 5), (10, 5), (11, 5), (1000, 7)])
def test_blocks_cover_every_row_once_and_only_the_last_is_longer(n_rows, block_rows):
    blocks = blocks_of(n_rows, block_rows)
    assert np.array_equal(np.concatenate([np.arange(n_rows)[block] for block in blocks]), np.arange(n_rows))
    assert all(block.stop - block.start == block_rows for block in blocks[:-1])
    assert len(blocks) == 1 or block_rows <= blocks[-1].stop - blocks[-1].start < 2 * block_rows


def test_blocks_are_multiples_of_the_unit():
    assert rows_per_block(1e9, 64) == 64
    assert rows_per_block(3.0, 64) % 64 == 0


@pytest.mark.parametrize("n_threads", [1, 2, 3, 50])
@pytest.mark.parametrize("n_rows", [0, 1, 9, 10, 1000])
def test_results_are_those_of_one_call(n_rows, n_threads):
    rows = np.column_stack([ROWS, -ROWS])[:n_rows]
    result = in_row_blocks(lambda part: 2 * rows[part], n_rows, 5, n_threads)
    assert result.shape == rows.shape
    assert np.array_equal(result, 2 * rows)


def test_several_threads_work_and_the_blas_of_each_has_one_thread():
    before, names, met = blas_threads(), set(), threading.Barrier(3)

    def compute(rows):
        met.wait(60)
        names.add(threading.current_thread().name)
        assert blas_threads() == {1}
        return ROWS[rows]

    in_row_blocks(compute, 30, 10, 3)
    assert len(names) == 3
    assert blas_threads() == before


def test_error_settings_of_numpy_apply_in_every_thread():
    met = threading.Barrier(2)

    def compute(rows):
        met.wait(60)
        return np.log(np.zeros(rows.stop - rows.start))

    with np.errstate(divide="ignore"):
        assert np.isneginf(in_row_blocks(compute, 20, 10, 2)).all()


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_the_error_of_the_first_block_is_raised(n_threads):
    def compute(rows):
        if rows.start >= 20:
            raise ValueError(f"rows from {rows.start}")
        return ROWS[rows]

    with pytest.raises(ValueError, match="rows from 20"):
        in_row_blocks(compute, 1000, 10, n_threads)


def test_ctrl_c_ends_all_threads():
    done = []

    def compute(rows):
        if threading.current_thread() is threading.main_thread():
            signal.raise_signal(signal.SIGINT)
        done.append(rows.start)
        threading.Event().wait(0.01)
        return ROWS[rows]

    with pytest.raises(KeyboardInterrupt):
        in_row_blocks(compute, 1000, 1, 2)
    assert len(done) < 500
