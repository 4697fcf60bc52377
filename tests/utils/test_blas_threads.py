"""While workers run, the BLAS has one thread; afterwards it has as many as before."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.linalg.cython_blas  # noqa: F401  (the BLAS that kernels call is loaded)
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

from parsgd import LocalSGD, MiniBatch, SimuParallel
from parsgd.core import RowBlock
from parsgd.data.sources.array_source import ArraySource
from parsgd.engines.serial import Serial
from parsgd.engines.threads import Threads
from parsgd.errors import DivergedError
from parsgd.models.linear.linear_model import Linear
from parsgd.models.network.network_model import Network
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.training.loop import fit
from parsgd.utils.blas_threads import one_thread
from parsgd.utils.row_arrays import rows_of


def n_threads():
    """Of each BLAS of this process."""
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.fixture(autouse=True)
def three_threads():
    """A number that no machine has of itself, so that it can be told from any other."""
    with threadpool_limits(3, user_api="blas"):
        before = n_threads()
        if set(before) != {3}:
            pytest.skip("no BLAS is loaded whose number of threads can be chosen")
        yield
        assert n_threads() == before


def test_inside_there_is_one_thread_and_outside_as_many_as_before():
    with one_thread():
        assert set(n_threads()) == {1}
    assert set(n_threads()) == {3}
    with one_thread():
        assert set(n_threads()) == {1}
    assert set(n_threads()) == {3}


def test_what_was_set_in_between_is_what_is_set_back():
    with one_thread():
        pass
    with threadpool_limits(2, user_api="blas"):
        with one_thread():
            assert set(n_threads()) == {1}
        assert set(n_threads()) == {2}


def test_nested_blocks_set_back_at_the_end_of_the_outermost():
    with one_thread():
        with one_thread():
            assert set(n_threads()) == {1}
        assert set(n_threads()) == {1}
    assert set(n_threads()) == {3}


@pytest.mark.parametrize("first_out", [0, 1])
def test_blocks_of_several_threads_set_back_at_the_end_of_the_last(first_out):
    inside, seen = threading.Barrier(3, timeout=60), []
    leave, left = ([threading.Event() for _ in range(2)] for _ in range(2))

    def stay(number):
        with one_thread():
            inside.wait()
            assert leave[number].wait(timeout=60)
        left[number].set()

    threads = [threading.Thread(target=stay, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    inside.wait()
    for number in (first_out, 1 - first_out):
        seen.append(set(n_threads()))
        leave[number].set()
        assert left[number].wait(timeout=60)
    for thread in threads:
        thread.join()
    assert seen == [{1}, {1}]
    assert set(n_threads()) == {3}


def test_threads_that_live_on_leave_the_choice_to_others():
    # since threadpoolctl 3.8 OpenBLAS obeys the thread that asked first, for as long as that thread lives
    for library in ThreadpoolController().lib_controllers:
        getattr(library, "clear_controlling_thread", lambda force: None)(force=True)
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        one, other, alone = one_thread(), one_thread(), one_thread()
        first.submit(one.__enter__).result()
        second.submit(other.__enter__).result()
        first.submit(one.__exit__, None, None, None).result()
        assert set(n_threads()) == {1}
        second.submit(other.__exit__, None, None, None).result()
        assert set(n_threads()) == {3}
        with threadpool_limits(2, user_api="blas"):
            assert set(n_threads()) == {2}
            second.submit(alone.__enter__).result()
            assert set(n_threads()) == {1}
            second.submit(alone.__exit__, None, None, None).result()
            assert set(n_threads()) == {2}


def test_an_exception_sets_back_too():
    with pytest.raises(ZeroDivisionError), one_thread():
        raise ZeroDivisionError
    assert set(n_threads()) == {3}
    with one_thread():
        with pytest.raises(ZeroDivisionError), one_thread():
            raise ZeroDivisionError
        assert set(n_threads()) == {1}


class Watched:
    """A source whose shards note the number of threads when they are read."""

    partitions = ArraySource.partitions

    def __init__(self, rows):
        self.source, self.seen = ArraySource(rows), []
        self.n_rows = self.source.n_rows

    def split(self, n_workers, seed, partition):
        shards = self.source.split(n_workers, seed, partition)
        for shard in shards:
            shard.blocks = self.noting(shard.blocks)
        return shards

    def noting(self, blocks):
        def noted(seed, epoch, start=0):
            for block in blocks(seed, epoch, start):
                self.seen.append(set(n_threads()))
                yield RowBlock(*block)

        return noted


def problem(**settings):
    X = unit_rows(60, 6)
    model = Network((6, 8, 3), batch_size=10, **settings)
    return model, Watched(rows_of(X, labels(X, 3).astype(np.int64)))


@pytest.mark.parametrize("algorithm", [SimuParallel(), LocalSGD(sync_every=0.5), MiniBatch()], ids=lambda a: a.name)
@pytest.mark.parametrize("engine", [Serial(), Threads()], ids=lambda engine: engine.name)
def test_networks_are_fitted_by_one_thread_a_worker(engine, algorithm):
    model, source = problem()
    fit(model, algorithm, engine, source, n_workers=2, max_epochs=2)
    assert source.seen
    assert all(seen == {1} for seen in source.seen)
    assert set(n_threads()) == {3}


def test_a_fit_that_fails_sets_back_too():
    model, source = problem(eta0=1e300, solver="sgd")
    with pytest.raises(DivergedError):
        fit(model, SimuParallel(), Threads(), source, n_workers=2, max_epochs=50)
    assert set(n_threads()) == {3}


@pytest.mark.parametrize(("n_workers", "threads"), [(1, 3), (2, 1)])
def test_one_worker_of_a_linear_model_leaves_the_blas_alone_and_several_want_their_cores(n_workers, threads):
    X = unit_rows(60, 6)
    source = Watched(rows_of(X, targets(X)))
    fit(Linear(6, loss="squared_error"), SimuParallel(), Serial(), source, n_workers=n_workers)
    assert source.seen
    assert all(seen == {threads} for seen in source.seen)
    assert set(n_threads()) == {3}
