"""First use: imports and compilation in several threads, without a cache, and announced where somebody waits."""

import ast
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.caching import CacheImpl, FunctionCache
from numba.extending import overload

import parsgd
from parsgd.errors import KernelCacheWarning
from parsgd.kernels.lowlevel import compiling
from parsgd.utils import first_use

PACKAGE = Path(parsgd.__file__).parent
WITHOUT_NUMBA = (
    "parsgd.kernels.losses",
    "parsgd.kernels.lowlevel.gil_threshold",
    "parsgd.kernels.linear.hyperparams",
    "parsgd.kernels.linear.run_state",
    "parsgd.kernels.shared.shared_scalars",
    "parsgd.kernels.network.network_types",
)


def run(script, **environment):
    paths = os.pathsep.join(filter(None, (str(PACKAGE.parent), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_first_fits_in_two_threads_equal_fits_made_alone():
    # a loader that sleeps in the middle of every import of kernels makes the threads meet there
    run(
        """
        import importlib.machinery, sys, threading, time, warnings
        import numpy as np
        warnings.simplefilter("ignore")
        load = importlib.machinery.SourceFileLoader.exec_module
        def slow(self, module):
            if module.__name__.startswith("parsgd"):
                time.sleep(0.01)
            load(self, module)
        importlib.machinery.SourceFileLoader.exec_module = slow
        import parsgd
        X = np.random.default_rng(0).standard_normal((80, 5))
        y = (X[:, 0] > 0).astype(int)
        def fit(name, **settings):
            return getattr(parsgd, name)(random_state=0, max_iter=4, **settings).fit(X, y)
        barrier, made = threading.Barrier(3), {}
        def first(name, **settings):
            barrier.wait()
            made[name] = fit(name, **settings)
        names = {"SGDClassifier": {"n_jobs": 2}, "MLPClassifier": {"hidden_layer_sizes": (4,)}, "SGDRegressor": {}}
        threads = [threading.Thread(target=first, args=[name], kwargs=kw) for name, kw in names.items()]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert set(made) == set(names), made
        for name, kw in names.items():
            assert np.array_equal(made[name].predict(X), fit(name, **kw).predict(X)), name
        """
    )


def test_kernels_are_imported_under_the_lock_only():
    faults = []
    for path in PACKAGE.rglob("*.py"):
        if "kernels" in path.parts[len(PACKAGE.parts) :]:
            continue
        tree = ast.parse(path.read_text())
        blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
        never_run = [node for block in blocks for node in ast.walk(block)]
        for node in ast.walk(tree):
            if node in never_run:
                continue
            names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
            module = node.module if isinstance(node, ast.ImportFrom) else None
            found = [f"{module}.{name}" if module else name for name in names]
            faults += [
                f"{path.name}: {n}" for n in found if n.startswith("parsgd.kernels") and not n.startswith(WITHOUT_NUMBA)
            ]
    assert not faults


def slow_to_type(x):
    raise NotImplementedError


def test_one_thread_compiles_at_a_time():
    active, most = [0], [0]

    @overload(slow_to_type, jit_options=compiling.INLINE)
    def _typed(x):
        active[0] += 1
        most[0] = max(most[0], active[0])
        time.sleep(0.05)
        active[0] -= 1
        return lambda x: x + 1.0

    def one(x):
        return slow_to_type(x)

    barrier = threading.Barrier(2)

    def call(kernel):
        barrier.wait()
        return kernel(1.0)

    kernels = [compiling.uncached(compiling._jit()(one)) for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(call, kernels)) == [2.0, 2.0]
    assert most[0] == 1


def double(x):
    return 2.0 * x


@pytest.fixture
def not_warned():
    compiling._warn_once().clear()
    yield
    compiling._warn_once().clear()


def test_without_a_folder_for_a_cache_kernels_compile_with_one_warning(monkeypatch, not_warned):
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    with pytest.warns(KernelCacheWarning, match="NUMBA_CACHE_DIR") as caught:
        kernels = [compiling.kernel(double) for _ in range(3)]
    assert [warning.filename for warning in caught] == [__file__]
    assert [kernel(4.0) for kernel in kernels] == [8.0] * 3


def test_workers_whose_driver_has_warned_are_silent(monkeypatch, not_warned):
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    compiling.mute_cache_warning()
    assert compiling.kernel(double)(4.0) == 8.0


@pytest.mark.parametrize("method", ["save_overload", "load_overload"])
def test_a_full_disk_or_a_damaged_cache_ends_no_fit(method, monkeypatch, not_warned, tmp_path):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FunctionCache, method, fail)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    kernel = compiling.kernel(double)
    with pytest.warns(KernelCacheWarning, match="No space left") as caught:
        results = [kernel(4.0), kernel(np.float32(4.0))]
    assert results == [8.0, 8.0]
    assert len(caught) == 1


class Vanished:
    """A type of another version of parsgd: it cannot be unpickled."""

    def __reduce__(self):
        return raise_attribute_error, ()


def raise_attribute_error():
    raise AttributeError("module 'parsgd.kernels' has no attribute 'Vanished'")


def test_an_index_that_names_types_of_another_version_is_written_anew(monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    kernel = compiling.kernel(double)
    assert kernel(4.0) == 8.0
    (index,) = tmp_path.rglob("*.nbi")
    index.write_bytes(pickle.dumps(numba.__version__) + pickle.dumps(Vanished()))
    again = compiling.kernel(double)
    assert again(4.0) == 8.0
    assert compiling.kernel(double)._cache._cache_file._load_index()


@pytest.mark.slow
def test_kernels_compile_where_numba_is_told_not_to():
    run(
        """
        import numpy as np, parsgd
        X = np.random.default_rng(0).standard_normal((30, 3))
        parsgd.SGDRegressor(max_iter=2, tol=None, random_state=0).fit(X, X[:, 0])
        """,
        NUMBA_DISABLE_JIT="1",
    )


def test_a_long_compilation_is_announced_once_and_only_where_somebody_watches(monkeypatch, capsys):
    monkeypatch.setattr(compiling, "_ANNOUNCE_AFTER_S", 0.01)
    monkeypatch.setattr(compiling, "_said", False)
    monkeypatch.setattr(first_use, "announce_always", False)

    def compile_slowly():
        with compiling._announced():
            time.sleep(0.05)

    compile_slowly()
    assert capsys.readouterr().err == ""
    with parsgd.observe_progress(lambda progress: None):
        compile_slowly()
        compile_slowly()
    assert capsys.readouterr().err.count("compiling kernels") == 1


def test_a_short_compilation_is_not_announced(monkeypatch, capsys):
    monkeypatch.setattr(compiling, "_said", False)
    monkeypatch.setattr(first_use, "announce_always", False)
    with parsgd.observe_progress(lambda progress: None), compiling._announced():
        pass
    assert capsys.readouterr().err == ""


@pytest.mark.alone
def test_the_lock_is_free_in_a_forked_process():
    ready, release = threading.Event(), threading.Event()

    def hold():
        with first_use.exclusive():
            ready.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        taken = first_use._lock.acquire(timeout=5)
        os._exit(0 if taken else 1)
    release.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


def test_compile_kernels_names_the_folder_and_refuses_unknown_kinds():
    lines = []
    folder = parsgd.compile_kernels(["regression"], dtypes=["float64"], sparse=False, progress=lines.append)
    assert lines == ["regression, float64, dense"]
    assert list(Path(folder).glob("single.*.nbi"))
    with pytest.raises(parsgd.errors.InvalidArgumentError, match="softmax"):
        parsgd.compile_kernels(["softmacks"])
