"""scikit-learn's callbacks on every estimator: what they hear, what they may ask for; and they change nothing."""

import pickle
import warnings

import numpy as np
import pytest
from fitted_parameters import parameters
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import parsgd
from parsgd.errors import InvalidArgumentError, Outcome
from parsgd.testing.problems import labels, targets, unit_rows

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X = unit_rows(300, 6)
Y = labels(X)
T = targets(X)
SMALL = {"random_state": 0, "max_iter": 4, "n_jobs": 1}
LINEAR = {**SMALL, "tol": None, "learning_rate": "constant", "eta0": 0.05}
NETWORK = {**SMALL, "hidden_layer_sizes": (5,), "n_iter_no_change": 100}
FACES = {
    "classifier": (parsgd.SGDClassifier(**LINEAR), Y, "accuracy"),
    "averaged": (parsgd.SGDClassifier("log_loss", average=350, **LINEAR), Y, "accuracy"),
    "regressor": (parsgd.SGDRegressor(**LINEAR), T, "r2"),
    "one class": (parsgd.SGDOneClassSVM(**LINEAR), 2 * Y - 1, "accuracy"),
    "network classifier": (parsgd.MLPClassifier(**NETWORK), Y, "accuracy"),
    "network regressor": (parsgd.MLPRegressor(**NETWORK), T, "r2"),
    "lbfgs": (parsgd.MLPRegressor(solver="lbfgs", **NETWORK), T, "r2"),
}


@pytest.fixture(params=FACES)
def face(request):
    estimator, y, scoring = FACES[request.param]
    return clone(estimator), y, scoring


class Recorder:
    """Keeps what it is told; asks to stop, or fails, at the end of so many epochs."""

    def __init__(self, stop_after=None, fail_after=None):
        self.stop_after, self.fail_after = stop_after, fail_after
        self.begun, self.ended, self.fitted, self.seen, self.others = [], [], [], [], []

    def setup(self, estimator, context):
        self.others.append("setup")

    def on_fit_task_begin(self, estimator, context):
        self.begun.append((context.task_name, context.task_id, context.max_subtasks))

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):
        self.ended.append((context.task_name, context.task_id, context.max_subtasks))
        self.seen.append((X, y, metadata))
        if context.parent is None:
            return None
        self.fitted.append(fitted_estimator)
        if self.fail_after == len(self.fitted):
            raise RuntimeError("a callback fails")
        return self.stop_after == len(self.fitted)

    def teardown(self, estimator, context):
        self.others.append("teardown")


def check_same(ours, theirs, rtol=0.0):
    np.testing.assert_allclose(parameters(ours), parameters(theirs), rtol=rtol)


# -- scikit-learn's own --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_scoring_monitor_scores_every_epoch(face, n_jobs):
    model, y, scoring = face
    monitor = ScoringMonitor(scoring=scoring)
    model.set_params(n_jobs=n_jobs, algorithm="auto" if n_jobs == 1 else "local").set_callbacks(monitor).fit(X, y)
    log = monitor.get_logs().data
    steps = [row[scoring] for row in log if row["task_name"] != "fit"]
    assert len(steps) == model.n_iter_ == 4
    assert len(set(steps)) > 1
    # the fit's own task comes first, and has what the fit came to
    assert steps[-1] == log[0][scoring]
    assert log[0][scoring] == pytest.approx(_score(scoring)(model, X, y))


def _score(scoring):
    from sklearn.metrics import get_scorer

    return get_scorer(scoring)


def test_a_progress_bar_is_drawn(face, capsys):
    model, y, _ = face
    model.set_callbacks(ProgressBar()).fit(X, y)
    drawn = capsys.readouterr().out
    assert type(model).__name__ in drawn
    assert "100%" in drawn


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_search_is_one_run_for_both(n_jobs, capsys):
    monitor = ScoringMonitor(scoring="accuracy")
    pipeline = make_pipeline(StandardScaler(), parsgd.SGDClassifier(**LINEAR).set_callbacks(monitor))
    search = GridSearchCV(pipeline, {"sgdclassifier__alpha": [1e-4, 1e-2]}, cv=2, n_jobs=n_jobs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, Y)
    # two settings, two folds and the refit, of four epochs and the whole each
    assert len([row for row in monitor.get_logs().data if "accuracy" in row]) == 5 * 5
    assert "GridSearchCV" in capsys.readouterr().out


# -- tasks ---------------------------------------------------------------------------------------------------------


