"""Promise 5: nothing is compiled twice, in this process or the next, until a kernel changes."""

import gc
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numba
import pytest
from numba.core import event

import parsgd
from parsgd.kernels.linear import single
from parsgd.kernels.lowlevel import compiling
from parsgd.testing.problems import labels, targets, unit_rows

FOLDER = Path(compiling.__file__).parents[1]


class Cube:
    """``|r|^3 / scale``."""

    def __init__(self, scale):
        self.scale = scale

    def loss(self, y, p):
        return abs(p - y) ** 3 / self.scale

    def gradient(self, y, p):
        return 3.0 * (p - y) * abs(p - y) / self.scale


def compilations(run):
    with event.install_recorder("numba:compile") as recorder:
        run()
    return sum(1 for _, happened in recorder.buffer if happened.is_start)


X = unit_rows(60, 5)
FITS = {
    "binary": lambda n_jobs, **kw: parsgd.SGDClassifier(n_jobs=n_jobs, algorithm="local", **kw).fit(X, labels(X)),
    "multiclass": lambda n_jobs, **kw: parsgd.SGDClassifier(n_jobs=n_jobs, algorithm="local", **kw).fit(
        X, labels(X, 3)
    ),
    "softmax": lambda n_jobs, **kw: parsgd.SGDClassifier("softmax", n_jobs=n_jobs, algorithm="local", **kw).fit(
        X, labels(X, 3)
    ),
    "regression": lambda n_jobs, **kw: parsgd.SGDRegressor(n_jobs=n_jobs, algorithm="local", **kw).fit(X, targets(X)),
    "own loss": lambda n_jobs, **kw: parsgd.SGDRegressor(Cube(5.0), n_jobs=n_jobs, algorithm="local", **kw).fit(
        X, targets(X)
    ),
    "one class": lambda n_jobs, **kw: parsgd.SGDOneClassSVM(n_jobs=n_jobs, algorithm="local", **kw).fit(X),
}


# the kinds whose kernels are those of the others; four kernels of a user's loss are compiled in 20 s
SAME_KERNELS = ("regression", "one class", "multiclass", "own loss")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow) if kind in SAME_KERNELS else kind for kind in FITS]
)
def test_the_second_fit_of_a_kind_compiles_nothing(kind):
    fit = FITS[kind]
    fit(1, max_iter=2, tol=None)
    # merging uses further kernels
    fit(2, max_iter=2, tol=None)
    assert compilations(lambda: fit(1, max_iter=2, tol=None)) == 0
    plain = {"max_iter": 3, "tol": None, "batch_size": 3, "learning_rate": "constant", "shuffle": False}
    assert compilations(lambda: fit(2, **plain)) == 0
    # averages, l1 penalties and passive-aggressive steps are in a separate kernel
    fit(2, max_iter=2, tol=None, average=True)
    others = {**plain, "average": 5, "batch_size": 2}
    if kind != "one class":
        others |= {"penalty": "l1", "alpha": 0.5}
    assert compilations(lambda: fit(2, **others)) == 0


def test_a_kernel_without_averages_and_l1_penalties_does_not_compile_them():
    FITS["binary"](1, max_iter=2, tol=None)
    with event.install_recorder("numba:compile") as recorder:
        compiling.uncached(single.run_sgd_single).compile(single.run_sgd_single.signatures[0])
    compiled = {happened.data["dispatcher"].py_func.__name__ for _, happened in recorder.buffer}
    assert "run_single" in compiled
    assert not {"apply_l1", "compute_passive_step", "compute_squared_norm"} & compiled


@pytest.mark.slow
def test_two_losses_of_one_class_of_losses_are_compiled_once():
    FITS["own loss"](1, max_iter=2, tol=None)
    again = parsgd.SGDRegressor(Cube(2.0), max_iter=2, tol=None, n_jobs=1)
    assert compilations(lambda: again.fit(X, targets(X))) == 0


def test_read_only_rows_compile_nothing():
    FITS["binary"](1, max_iter=2, tol=None)
    frozen = X.copy()
    frozen.flags.writeable = False
    model = parsgd.SGDClassifier(max_iter=2, tol=None, n_jobs=1)
    assert compilations(lambda: model.fit(frozen, labels(X))) == 0


