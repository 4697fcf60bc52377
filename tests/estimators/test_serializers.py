"""Every serializer gives back the model that was saved: equal attributes, equal predictions, the same next steps."""

import io
import pickle
import pickletools
import threading
import warnings

import cloudpickle
import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import parsgd
from parsgd.model_io.columnar import from_columns, to_columns
from parsgd.training.reporting.history import History

ROWS = np.random.default_rng(0).normal(size=(60, 5))
FRAME = pd.DataFrame(ROWS, columns=list("abcde"))
LABELS = np.argsort(np.argsort(ROWS[:, 0])) // 20
SEVERAL = (ROWS[:, :3] > 0).astype(int)
TEXTS = np.array(["low", "middle", "high"])[LABELS]
SHORT = {"max_iter": 3, "random_state": 0, "n_jobs": 1}
LINEAR = SHORT | {"tol": None}
TWO = {"n_jobs": 2}

# Each with the rows and targets it is fitted on.
CASES = {
    "arrays": (parsgd.SGDClassifier(**LINEAR), ROWS, LABELS),
    "frame and texts": (parsgd.SGDClassifier(**LINEAR), FRAME, TEXTS),
    "two workers": (parsgd.SGDClassifier("log_loss", **LINEAR | TWO, algorithm="local"), ROWS, LABELS),
    "averages": (parsgd.SGDClassifier("softmax", average=True, **LINEAR), ROWS, LABELS),
    "adagrad": (parsgd.SGDRegressor(learning_rate="adagrad", **LINEAR), ROWS, ROWS[:, 0]),
    "early stopping": (parsgd.SGDRegressor(early_stopping=True, **LINEAR), ROWS, ROWS[:, 0]),
    "one class": (parsgd.SGDOneClassSVM(**LINEAR), ROWS, None),
    "float32": (parsgd.SGDRegressor(**LINEAR), ROWS.astype(np.float32), ROWS[:, 0]),
    "generator": (parsgd.SGDClassifier(**LINEAR | {"random_state": np.random.RandomState(0)}), ROWS, LABELS),
    "network": (parsgd.MLPClassifier((4,), **SHORT), FRAME, TEXTS),
    "labels": (parsgd.MLPClassifier((4,), early_stopping=True, **SHORT), ROWS, SEVERAL),
    "lbfgs": (parsgd.MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs", **SHORT), ROWS, ROWS[:, 0]),
    "rate": (parsgd.MLPRegressor(solver="sgd", learning_rate="adaptive", **SHORT), ROWS, ROWS[:, :2]),
    "algorithm": (
        parsgd.SGDClassifier(algorithm=parsgd.LocalSGD(0.5, outer_optimizer="momentum"), **LINEAR | TWO),
        ROWS,
        LABELS,
    ),
    "engine": (parsgd.SGDRegressor(engine=parsgd.Simulated(speeds=[1.0, 0.5]), **LINEAR | TWO), ROWS, ROWS[:, 0]),
    "processes": (parsgd.SGDRegressor(**LINEAR), ROWS, ROWS[:, 0]),
}
SERIALIZERS = {
    **{f"pickle {p}": lambda m, p=p: pickle.loads(pickle.dumps(m, p)) for p in range(pickle.HIGHEST_PROTOCOL + 1)},
    "joblib": lambda model: through_joblib(model),
    "cloudpickle": lambda model: pickle.loads(cloudpickle.dumps(model)),
    "skops": lambda model: through_skops(model),
}


def through_joblib(model):
    stream = io.BytesIO()
    joblib.dump(model, stream)
    stream.seek(0)
    return joblib.load(stream)


def through_skops(model):
    content = skops.io.dumps(model)
    return skops.io.loads(content, trusted=skops.io.get_untrusted_types(data=content))


@pytest.fixture(scope="module")
def fitted():
    made = {}

    def fit(name):
        if name not in made:
            model, X, y = CASES[name]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # three passes are not convergence
                made[name] = model.fit(X, y)
            if name == "processes":
                # fitted without the time that starting them takes
                model.set_params(engine=parsgd.Processes(2))
        return made[name], *CASES[name][1:]

    return fit


def same(ours, theirs):
    """Equal to the bit and of the same types."""
    assert type(ours) is type(theirs)
    if isinstance(ours, np.ndarray):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    elif isinstance(ours, np.random.RandomState):
        same(ours.get_state(), theirs.get_state())
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            same(value, theirs[key])
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            same(one, other)
    elif type(ours).__module__.startswith("parsgd.training.stopping"):
        same(vars(ours), vars(theirs))
    else:
        assert ours == theirs or ours != ours and theirs != theirs


def check(again, model, X, y):
    same(vars(again), vars(model))
    for method in ("predict", "decision_function", "predict_proba"):
        if hasattr(model, method):
            np.testing.assert_array_equal(getattr(again, method)(X), getattr(model, method)(X))
    if getattr(model, "solver", None) == "lbfgs" or model.early_stopping:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = pickle.loads(pickle.dumps(model))
        for one in (again, other):
            one.set_params(engine="serial").partial_fit(X, y)
    np.testing.assert_array_equal(again.predict(X), other.predict(X))


@pytest.mark.cover(1)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_a_model_comes_back_equal_and_goes_on_with_the_same_bits(fitted, serializer, case):
    model, X, y = fitted(case)
    check(SERIALIZERS[serializer](model), model, X, y)


@pytest.mark.parametrize("case", CASES)
def test_skops_asks_for_trust_in_estimator_classes_alone(fitted, case):
    model, *_ = fitted(case)
    asked = skops.io.get_untrusted_types(data=skops.io.dumps(make_pipeline(StandardScaler(), model)))
    assert asked == [f"{type(model).__module__}.{type(model).__name__}"]


def test_a_pickle_names_no_type_of_parsgd_but_the_estimator(fitted):
    for case in CASES:
        model, *_ = fitted(case)
        strings = [arg for _, arg, _ in pickletools.genops(pickle.dumps(model)) if isinstance(arg, str)]
        assert {text for text in strings if text.startswith("parsgd.")} == {type(model).__module__}


def test_an_object_of_the_user_stays_what_it_is():
    class Mine(parsgd.LocalSGD):
        pass

    model = parsgd.SGDClassifier(algorithm=Mine(0.5))
    assert type(pickle.loads(cloudpickle.dumps(model)).algorithm).__name__ == "Mine"
    assert model.__getstate__()["algorithm"] is model.algorithm


def test_a_state_of_before_this_form_is_read(fitted):
    model, *_ = fitted("two workers")
    again = parsgd.SGDClassifier.__new__(parsgd.SGDClassifier)
    again.__setstate__(dict(vars(model)))
    same(vars(again), vars(model))


def test_a_state_is_a_copy_that_another_thread_may_not_change(fitted):
    model, *_ = fitted("arrays")
    model = pickle.loads(pickle.dumps(model))
    ended = threading.Event()

    def change():
        number = 0
        while not ended.is_set():
            number += 1
            setattr(model, f"x{number % 50}_", number)
            delattr(model, f"x{number % 50}_")

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(50):
            pickle.loads(pickle.dumps(model))
    finally:
        ended.set()
        thread.join()
    assert model.__getstate__() is not vars(model)


# -- the record of a fit ---------------------------------------------------------------------------------------------

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    ),
    max_leaves=12,
)


