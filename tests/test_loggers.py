"""Loggers on scikit-learn's callback protocol: to a CSV file, for TensorBoard, to MLflow."""

import csv
import pickle
import sys
import types
import warnings

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

import parsgd
from parsgd import callbacks
from parsgd.callbacks import MEASURES, CsvLogger, MLflowLogger, TensorBoardLogger, measures
from parsgd.errors import InvalidArgumentError, MissingDependencyError
from parsgd.testing.problems import labels, targets, unit_rows

X = unit_rows(200, 4)
Y = labels(X)
SMALL = {"max_iter": 3, "tol": None, "random_state": 0, "n_jobs": 1}


def classifier(*callbacks, **settings):
    return parsgd.SGDClassifier(**{**SMALL, **settings}).set_callbacks(*callbacks)


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


# -- CSV -----------------------------------------------------------------------------------------------------------


def test_a_line_an_epoch(tmp_path):
    path = tmp_path / "log.csv"
    model = classifier(CsvLogger(path)).fit(X, Y)
    lines = table(path)
    assert list(lines[0]) == ["run", *MEASURES]
    assert [float(line["epoch"]) for line in lines] == [1.0, 2.0, 3.0]
    assert [float(line["loss"]) for line in lines] == [entry["loss"] for entry in model.history_]
    assert len({line["run"] for line in lines}) == 1
    assert float(lines[-1]["examples_per_second"]) > 0
    assert lines[-1]["score"] == ""


def test_scores_of_a_validation_set_are_written(tmp_path):
    model = classifier(CsvLogger(tmp_path / "log.csv")).fit(X, Y, X_val=X, y_val=Y)
    assert float(table(tmp_path / "log.csv")[-1]["score"]) == model.score(X, Y)


def test_fits_are_told_apart_and_nothing_is_written_over(tmp_path):
    path = tmp_path / "log.csv"
    model = classifier(CsvLogger(str(path))).fit(X, Y).fit(X, Y)
    classifier(CsvLogger(path)).fit(X, Y)
    model.partial_fit(X, Y)
    runs = [line["run"] for line in table(path)]
    assert [runs.count(run) for run in dict.fromkeys(runs)] == [3, 3, 3, 1]


def test_a_fit_without_epochs_is_a_line(tmp_path):
    classifier(CsvLogger(tmp_path / "log.csv"), n_jobs=2, algorithm="simuparallel").fit(X, Y)
    (line,) = table(tmp_path / "log.csv")
    assert line["workers"] == "2"


def test_lbfgs_has_steps_and_a_loss(tmp_path):
    network = parsgd.MLPRegressor(hidden_layer_sizes=(3,), solver="lbfgs", max_iter=3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # three steps are not convergence
        network.set_callbacks(CsvLogger(tmp_path / "log.csv")).fit(X, targets(X))
    lines = table(tmp_path / "log.csv")
    assert [line["epoch"] for line in lines] == ["1.0", "2.0", "3.0"]
    assert float(lines[-1]["loss"]) == network.loss_
    assert lines[0]["examples"] == ""


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_the_fits_of_a_search_share_a_file(tmp_path, n_jobs):
    """Also from several processes."""
    path = tmp_path / "log.csv"
    model = classifier(CsvLogger(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        GridSearchCV(model, {"alpha": [1e-4, 1e-3]}, cv=2, n_jobs=n_jobs).fit(X, Y)
    runs = [line["run"] for line in table(path)]
    assert sorted(runs.count(run) for run in set(runs)) == [3] * 5


@pytest.mark.parametrize("written", [b"", b"run,epo"])
def test_a_file_that_another_process_is_creating_is_waited_for(tmp_path, monkeypatch, written):
    path = tmp_path / "log.csv"
    path.write_bytes(written)
    header = ",".join(["run", *callbacks.MEASURES]).encode() + b"\n"
    # the other process writes the rest meanwhile
    monkeypatch.setattr(callbacks.time, "sleep", lambda seconds: path.write_bytes(header))
    classifier(CsvLogger(path)).fit(X, Y)
    assert path.read_bytes().startswith(header)
    assert len(table(path)) == 3


def test_another_file_is_refused_before_the_fit(tmp_path):
    (tmp_path / "mine.csv").write_text("a,b\n1,2\n")
    model = classifier(CsvLogger(tmp_path / "mine.csv"))
    with pytest.raises(InvalidArgumentError, match=r"mine\.csv'\): the file exists.*Name another file"):
        model.fit(X, Y)
    assert (tmp_path / "mine.csv").read_text() == "a,b\n1,2\n"
    assert not hasattr(model, "coef_")


def test_a_folder_that_is_not_there_is_an_error_before_the_fit(tmp_path):
    with pytest.raises(FileNotFoundError):
        classifier(CsvLogger(tmp_path / "no" / "log.csv")).fit(X, Y)


def test_estimators_of_others_are_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"CsvLogger logs the history of parsgd.*LogisticRegression"):
        LogisticRegression().set_callbacks(CsvLogger(tmp_path / "log.csv")).fit(X, Y)


def test_a_logger_is_pickled_without_what_it_has_open(tmp_path):
    logger = CsvLogger(tmp_path / "log.csv")
    logger.setup(classifier(), types.SimpleNamespace(parent=None, root_uuid=types.SimpleNamespace(hex="0" * 32)))
    again = pickle.loads(pickle.dumps(logger))
    assert again.path == logger.path
    assert again._runs == {}


def test_measures_of_a_fit_are_those_of_its_history():
    found = measures(classifier(n_jobs=2, algorithm="local").fit(X, Y))
    assert tuple(found) == MEASURES
    assert found["examples"] == 600
    assert found["workers"] == 2


# -- TensorBoard, MLflow: what is asked of them, of stand-ins --------------------------------------------------------


class Writer:
    made = []

    def __init__(self, folder):
        self.folder, self.scalars, self.open = folder, [], True
        Writer.made.append(self)

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))

    def close(self):
        self.open = False


