"""A fit that was ended from outside and goes on from its checkpoint ends at the bits of one that was not."""

import signal
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import parsgd
from parsgd import (
    AsyncLocalSGD,
    AsyncSGD,
    Checkpoint,
    DelayedSGD,
    ElasticAveraging,
    LocalSGD,
    Malenia,
    MiniBatch,
    MSync,
    Rennala,
    Ringleader,
    Ringmaster,
    SimuParallel,
    WeightedAverage,
)
from parsgd.checkpointing.file_format import read
from parsgd.checkpointing.store import CheckpointStore
from parsgd.core import EngineDefaults
from parsgd.engines.serial import Serial
from parsgd.engines.threads import Threads
from parsgd.testing.problems import labels, targets, unit_rows

X = unit_rows(180, 6)
Y = labels(X)
ALGORITHMS = [
    SimuParallel(),
    WeightedAverage(),
    WeightedAverage(rule="learned"),
    LocalSGD(),
    LocalSGD(sync_every=0.3, outer_optimizer="momentum"),
    LocalSGD(sync_every=0.5, outer_optimizer="nesterov", rule="wp"),
    LocalSGD(sync_every=0.2, outer_optimizer="adaptive"),
    LocalSGD(sync_every="adaptive"),
    LocalSGD(sync_every=0.5, rule="learned"),
    MiniBatch(16),
    DelayedSGD(8),
    DelayedSGD(8, compensation=0.04),
    ElasticAveraging(),
]
# what repeats its bits on the serial engine, where workers take turns
IN_TURNS = [
    AsyncLocalSGD(),
    AsyncLocalSGD(rule="wp"),
    ElasticAveraging(asynchronous=True),
    AsyncSGD(8),
    Malenia(3, 8),
    MSync(2, 8),
    Rennala(3, 8),
    Rennala(batch_size=8, theta=0.5),
    Ringleader(8),
    Ringmaster(2, 8),
    Ringmaster(batch_size=8),
]


class Broken(Exception):
    """Something happened to the driver."""


class BreaksOff(EngineDefaults):
    """An engine whose driver is stopped in the middle of a round: the workers have been sent its tasks."""

    def __init__(self, engine, number, press=False):
        self.engine, self.number, self.press = engine, number, press
        self.name, self.capabilities = engine.name, engine.capabilities

    def open(self, work, shards, pulse):
        # rounds in compiled code send no tasks
        tasks_only = (lambda *arguments: work(*arguments)) if isinstance(self.engine, Threads) else work
        crew = self.engine.open(tasks_only, shards, pulse)
        send, receive, seen = crew.send, crew.receive, []

        def sending(task):
            seen.append(task.round)
            send(task)

        def receiving(at_least):
            if seen[-1] >= self.number:
                if not self.press:
                    raise Broken
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
                self.number = float("inf")
            return receive(at_least)

        crew.send, crew.receive = sending, receiving
        return crew


def facts(model):
    """All that a fit leaves, in bytes and in words, but for times."""
    arrays = [
        getattr(model, name)
        for name in ("coef_", "intercept_", "offset_", "coefs_", "intercepts_", "classes_")
        if hasattr(model, name)
    ]
    flat = [array for item in arrays for array in (item if isinstance(item, list) else [item])]
    words = [getattr(model, name, None) for name in ("t_", "n_iter_", "outcome_", "loss_curve_", "validation_scores_")]
    return [array.tobytes() for array in flat], words, [timeless(entry) for entry in model.history_]


def timeless(entry):
    workers = [{**worker, "seconds": None} for worker in entry["workers"]]
    return {name: value for name, value in entry.items() if "seconds" not in name} | {"workers": workers}


def assert_goes_on(make, folder, numbers, data=(X, Y), engine=None, seconds=0.0, **more):
    """Fit once; then break another fit off in each of these rounds, and let it go on to the end."""
    engine = engine or Serial()
    whole = make(engine=engine, checkpoint=Checkpoint(folder / "whole", seconds=np.inf)).fit(*data, **more)
    parts = Checkpoint(folder / "parts", seconds=seconds)
    for number in numbers:
        try:
            make(engine=BreaksOff(engine, number), checkpoint=parts).fit(*data, resume=True, **more)
        except Broken:
            continue
    again = make(engine=engine, checkpoint=parts).fit(*data, resume=True, **more)
    assert facts(again) == facts(whole)
    assert again.algorithm_ == whole.algorithm_
    return again


def classifier(**settings):
    defaults = dict(loss="log_loss", alpha=0.01, max_iter=4, tol=None, random_state=5)
    return lambda **more: parsgd.SGDClassifier(**{**defaults, **settings, **more})


@pytest.mark.cover(1)
@pytest.mark.parametrize("algorithm", [*ALGORITHMS, *IN_TURNS], ids=repr)
@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_every_algorithm_goes_on_to_the_same_bits(algorithm, n_jobs, tmp_path):
    again = assert_goes_on(classifier(algorithm=algorithm, n_jobs=n_jobs), tmp_path, (0, 1, 3, 3, 9))
    assert again.resumed_from_ is not None