def test_a_fit_is_a_task_of_epochs(face):
    model, y, _ = face
    heard = Recorder()
    model.set_callbacks(heard).fit(X, y)
    epoch = "lbfgs-iter" if getattr(model, "solver", "") == "lbfgs" else "epoch"
    epochs = [(epoch, number, 0) for number in range(4)]
    assert heard.begun == [("fit", 0, 4), *epochs]
    assert heard.ended == [*epochs, ("fit", 0, 4)]
    assert heard.others == ["setup", "teardown"]


@pytest.mark.parametrize("settings", [{"algorithm": "simuparallel"}, {"algorithm": "weighted"}], ids=str)
def test_workers_that_meet_once_make_one_task(settings):
    heard = Recorder()
    parsgd.SGDClassifier(**{**LINEAR, "n_jobs": 2}, **settings).set_callbacks(heard).fit(X, Y)
    assert heard.ended == [("fit", 0, 0)]


@pytest.mark.parametrize("algorithm", ["local", "minibatch", "asynchronous", "delayed", "elastic", "hogwild"])
def test_every_other_algorithm_has_epochs(algorithm):
    heard = Recorder()
    model = parsgd.SGDClassifier(**{**LINEAR, "n_jobs": 2}, algorithm=algorithm).set_callbacks(heard).fit(X, Y)
    assert len(heard.fitted) == 4
    check_same(heard.fitted[-1], model)


@pytest.mark.parametrize("engine", ["serial", "threads", "processes", "simulated"])
def test_every_engine_tells_the_same(engine, kept_engine):
    heard = Recorder()
    model = parsgd.SGDRegressor(**{**LINEAR, "n_jobs": 2}, algorithm="local", engine=kept_engine(engine))
    model.set_callbacks(heard).fit(X, T)
    alone = parsgd.SGDRegressor(**{**LINEAR, "n_jobs": 2}, algorithm="local", engine="serial").fit(X, T)
    check_same(heard.fitted[-1], alone)


def test_partial_fit_is_a_task_of_its_own(face):
    model, y, _ = face
    if getattr(model, "solver", "") == "lbfgs":
        pytest.skip("there is no partial_fit")
    heard = Recorder()
    model.set_callbacks(heard)
    named = {"classes": [0, 1]} if hasattr(model, "predict_proba") or isinstance(model, parsgd.SGDClassifier) else {}
    model.partial_fit(X, y, **named).partial_fit(X, y)
    assert heard.ended == [("epoch", 0, 0), ("partial_fit", 0, 1)] * 2
    check_same(heard.fitted[-1], model)


# -- they change nothing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_callback_changes_nothing(face, n_jobs):
    """One worker's weights are scaled anew at the end of each epoch, which moves the last bit."""
    model, y, _ = face
    model.set_params(n_jobs=n_jobs, algorithm="auto" if n_jobs == 1 else "local")
    watched = clone(model).set_callbacks(Recorder()).fit(X, y)
    check_same(watched, model.fit(X, y), rtol=1e-9 if n_jobs == 1 and not hasattr(model, "solver") else 0.0)
    assert watched.n_iter_ == model.n_iter_
    assert watched.outcome_ is model.outcome_


def test_what_callbacks_see_is_what_a_shorter_fit_gives(face):
    model, y, _ = face
    heard = Recorder()
    model.set_callbacks(heard).fit(X, y)
    for n, fitted in enumerate(heard.fitted, start=1):
        shorter = clone(model).set_callbacks(Recorder()).set_params(max_iter=n).fit(X, y)
        check_same(fitted, shorter)
        assert fitted.n_iter_ == n
        np.testing.assert_array_equal(fitted.predict(X), shorter.predict(X))


def test_neither_rows_nor_the_weights_of_networks_are_copied():
    heard = Recorder()
    rows = np.ascontiguousarray(X)
    parsgd.MLPClassifier(**NETWORK).set_callbacks(heard).fit(rows, Y, sample_weight=np.full(len(Y), 2.0))
    for seen, y, metadata in heard.seen:
        assert np.shares_memory(seen, rows)
        np.testing.assert_array_equal(y, Y)
        assert metadata["sample_weight"][0] == 2.0
    assert heard.fitted[-1].coefs_[0].base is not None


def test_early_stopping_shows_all_rows_and_the_best_weights_so_far():
    heard = Recorder()
    model = parsgd.MLPClassifier(**{**NETWORK, "max_iter": 8}, early_stopping=True).set_callbacks(heard).fit(X, Y)
    assert heard.seen[0][0].shape == X.shape
    check_same(heard.fitted[-1], model)