@pytest.fixture
def tensorboard(monkeypatch):
    monkeypatch.setattr(Writer, "made", [])
    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=Writer))
    return Writer.made


def test_tensorboard_gets_curves_in_a_folder_a_fit(tensorboard, tmp_path):
    model = classifier(TensorBoardLogger(tmp_path)).fit(X, Y).fit(X, Y)
    assert len(tensorboard) == len({writer.folder for writer in tensorboard}) == 2
    for writer in tensorboard:
        assert writer.folder.startswith(str(tmp_path))
        assert "SGDClassifier" in writer.folder
        assert not writer.open
    losses = [(value, step) for name, value, step in tensorboard[1].scalars if name == "loss"]
    assert losses == [(entry["loss"], n) for n, entry in enumerate(model.history_, start=1)]
    assert "score" not in {name for name, *_ in tensorboard[0].scalars}


class Breaks:
    """A callback that fails."""

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        raise RuntimeError("broken")

    def teardown(self, estimator, context):
        pass


def test_a_fit_that_breaks_off_closes_the_file(tensorboard, tmp_path):
    with pytest.raises(RuntimeError, match="broken"):
        classifier(TensorBoardLogger(tmp_path), Breaks()).fit(X, Y)
    assert [writer.open for writer in tensorboard] == [False]


class Client:
    """As much of MLflow as is used."""

    def __init__(self, uri=None):
        self.runs = []

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name):
        return f"number of {name}"

    def create_run(self, experiment, tags, run_name):
        run = {"experiment": experiment, "tags": tags, "params": {}, "metrics": [], "status": None}
        self.runs.append(run)
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=len(self.runs) - 1))

    def log_param(self, run, key, value):
        self.runs[run]["params"][key] = value

    def log_metric(self, run, key, value, step):
        self.runs[run]["metrics"].append((key, value, step))

    def set_terminated(self, run, status):
        self.runs[run]["status"] = status


@pytest.fixture
def mlflow(monkeypatch):
    client = Client()
    module = types.SimpleNamespace(MlflowClient=lambda uri: client, active_run=lambda: None, client=client)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    return module


def test_mlflow_gets_a_run_with_parameters_and_metrics(mlflow):
    model = classifier(MLflowLogger("digits")).fit(X, Y)
    (run,) = mlflow.client.runs
    assert run["experiment"] == "number of digits"
    assert run["status"] == "FINISHED"
    assert run["params"]["max_iter"] == "3"
    assert ("loss", model.history_[0]["loss"], 1) in run["metrics"]


def test_a_fit_within_a_run_is_a_child_of_it(mlflow):
    mlflow.active_run = lambda: types.SimpleNamespace(
        info=types.SimpleNamespace(run_id="outer_optimizer", experiment_id="7")
    )
    classifier(MLflowLogger()).fit(X, Y)
    (run,) = mlflow.client.runs
    assert (run["experiment"], run["tags"]) == ("7", {"mlflow.parentRunId": "outer_optimizer"})


def test_a_fit_that_breaks_off_is_a_failed_run(mlflow):
    model = classifier(MLflowLogger(), Breaks())
    with pytest.raises(RuntimeError, match="broken"):
        model.fit(X, Y)
    assert mlflow.client.runs[0]["status"] == "FAILED"


@pytest.mark.parametrize(
    ("cls", "module", "extra"), [(TensorBoardLogger, "tensorboardX", "tensorboard"), (MLflowLogger, "mlflow", "mlflow")]
)
def test_a_missing_package_is_named_with_what_brings_it(monkeypatch, cls, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        MissingDependencyError, match=rf"{cls.__name__} needs {module}: pip install 'parsgd\[{extra}\]'"
    ):
        cls("x")