@pytest.mark.parametrize("algorithm", ALGORITHMS[::2], ids=repr)
def test_on_threads_too(algorithm, tmp_path):
    assert_goes_on(classifier(algorithm=algorithm, n_jobs=2), tmp_path, (2, 5), engine=Threads())


@pytest.mark.cover(1)
@pytest.mark.parametrize(
    "settings",
    [
        dict(average=True),
        dict(average=300, penalty=None),
        dict(penalty="l1"),
        dict(penalty="elasticnet", loss="hinge"),
        dict(learning_rate="adaptive", eta0=0.5, tol=0.01, n_iter_no_change=1, max_iter=40),
        dict(early_stopping=True, max_iter=30, tol=1e-3, n_iter_no_change=2),
        dict(tol=1e-2, max_iter=40, n_iter_no_change=2),
        dict(batch_size=7),
        dict(shuffle=False, class_weight="balanced"),
        dict(loss="softmax"),
        dict(random_state=None, early_stopping=True, max_iter=6),
    ],
    ids=str,
)
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_with_every_way_to_descend_and_to_stop(settings, n_jobs, tmp_path):
    if "random_state" in settings:
        # the fit that nobody disturbed begins with the same chance, and is as random as the other
        begun = np.random.get_state()  # noqa: NPY002 (scikit-learn's random_state=None is this one)
        make = classifier(n_jobs=n_jobs, **settings)

        def made(**more):
            np.random.set_state(begun)  # noqa: NPY002
            return make(**more)

        assert_goes_on(made, tmp_path, (1, 4))
        return
    assert_goes_on(classifier(n_jobs=n_jobs, **settings), tmp_path, (1, 4))


def test_a_generator_is_where_it_was(tmp_path):
    def make(**more):
        return classifier(random_state=np.random.RandomState(3), early_stopping=True, n_jobs=2, algorithm="local")(
            **more
        )

    assert_goes_on(make, tmp_path, (1, 4))


def test_chance_that_nobody_named_is_kept(tmp_path):
    """A script that is started anew has another generator; the rows held back and their order are those of before."""
    parts = Checkpoint(tmp_path / "parts", seconds=0)
    make = classifier(random_state=None, early_stopping=True, algorithm="local", n_jobs=2, max_iter=3)
    with pytest.raises(Broken):
        make(engine=BreaksOff(Serial(), 5), checkpoint=parts).fit(X, Y)
    first = make(checkpoint=parts).fit(X, Y, resume=True)
    folder = CheckpointStore(tmp_path / "parts")
    chance = read(folder.file(folder.rounds()[-1])).extras["random_state"]
    assert facts(first) == facts(make(random_state=chance).fit(X, Y))


def test_a_validation_set_of_the_users_own(tmp_path):
    assert_goes_on(
        classifier(n_jobs=2, algorithm="local", early_stopping=True), tmp_path, (3,), X_val=X[:50], y_val=Y[:50]
    )


def test_regressors_and_outlier_detectors_and_sparse_rows(tmp_path):
    for number, (kind, data) in enumerate(
        [
            (parsgd.SGDRegressor, (X, targets(X))),
            (parsgd.SGDRegressor, (sparse.csr_matrix(X.astype(np.float32)), targets(X))),
            (parsgd.SGDOneClassSVM, (X,)),
        ]
    ):
        for n_jobs in (1, 2):
            folder = tmp_path / f"{number}-{n_jobs}"
            folder.mkdir()

            def make(kind=kind, n_jobs=n_jobs, **more):
                return kind(max_iter=4, tol=None, random_state=1, n_jobs=n_jobs, **more)

            assert_goes_on(make, folder, (1, 2), data)


def network(kind=parsgd.MLPClassifier, **settings):
    defaults = dict(hidden_layer_sizes=(5,), max_iter=4, batch_size=16, tol=0.0, n_iter_no_change=np.inf)
    defaults |= dict(random_state=2)
    return lambda **more: kind(**{**defaults, **settings, **more})


@pytest.mark.cover(1)
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize(
    "settings",
    [
        dict(),
        dict(solver="sgd", learning_rate_init=0.1),
        dict(solver="sgd", momentum=0.0, learning_rate="invscaling"),
        dict(solver="sgd", learning_rate="adaptive", tol=0.1, n_iter_no_change=1, max_iter=20),
        dict(solver="adamw", alpha=0.1),
        dict(dropout=0.3),
        dict(early_stopping=True, n_iter_no_change=2, max_iter=20, learning_rate_init=0.05),
        dict(algorithm=LocalSGD(sync_every=0.5, outer_optimizer="adaptive")),
        dict(algorithm="minibatch"),
        dict(algorithm="delayed"),
    ],
    ids=str,
)
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_networks_go_on_to_the_same_bits(settings, n_jobs, tmp_path):
    assert_goes_on(network(n_jobs=n_jobs, **settings), tmp_path, (1, 3))


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_networks_on_threads_too(tmp_path):
    assert_goes_on(
        network(parsgd.MLPRegressor, n_jobs=3, algorithm="local"), tmp_path, (2,), (X, targets(X)), Threads()
    )