@given(st.lists(VALUES, max_size=8))
def test_columns_give_back_what_they_were_made_of(values):
    again = from_columns(to_columns(values))
    same(again, values)
    assert repr(again) == repr(values)  # -0.0 too


def test_a_long_record_takes_a_fraction_of_what_its_objects_take():
    chance = np.random.default_rng(0)
    entries = History()
    for number in range(2000):
        seconds, losses = chance.exponential(1e-4, size=2).tolist(), chance.exponential(size=2).tolist()
        workers = [
            {
                "worker": k,
                "steps": 90,
                "examples": 90,
                "seconds": seconds[k],
                "weight": 0.5,
                "loss": losses[k],
                "trace": [(90, losses[k], None)],
            }
            for k in range(2)
        ]
        times = {f"{name}seconds": float(chance.exponential()) for name in ("", "merge_", "check_")}
        entries.append(
            {
                "round": number,
                "epoch": number / 10,
                **times,
                "loss": sum(losses) / 2,
                "score": None,
                "workers": workers,
                "lost": [],
            }
        )
    model = parsgd.SGDRegressor()
    model.history_ = entries
    size = len(pickle.dumps(model))
    assert pickle.loads(pickle.dumps(model)).history_ == entries
    assert size < 0.5 * len(pickle.dumps(entries))


# -- MLflow ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flavor():
    """Imported before the test: the libraries that it imports set environment variables."""
    return pytest.importorskip("mlflow.sklearn", reason="requires pip install parsgd[mlflow]")


def test_mlflow_saves_and_loads_as_it_does_by_default(flavor, fitted, tmp_path):
    model, X, _ = fitted("frame and texts")
    name = f"{type(model).__module__}.{type(model).__name__}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mlflow's own
        flavor.save_model(model, tmp_path / "m", skops_trusted_types=[name], pip_requirements=["parsgd"])
        again = flavor.load_model(str(tmp_path / "m"))
    same(vars(again), vars(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