SCRIPT = """
    import numpy as np
    from numba.core import event
    import parsgd
    X = np.random.default_rng(0).standard_normal((30, 3))
    with event.install_recorder("numba:compile") as recorder:
        parsgd.SGDRegressor(max_iter=2, tol=None, random_state=0).fit(X, X[:, 0])
    from parsgd.kernels.linear.single import run_sgd_single
    print(len(recorder.buffer), sum(run_sgd_single.stats.cache_misses.values()))
"""


def run(script, source=Path(parsgd.__file__).parents[1], **environment):
    paths = os.pathsep.join(filter(None, (str(source), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_another_process_starts_from_the_cache():
    parsgd.SGDRegressor(max_iter=2, tol=None, random_state=0).fit(X, X[:, 0])
    assert run(SCRIPT) == ["0", "0"]


@pytest.mark.slow
def test_a_second_process_starts_from_the_cache_until_another_kernel_file_changes(tmp_path):
    package, cache = tmp_path / "parsgd", str(tmp_path / "cache")
    shutil.copytree(FOLDER.parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    compiled, misses = map(int, run(SCRIPT, tmp_path, NUMBA_CACHE_DIR=cache))
    assert compiled > 0
    assert misses == 1
    assert run(SCRIPT, tmp_path, NUMBA_CACHE_DIR=cache) == ["0", "0"]
    with open(package / "kernels" / "linear" / "row_ops.py", "a") as file:
        file.write("# changed\n")
    assert run(SCRIPT, tmp_path, NUMBA_CACHE_DIR=cache) == [str(compiled), "1"]


def test_importing_parsgd_imports_no_numba_and_nothing_optional():
    # scikit-learn imports pandas and rich if they are installed, so only later imports count
    script = """
        import sys
        import sklearn.linear_model, sklearn.model_selection
        before = set(sys.modules)
        import parsgd
        optional = {"numba", "llvmlite", "pandas", "polars", "pyarrow", "typer", "rich", "safetensors"}
        print(*(optional & (set(sys.modules) - before)))
    """
    assert run(script) == []


def test_a_change_in_any_kernel_file_changes_the_stamp(tmp_path, monkeypatch):
    folder = tmp_path / "kernels"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(compiling, "__file__", str(folder / "lowlevel" / "compiling.py"))
    stamp = compiling.sources_stamp.__wrapped__
    first, stamps = stamp(), set()
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text()
        path.write_text(text + "\n# changed\n")
        stamps.add(stamp())
        path.write_text(text)
    assert stamp() == first
    assert len(stamps - {first}) == len(list(folder.rglob("*.py")))


def test_every_kernel_that_python_calls_is_cached_by_the_stamp():
    from parsgd.kernels.linear.multi import run_sgd_multi, run_sgd_softmax
    from parsgd.kernels.linear.single import run_sgd_single
    from parsgd.kernels.loss_kernels import evaluate_all
    from parsgd.kernels.shared.shared_weights_linear import run_shared_multi, run_shared_single
    from parsgd.kernels.shuffling import gather, permute

    kernels = (
        evaluate_all,
        run_sgd_multi,
        run_sgd_softmax,
        run_sgd_single,
        gather,
        permute,
        run_shared_multi,
        run_shared_single,
    )
    for kernel in kernels:
        assert kernel._cache._cache_file._source_stamp == compiling.sources_stamp()


def test_a_fit_leaves_no_file_behind(tmp_path, monkeypatch):
    FITS["binary"](1, max_iter=2, tol=None)
    monkeypatch.chdir(tmp_path)
    for kind, fit in FITS.items():
        if kind != "own loss":
            fit(2, max_iter=2, tol=None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_enabled", [True, False])
def test_compilation_leaves_garbage_collection_as_it_was(is_enabled):
    before = gc.isenabled()
    (gc.enable if is_enabled else gc.disable)()
    try:
        with pytest.raises(numba.TypingError):
            compiling.kernel(lambda x: x + 1)("no number")
        assert gc.isenabled() == is_enabled
    finally:
        (gc.enable if before else gc.disable)()