@given(numbers=st.lists(st.integers(0, 45), max_size=6), seconds=st.sampled_from([0.0, 0.001, np.inf]))
def test_wherever_and_however_often_it_was_broken_off(numbers, seconds, tmp_path_factory):
    folder = tmp_path_factory.mktemp("resuming")
    assert_goes_on(
        classifier(algorithm=LocalSGD(outer_optimizer="momentum"), n_jobs=2), folder, numbers, seconds=seconds
    )


@pytest.mark.parametrize("algorithm", [LocalSGD(), MiniBatch(16), DelayedSGD(8), SimuParallel()], ids=repr)
@pytest.mark.parametrize("engine", [Serial(), Threads()], ids=lambda engine: engine.name)
def test_after_ctrl_c_as_if_it_had_not_been_pressed(algorithm, engine, tmp_path):
    make = classifier(algorithm=algorithm, n_jobs=2)
    whole = make(engine=engine).fit(X, Y)
    kept = Checkpoint(tmp_path, seconds=np.inf)
    with pytest.raises(KeyboardInterrupt):
        make(engine=BreaksOff(engine, 5 * (not algorithm.traits.one_shot), press=True), checkpoint=kept).fit(X, Y)
    assert facts(make(engine=engine, checkpoint=kept).fit(X, Y, resume=True)) == facts(whole)


def test_workers_that_share_a_state_share_one_again(tmp_path):
    """One of them is serial SGD, to the bit; several overwrite one another, before and after."""
    assert_goes_on(classifier(algorithm="hogwild", n_jobs=1), tmp_path, (1, 2), engine=Threads())
    kept = Checkpoint(tmp_path, seconds=0)
    make = classifier(algorithm="hogwild", n_jobs=2, engine=Threads(), checkpoint=kept)
    make(max_iter=3).fit(X, Y)
    again = make(max_iter=8).fit(X, Y, resume=True)
    assert (again.resumed_from_, again.n_iter_) == (3, 8)
    assert again.t_ == 1 + 8 * len(Y) / 2
    assert again.score(X, Y) > 0.9


def test_engines_may_be_changed_in_between(tmp_path):
    make, kept = classifier(algorithm="local", n_jobs=2), Checkpoint(tmp_path, seconds=0)
    with pytest.raises(Broken):
        make(engine=BreaksOff(Serial(), 7), checkpoint=kept).fit(X, Y)
    with pytest.raises(Broken):
        make(engine=BreaksOff(Threads(), 14), checkpoint=kept).fit(X, Y, resume=True)
    again = make(engine="simulated", checkpoint=kept).fit(X, Y, resume=True)
    assert facts(again) == facts(make().fit(X, Y))


@pytest.mark.parametrize(
    "algorithm",
    [LocalSGD(outer_optimizer="momentum"), MiniBatch(16), DelayedSGD(8), ElasticAveraging(), "auto"],
    ids=repr,
)
def test_more_passes_after_the_end_are_those_of_a_longer_fit(algorithm, tmp_path):
    make, kept = classifier(algorithm=algorithm), Checkpoint(tmp_path / "parts", seconds=np.inf)
    for max_iter in (2, 5, 5):
        again = make(max_iter=max_iter, checkpoint=kept).fit(X, Y, resume=True)
    whole = make(max_iter=5, checkpoint=tmp_path / "whole").fit(X, Y)
    assert facts(again) == facts(whole)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_one_worker_makes_the_steps_that_it_makes_without_checkpoints(tmp_path):
    """To the bit where nothing is rounded between two passes, or would be without checkpoints, too."""
    exact = [
        classifier(penalty=None),
        classifier(penalty="l1", learning_rate="adaptive", eta0=0.5),
        network(),
        network(solver="sgd", early_stopping=True),
    ]
    for number, make in enumerate(exact):
        kept, plain = (make(n_jobs=1, checkpoint=c).fit(X, Y) for c in (tmp_path / str(number), None))
        assert facts(kept)[0] == facts(plain)[0]
        assert len(kept.history_) == kept.n_iter_ == plain.n_iter_
    # the end of a round rounds, a score between two passes does not
    near = ({"average": True}, {"early_stopping": True}, {"early_stopping": True, "average": True})
    for number, one in enumerate(near):
        make = classifier(**one)
        kept, plain = (make(n_jobs=1, checkpoint=c).fit(X, Y) for c in (tmp_path / f"near {number}", None))
        np.testing.assert_allclose(kept.coef_, plain.coef_, rtol=1e-9)
