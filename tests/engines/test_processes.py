"""Workers in processes: the bits of the serial engine, one copy of the data, errors and warnings that arrive."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cloudpickle
import numpy as np
import psutil
import pytest
from sklearn.model_selection import GridSearchCV

import parsgd
from parsgd import (
    LocalSGD,
    MiniBatch,
    MLPClassifier,
    Processes,
    SGDClassifier,
    SGDRegressor,
    SimuParallel,
    WeightedAverage,
)
from parsgd.core import Budget, EngineDefaults, Shard, Task, no_progress
from parsgd.data.sources.array_source import ArraySource
from parsgd.engines.processes.worker_process import current_modules, import_path
from parsgd.engines.reported_loss import ReportedLoss
from parsgd.errors import DivergedError, FitInterruptedWarning, IncompatiblePartsError, InvalidArgumentError, Outcome
from parsgd.testing import slow_down
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.utils import interrupts
from parsgd.utils.row_arrays import rows_of

# other processes cannot import tests
cloudpickle.register_pickle_by_value(sys.modules[__name__])
ALGORITHMS = [
    SimuParallel(),
    WeightedAverage(rule="measured"),
    LocalSGD(sync_every=0.3, rule="wp"),
    LocalSGD(sync_every=0.25, outer_optimizer="adaptive"),
    MiniBatch(16),
]
X = unit_rows(500, 8)
Y = labels(X)
# a minute or two, if nobody stopped it
LONG = {"max_iter": 10**6, "tol": None, "random_state": 0, "n_jobs": 2}


def report_of(task, *values):
    """Return a report with ``values`` as its state."""
    from parsgd.testing.contracts._fixtures import small_report

    return small_report(task.worker, np.array(values, dtype=float), task.round)


def split(n_workers):
    return ArraySource(rows_of(X, Y)).split(n_workers, 0)


@pytest.fixture
def engine(kept_engine):
    return kept_engine("processes")


def linear(layout="dense", dtype=np.float64, n_rows=3001, **settings):
    X = unit_rows(n_rows, 9, layout=layout, dtype=dtype)
    settings = {"max_iter": 3, "tol": None, "random_state": 5, "loss": "log_loss", "alpha": 0.01, **settings}
    model = SGDClassifier(**settings).fit(X, labels(X, 3))
    return model.coef_.tobytes() + model.intercept_.tobytes()


def network(layout="dense", dtype=np.float64, **settings):
    X = unit_rows(900, 9, layout=layout, dtype=dtype)
    settings = {"max_iter": 3, "tol": 0.0, "random_state": 5, "batch_size": 20, **settings}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it has not converged
        model = MLPClassifier((120, 90), **settings).fit(X, labels(X, 3))
    return b"".join(part.tobytes() for part in [*model.coefs_, *model.intercepts_])


# -- the same bits -------------------------------------------------------------------------------------------------


@pytest.mark.cover(2)
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=repr)
@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("fit", [linear, network])
def test_processes_repeat_the_bits_of_the_serial_engine(engine, fit, layout, algorithm):
    for n_jobs in (1, 3):
        settings = {"algorithm": algorithm, "n_jobs": n_jobs, "layout": layout}
        assert fit(engine=engine, **settings) == fit(engine="serial", **settings)


def test_fewer_processes_than_workers_change_no_bit():
    settings = {"algorithm": LocalSGD(), "n_jobs": 5, "dtype": np.float32}
    with Processes(1) as engine:
        assert linear(engine=engine, **settings) == linear(engine="serial", **settings)


def test_a_slow_worker_changes_no_bit(engine):
    settings = {"algorithm": LocalSGD(sync_every=0.5), "n_jobs": 3}
    assert linear(engine=slow_down({1: 10.0}, engine), **settings) == linear(engine="serial", **settings)


def test_rows_that_are_dealt_anew_arrive(engine):
    algorithm = LocalSGD(0.5, rule="uniform", balance="speed")
    model = SGDClassifier(engine=slow_down({0: 20.0}, engine), algorithm=algorithm, **{**LONG, "max_iter": 6}).fit(X, Y)
    first, last = (model.history_[place]["workers"] for place in (0, -1))
    assert first[0]["examples"] == first[1]["examples"]
    assert last[0]["examples"] < last[1]["examples"]


def test_early_stopping_by_the_score_on_rows_kept_apart_travels(engine):
    # 150 KB of them
    settings = {"early_stopping": True, "validation_fraction": 0.5, "n_iter_no_change": 2, "max_iter": 50, "tol": 1e-3}
    for algorithm in (SimuParallel(), LocalSGD()):
        ours = {"algorithm": algorithm, "n_jobs": 2, "n_rows": 5000, **settings}
        assert linear(engine=engine, **ours) == linear(engine="serial", **ours)


def test_estimators_that_are_copied_use_the_same_processes(engine):
    assert copy.deepcopy(engine) is engine
    search = GridSearchCV(
        SGDClassifier(engine=engine, n_jobs=2, algorithm="local", random_state=0), {"alpha": [0.1, 0.01]}, cv=2
    )
    search.fit(X, Y)
    assert search.best_score_ > 0.8
    elsewhere = pickle.loads(pickle.dumps(engine))
    assert elsewhere == engine
    assert elsewhere._pool is None


def test_two_fits_at_once_each_have_processes_of_their_own(engine):
    settings = {"n_jobs": 2, "algorithm": "local"}
    with ThreadPoolExecutor(2) as threads:
        fits = [threads.submit(linear, engine=engine, **settings) for _ in range(2)]
    assert [fit.result() for fit in fits] == [linear(engine="serial", **settings)] * 2


def test_a_notebooks_own_loss_works_without_a_guard(tmp_path):
    script = tmp_path / "notebook.py"
    script.write_text(
        "import numpy as np\n"
        "from parsgd import SGDRegressor\n"
        "from parsgd.testing.problems import targets, unit_rows\n"
        "class Squared:\n"
        "    def loss(self, y, p):\n"
        "        return 0.5 * (p - y) ** 2\n"
        "    def gradient(self, y, p):\n"
        "        return p - y\n"
        "X = unit_rows(100, 4)\n"
        "settings = dict(n_jobs=2, algorithm='local', random_state=0, max_iter=2, tol=None)\n"
        "fits = [SGDRegressor(Squared(), engine=e, **settings).fit(X, targets(X)) for e in ('serial', 'processes')]\n"
        "print('the same' if np.array_equal(fits[0].coef_, fits[1].coef_) else 'not the same')\n"
    )
    path = os.pathsep.join([str(Path(parsgd.__file__).parents[1]), *sys.path])
    said = subprocess.run(
        [sys.executable, script], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=200
    )
    assert said.stdout == "the same\n", said.stderr


# -- where things lie ----------------------------------------------------------------------------------------------


def memory(pid):
    """Bytes of memory of a process, what it shares with others counted in parts."""
    return psutil.Process(pid).memory_full_info().pss


@pytest.mark.skipif(not hasattr(psutil.Process().memory_full_info(), "pss"), reason="the system does not tell")
def test_all_processes_see_the_same_pages():
    x = np.ones((50, 1_000_000))

    def look(shard, task, pulse):
        before = memory(os.getpid())
        rows = next(shard.blocks(0, 0)).rows
        total = float(rows.x.data.sum())
        return report_of(task, total, before, rows.x.data.flags.writeable)

    source = ArraySource(rows_of(x, np.zeros(50)))
    with Processes(2) as engine, closing(engine.open(look, source.split(2, 0), no_progress)) as crew:
        # in the second round both have all pages, whoever was first in the first one
        rounds = []
        for number in range(2):
            for worker in range(2):
                crew.send(Task(worker, number, np.zeros(1), 0, Budget(1)))
            rounds.append(crew.receive(2))
    rounds = [[report.state for report in reports] for reports in rounds]
    answers = [answer for answers in rounds for answer in answers]
    assert [total for total, _, _ in answers] == [x.sum()] * 4
    assert not any(writable for _, _, writable in answers)
    first, second = (sum(used for _, used, _ in answers) for answers in rounds)
    # pages are shared by both, never copied
    assert second - first < 1.6 * x.nbytes


def test_maps_of_files_travel_as_their_names(tmp_path, engine):
    file = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float64, shape=(3000, 9))
    file[:] = unit_rows(3000, 9)
    file.flush()
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")

    def look(shard, task, pulse):
        maps = Path("/proc/self/maps")
        seen = not maps.exists() or "x.npy" in maps.read_text()
        return report_of(task, shard.rows.x.data.sum(), seen)

    shards = ArraySource(rows_of(mapped[100:], np.zeros(2900))).split(1, 0)
    with closing(engine.open(look, shards, no_progress)) as crew:
        crew.send(Task(0, 0, np.zeros(1), 0, Budget(1)))
        assert crew.receive(1)[0].state.tolist() == [float(file[100:].sum()), True]
    y = labels(file)
    ours, theirs = (
        SGDClassifier(engine=one, n_jobs=2, algorithm="local", random_state=0).fit(mapped, y)
        for one in (engine, "serial")
    )
    assert ours.coef_.tobytes() == theirs.coef_.tobytes()


def test_a_large_state_travels_and_the_drivers_stays_as_it_is(engine):
    def double(shard, task, pulse):
        return report_of(task, *(task.state * 2.0))

    state = np.arange(20_000, dtype=np.float64)
    with closing(engine.open(double, split(2), no_progress)) as crew:
        kept = []
        for round in range(4):
            for worker in range(2):
                crew.send(Task(worker, round, state, 0, Budget(1)))
            came = crew.receive(2)
            np.testing.assert_array_equal(state, np.arange(20_000) * 2.0**round)
            for report in came:
                np.testing.assert_array_equal(report.state, 2.0 * state)
            kept += [report.state for report in came]
            # the same array with other numbers in it, one round later
            state *= 2.0
        # what the driver keeps is never written to again
        for number, old in enumerate(kept):
            np.testing.assert_array_equal(old, np.arange(20_000) * 2.0 ** (number // 2 + 1))
    np.testing.assert_array_equal(kept[0], np.arange(20_000) * 2.0)


def test_nothing_is_left_behind_by_a_fit():
    this = psutil.Process()
    SGDClassifier(engine="processes", algorithm="local", n_jobs=2, max_iter=2, tol=None).fit(X, Y)
    children, files = this.children(recursive=True), this.num_fds()
    named = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    SGDClassifier(engine="processes", algorithm="local", n_jobs=2, max_iter=2, tol=None).fit(X, Y)
    assert this.children(recursive=True) == children
    assert this.num_fds() == files
    assert not {name for name in named ^ set(os.listdir("/dev/shm")) if "parsgd" in name}


# -- errors and warnings -------------------------------------------------------------------------------------------


class Stumbles(Exception):
    """An error that can be pickled, and not unpickled."""

    def __init__(self, where, why):
        super().__init__(f"{where}: {why}")


@dataclass
class Broken(Shard):
    """A shard whose rows cannot be read."""

    error: Exception
    n_rows: int = 10
    cost: float = 1.0

    def blocks(self, seed, epoch, start=0):
        raise self.error
        yield


class Given:
    """A source of shards that were made before."""

    partitions = frozenset({"shuffled", "replicated"})

    def __init__(self, *shards):
        self.shards, self.n_rows = shards, 20

    def split(self, n_workers, seed, partition):
        return self.shards


def run(engine, *shards):
    from parsgd.testing.contracts._fixtures import small_model, small_source
    from parsgd.training.loop import fit

    good = small_source(10).split(1, 0)[0]
    return fit(small_model(), LocalSGD(), engine, Given(good, *shards), n_workers=2)


def test_an_error_in_a_workers_rows_ends_the_fit_with_that_error_and_where_it_was(engine):
    with pytest.raises(OSError, match="the disk is gone") as caught:
        run(engine, Broken(OSError(5, "the disk is gone")))
    assert caught.value.errno == 5
    (note,) = caught.value.__notes__
    assert "Raised by worker 1 in round 0, process" in note
    assert "in blocks" in note


def test_an_error_that_cannot_travel_arrives_in_words(engine):
    class Local(Exception):
        def __reduce__(self):
            raise TypeError("no")

    with pytest.raises(RuntimeError, match="here: so"):
        engine_raises(engine, lambda: Stumbles("here", "so"))
    with pytest.raises(RuntimeError, match="oh"):
        engine_raises(engine, lambda: Local("oh"))


def engine_raises(engine, error):
    def stumble(shard, task, pulse):
        raise error()

    with closing(engine.open(stumble, split(1), no_progress)) as crew:
        crew.send(Task(0, 0, np.zeros(1), 0, Budget(1)))
        crew.receive(1)


def test_divergence_is_told_as_on_every_engine(engine):
    wild = SGDRegressor(engine=engine, n_jobs=2, algorithm="local", eta0=1e300, learning_rate="constant")
    with pytest.raises(DivergedError, match=r"worker \d became NaN or infinite in round 0"):
        wild.fit(100.0 * X, targets(X))


def test_warnings_of_a_worker_reach_the_driver_once_a_task(engine):
    def warn(shard, task, pulse):
        for _ in range(3):
            warnings.warn("the well is low", ResourceWarning, stacklevel=1)
        return report_of(task)

    with closing(engine.open(warn, split(1), no_progress)) as crew:
        crew.send(Task(0, 0, np.zeros(1), 0, Budget(1)))
        with pytest.warns(ResourceWarning, match="the well is low") as caught:
            assert len(crew.receive(1)) == 1
        assert len(caught) == 1


class Locked(LocalSGD):
    """An algorithm that holds what belongs to one process."""

    def __init__(self):
        super().__init__()
        object.__setattr__(self, "deep", {"lock": threading.Lock()})


def test_what_cannot_be_sent_is_named_before_any_process_starts():
    said = r"sends the algorithm\.deep to other processes, and .*lock.* cannot be pickled: .* engine='threads'"
    children = psutil.Process().children()
    with pytest.raises(IncompatiblePartsError, match=said):
        SGDRegressor(engine="processes", n_jobs=2, algorithm=Locked()).fit(X, targets(X))
    with pytest.raises(IncompatiblePartsError, match=r"sends the source of rows.error"):
        run(Processes(), Broken(OSError(threading.Lock())))
    assert psutil.Process().children() == children


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"n_processes": 0}, r"'n_processes' parameter of Processes must be an int of at least 1, or None. Got 0"),
        ({"n_processes": 1.5}, "'n_processes' .* Got 1.5"),
        ({"heartbeat_timeout_s": 0}, "'heartbeat_timeout_s' .* Got 0"),
        ({"heartbeat_timeout_s": "30s"}, "'heartbeat_timeout_s' .* Got '30s'"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(settings, said):
    with pytest.raises(InvalidArgumentError, match=said):
        Processes(**settings)


# -- who watches ---------------------------------------------------------------------------------------------------


class PressesCtrlC(EngineDefaults):
    """An engine on which Ctrl-C is pressed ``times`` times, once the driver has heard of some progress."""

    name, capabilities = "pressing", frozenset()

    def __init__(self, engine, times=1):
        self.engine, self.left = engine, times

    def open(self, work, shards, pulse):
        def pressing(worker, examples, sgd_run):
            while examples and self.left:
                self.left -= 1
                signal.raise_signal(signal.SIGINT)
            return pulse(worker, examples, sgd_run)

        return self.engine.open(work, shards, pressing)


@pytest.mark.parametrize("algorithm", [SimuParallel(), LocalSGD(sync_every=1.0)], ids=lambda algorithm: algorithm.name)
def test_ctrl_c_ends_the_round_early_everywhere_and_keeps_a_useful_model(engine, algorithm):
    model = SGDClassifier("log_loss", algorithm=algorithm, engine=PressesCtrlC(engine), **LONG)
    with interrupts.returning(), pytest.warns(FitInterruptedWarning, match="examples visited"):
        model.fit(X, Y)
    assert model.outcome_ is Outcome.INTERRUPTED
    assert {worker["worker"] for worker in model.history_[-1]["workers"]} == {0, 1}
    assert model.score(X, Y) > 0.9


def test_an_order_to_stop_that_comes_together_with_a_task_is_heard(tmp_path):
    def wait(shard, task, pulse):
        # the first worker's task holds its process until the driver has said all it has to say
        while task.worker == 0 and not (tmp_path / "go").exists():
            pass
        return report_of(task, pulse(task.worker, 1, ReportedLoss(0.0)))

    with Processes(1) as one, closing(one.open(wait, split(2), no_progress)) as crew:
        for worker in range(2):
            crew.send(Task(worker, 0, np.zeros(1), 0, Budget(1)))
        crew._halt()
        (tmp_path / "go").touch()
        assert [answer.state.tolist() for answer in crew.receive(2)] == [[0.0], [0.0]]


def test_a_second_ctrl_c_interrupts_as_usual_and_leaves_no_process():
    children = psutil.Process().children()
    model = SGDClassifier(algorithm="simuparallel", engine=PressesCtrlC(Processes(), times=2), **LONG)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert psutil.Process().children() == children


@pytest.mark.parametrize(("algorithm", "epochs"), [("simuparallel", 4000), ("local", 20)])
def test_watchers_hear_of_every_example(engine, algorithm, epochs):
    told = []
    with parsgd.observe_progress(told.append):
        SGDClassifier(engine=engine, algorithm=algorithm, n_jobs=2, max_iter=epochs, tol=None).fit(X, Y)
    assert told[-1].done
    assert told[-1].examples == told[-1].planned == epochs * 500  # each once
    assert [news.examples for news in told] == sorted(news.examples for news in told)
    assert len(told) > 1


def test_an_engine_can_be_saved_with_its_estimator(tmp_path):
    model = SGDClassifier(engine=Processes(3, heartbeat_timeout_s=5.0), n_jobs=1, max_iter=1, tol=None).fit(X, Y)
    parsgd.save(model, tmp_path / "m")
    assert parsgd.load(tmp_path / "m").engine == model.engine


SHADOWS = ("json", "queue", "uuid", "select", "struct", "tempfile", "numbers", "secrets")


@pytest.mark.slow
def test_files_of_the_current_folder_take_the_place_of_no_module_in_workers(monkeypatch, tmp_path, capfd):
    monkeypatch.chdir(tmp_path)
    for name in (*SHADOWS, "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("import os; os.write(2, b'RUN')")
    (tmp_path / "of_the_user.py").write_text(
        "class Squares:\n"
        "    def loss(self, y, p):\n        return 0.5 * (y - p) ** 2\n"
        "    def gradient(self, y, p):\n        return p - y\n"
    )
    monkeypatch.syspath_prepend("")
    monkeypatch.setenv("PYTHONPATH", f":{os.environ.get('PYTHONPATH', '')}")
    import of_the_user

    model = SGDRegressor(loss=of_the_user.Squares(), engine=Processes(), n_jobs=2, max_iter=2, tol=None)
    assert np.isfinite(model.fit(X, X[:, 0]).coef_).all()
    assert "RUN" not in capfd.readouterr().err


def test_the_module_that_is_the_command_runs_no_file_of_the_current_folder(tmp_path):
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text("print('RUN')")
    command = [sys.executable, "-m", "parsgd", "--version"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert said.stdout.startswith("parsgd ")


def test_workers_import_a_package_that_is_not_on_the_path_of_its_driver(monkeypatch):
    package = Path(parsgd.__file__).parent
    # as with an editable installation, which finds the package by a hook
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(package.parent)])
    assert str(package.parent) in import_path()
    # else the package's modules would be found without their package
    assert str(package) not in import_path()
    with Processes(1) as engine:
        assert linear(engine=engine, algorithm="local", n_jobs=2) == linear(algorithm="local", n_jobs=2)


def test_modules_that_the_driver_found_in_its_folder_are_found_there_by_workers(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "of_the_folder.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    import of_the_folder  # noqa: F401

    assert "of_the_folder" in current_modules()
    assert import_path()[-1] == str(tmp_path)
    assert import_path().count(str(tmp_path)) == 1