# -- stopping ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_callback_that_asks_to_stop_ends_the_fit_with_what_there_is(face, n_jobs):
    model, y, _ = face
    heard = Recorder(stop_after=2)
    model.set_params(n_jobs=n_jobs, algorithm="auto" if n_jobs == 1 else "local").set_callbacks(heard).fit(X, y)
    assert model.outcome_ is Outcome.STOPPED
    assert model.n_iter_ == len(heard.fitted) == 2
    check_same(model, heard.fitted[-1])
    assert heard.ended[-1][0] == "fit"


def test_a_fit_that_a_callback_stopped_can_go_on(tmp_path):
    model = parsgd.SGDRegressor(**LINEAR, checkpoint=tmp_path / "kept")
    model.set_callbacks(Recorder(stop_after=2)).fit(X, T)
    model.set_callbacks().fit(X, T, resume=True)
    assert model.outcome_ is Outcome.MAX_EPOCHS
    check_same(model, parsgd.SGDRegressor(**LINEAR).set_callbacks(Recorder()).fit(X, T))


@pytest.mark.parametrize("engine", ["serial", "threads", "processes"])
def test_the_error_of_a_callback_ends_the_fit_and_leaves_nothing_behind(engine):
    heard = Recorder(fail_after=1)
    model = parsgd.SGDClassifier(**{**LINEAR, "n_jobs": 2}, engine=engine, algorithm="local").set_callbacks(heard)
    with pytest.raises(RuntimeError, match="a callback fails"):
        model.fit(X, Y)
    assert heard.others == ["setup", "teardown"]
    assert not hasattr(model, "coef_")
    assert not hasattr(model, "_callback_fit_ctx")


def test_what_is_refused_is_refused_before_callbacks_hear_of_it():
    heard = Recorder()
    with pytest.raises(InvalidArgumentError):
        parsgd.SGDClassifier(alpha=-1).set_callbacks(heard).fit(X, Y)
    assert heard.others == []


# -- streamed rows, copies -----------------------------------------------------------------------------------------


class Scores(Recorder):
    """The estimator's own score at the end of each epoch."""

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):
        self.seen.append(fitted_estimator.score(X, y, **(metadata or {})))


@pytest.mark.parametrize("weighted", [False, True])
def test_streamed_rows_are_scored_too(weighted):
    w = np.linspace(0.5, 1.5, len(Y))
    blocks = [(X[:200], Y[:200], w[:200]), (X[200:], Y[200:], w[200:])]
    data = parsgd.open_dataset([block if weighted else block[:2] for block in blocks])
    monitor, own = ScoringMonitor(scoring="accuracy"), Scores()
    model = parsgd.SGDClassifier(**LINEAR).set_callbacks(monitor, own).fit(data)
    log = monitor.get_logs().data
    assert len(log) == len(own.seen) == 5
    assert log[0]["accuracy"] == own.seen[-1] == pytest.approx(model.score(X, Y, w if weighted else None))


def test_pickles_and_clones_have_them_as_in_scikit_learn():
    monitor = ScoringMonitor(scoring="accuracy")
    model = parsgd.SGDClassifier(**LINEAR).set_callbacks(monitor)
    assert clone(model)._skl_callbacks == [monitor]
    again = pickle.loads(pickle.dumps(model.fit(X, Y)))
    check_same(again.fit(X, Y), model)
    assert not hasattr(model.set_callbacks(), "_skl_callbacks")


class Saves(Recorder):
    """Saves the model of each epoch, in two ways."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        parsgd.save(fitted_estimator, self.path)
        self.seen.append(pickle.dumps(fitted_estimator))


@pytest.mark.parametrize("checkpoint", [None, "kept"])
def test_the_model_of_an_epoch_can_be_saved(tmp_path, checkpoint):
    kept = None if checkpoint is None else tmp_path / checkpoint
    saving = Saves(tmp_path / "model.parsgd")
    model = parsgd.SGDClassifier(**LINEAR, checkpoint=kept).set_callbacks(saving).fit(X, Y)
    check_same(parsgd.load(tmp_path / "model.parsgd"), model)
    check_same(pickle.loads(saving.seen[-1]), model)


def test_rehearsals_of_a_plan_are_not_heard():
    from parsgd.planning.trials.samples import prepare

    assert not hasattr(prepare(parsgd.SGDClassifier().set_callbacks(Recorder())), "_skl_callbacks")
