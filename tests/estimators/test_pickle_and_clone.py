"""Copies of estimators, by pickle, ``copy`` and scikit-learn's ``clone``: they predict the same and go on alike."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

import parsgd
from parsgd.kernels.losses import CLASSIFIER, names

# all fits here are of two passes
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SHORT = {"max_iter": 2, "tol": None, "random_state": 0, "n_jobs": 1}
ROWS = np.random.default_rng(0).normal(size=(60, 5))
LABELS = np.argsort(np.argsort(ROWS[:, 0])) // 20
PROTOCOLS = st.integers(2, pickle.HIGHEST_PROTOCOL)
METHODS = ("predict", "decision_function", "predict_proba")


class Softened:
    """A loss from a module: |p - y| smoothed to ``sqrt((p - y)^2 + width^2)``."""

    def __init__(self, width=1.0):
        self.width = width

    def loss(self, y, p):
        return ((p - y) ** 2 + self.width**2) ** 0.5

    def gradient(self, y, p):
        return (p - y) / ((p - y) ** 2 + self.width**2) ** 0.5

    def __repr__(self):
        return f"Softened({self.width})"


def check_same(again, model, X):
    assert type(again) is type(model)
    assert vars(again).keys() == vars(model).keys()
    for method in METHODS:
        if hasattr(model, method):
            np.testing.assert_array_equal(getattr(again, method)(X), getattr(model, method)(X))


@given(st.sampled_from(names(CLASSIFIER)), st.sampled_from([np.float32, np.float64]), PROTOCOLS)
def test_pickled_classifiers_predict_the_same_and_go_on_alike(loss, dtype, protocol):
    X = ROWS.astype(dtype)
    model = parsgd.SGDClassifier(loss, average=5, **SHORT).fit(X, LABELS)
    again = pickle.loads(pickle.dumps(model, protocol))
    check_same(again, model, X)
    assert again.get_params() == model.get_params()
    np.testing.assert_array_equal(again.partial_fit(X, LABELS).coef_, model.partial_fit(X, LABELS).coef_)


OTHERS = [
    parsgd.SGDRegressor("huber", **SHORT),
    parsgd.SGDRegressor(Softened(0.5), **SHORT),
    parsgd.SGDOneClassSVM(**SHORT),
    parsgd.SGDClassifier(algorithm=parsgd.LocalSGD(0.5, outer_optimizer="momentum"), **(SHORT | {"n_jobs": 2})),
    parsgd.SGDRegressor(engine=parsgd.Simulated(speeds=[1.0, 0.5]), **(SHORT | {"n_jobs": 2})),
    parsgd.MLPClassifier((4,), "gelu", max_iter=2, random_state=0),
    parsgd.MLPRegressor(max_iter=2, solver="adamw"),
    parsgd.MLPClassifier((4,), early_stopping=True, solver="sgd", max_iter=2, learning_rate="adaptive"),
]


@pytest.mark.cover(1)
@pytest.mark.parametrize("model", OTHERS, ids=lambda model: str(model)[:70])
@pytest.mark.parametrize("copied", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy, copy.copy], ids="pdc")
def test_copies_predict_the_same(model, copied):
    model = clone(model).fit(ROWS, LABELS)
    again = copied(model)
    check_same(again, model, ROWS)
    assert again.get_params().keys() == model.get_params().keys()
    assert repr(again) == repr(model)


@pytest.mark.parametrize("model", OTHERS, ids=lambda model: str(model)[:70])
def test_a_deep_copy_shares_no_memory_and_a_clone_is_not_fitted(model):
    model = clone(model).fit(ROWS, LABELS)
    coefs = model.coefs_[0] if hasattr(model, "coefs_") else model.coef_
    before, again = coefs.copy(), copy.deepcopy(model)
    for array in again.coefs_ if hasattr(again, "coefs_") else [again.coef_]:
        array[...] = 0
    np.testing.assert_array_equal(coefs, before)
    fresh = clone(model)
    assert not {"coef_", "coefs_", "t_"} & vars(fresh).keys()
    assert repr(fresh) == repr(model)


def test_what_was_copied_in_mid_course_goes_on_alike():
    model = parsgd.MLPClassifier((4,), random_state=0, batch_size=20).partial_fit(ROWS, LABELS, classes=[0, 1, 2])
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        again.partial_fit(ROWS, LABELS)
        expected = copy.deepcopy(model).partial_fit(ROWS, LABELS)
        for ours, theirs in zip(again.coefs_, expected.coefs_, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_model_with_its_own_loss_is_unpickled_by_another_process(tmp_path):
    """What the file needs is the module of the loss, and nothing of what the fit compiled."""
    (tmp_path / "own.py").write_text(
        "class Squared:\n"
        "    def loss(self, y, p):\n        return 0.5 * (p - y) ** 2\n"
        "    def gradient(self, y, p):\n        return p - y\n"
    )
    script = (
        "import pickle, sys, numpy as np; sys.path.insert(0, sys.argv[1])\n"
        "model = pickle.load(open(sys.argv[1] + '/m.pickle', 'rb'))\n"
        "print(repr(model.predict(np.eye(5)).tolist()), type(model.loss).__module__)\n"
        "assert 'numba' not in sys.modules\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        import own

        # as if it had been fitted with it, without the time that compiling takes
        model = parsgd.SGDRegressor(**SHORT).fit(ROWS, LABELS).set_params(loss=own.Squared())
        (tmp_path / "m.pickle").write_bytes(pickle.dumps(model))
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("own", None)
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("] ") == [repr(model.predict(np.eye(5)).tolist())[:-1], "own\n"]
