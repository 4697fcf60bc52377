"""learning_rate="auto": invariance under scaling, weights, outliers, engines, merges, stored models."""

import copy
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

import parsgd
from parsgd import LocalSGD, SGDClassifier, SGDOneClassSVM, SGDRegressor
from parsgd.errors import IncompatiblePartsError, InvalidArgumentError
from parsgd.estimators.linear.feature_statistics import FeatureStatistics, statistics_of
from parsgd.estimators.training_data import InMemoryData
from parsgd.kernels import losses
from parsgd.testing.problems import labels, targets

SETTINGS = {"learning_rate": "auto", "max_iter": 3, "tol": None, "random_state": 0, "n_jobs": 1}
# every loss of both estimators
KINDS = {"classifier": (SGDClassifier, losses.CLASSIFIER), "regressor": (SGDRegressor, losses.REGRESSOR)}
PAIRS = [(kind, loss) for kind, (_, serves) in KINDS.items() for loss in losses.names(serves)]


def rows(layout, dtype=np.float64, n_rows=400):
    X = np.random.default_rng(0).standard_normal((n_rows, 12)) + 3.0
    if layout == "csr":
        X = sparse.random(n_rows, 30, 0.2, format="csr", random_state=0)
    return X.astype(dtype)


def dense(X):
    return X.toarray() if sparse.issparse(X) else X


def fitted(loss, X, y, kind="classifier", **changes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return KINDS[kind][0](loss, **SETTINGS | changes).fit(X, y)


def outputs(model, X):
    """Return the decision values; the mean of a Poisson regression is their exponential, which may overflow."""
    return X @ model.coef_ + model.intercept_ if isinstance(model, SGDRegressor) else model.decision_function(X)


def problem(kind, layout, dtype=np.float64):
    """Return rows, and three classes or targets of 0 or more, some of which are 0."""
    X = rows(layout, dtype)
    if kind == "classifier":
        return X, labels(dense(X), 3)
    y = targets(dense(X))
    return X, np.maximum(y - np.quantile(y, 0.1), 0.0).astype(dtype)


@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize(("kind", "loss"), PAIRS)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("penalty", [None, "l2", "elasticnet"])
@pytest.mark.cover(2)
def test_powers_of_two_change_no_prediction(kind, loss, layout, penalty, fit_intercept):
    X, y = problem(kind, layout)
    factors = 2.0 ** np.random.default_rng(1).integers(-20, 20, X.shape[1])
    scaled = X.multiply(factors).tocsr() if layout == "csr" else X * factors
    changes = {"penalty": penalty, "fit_intercept": fit_intercept}
    one, two = (fitted(loss, each, y, kind, **changes) for each in (X, scaled))
    assert np.allclose(outputs(one, X), outputs(two, scaled), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", ["dense", "csr"])
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_scaling_columns_changes_predictions_by_less_than_one_percent(layout, dtype, data):
    X, y = problem("classifier", layout, dtype)
    powers = data.draw(st.lists(st.integers(-4, 4), min_size=X.shape[1], max_size=X.shape[1]))
    factors = (10.0 ** np.array(powers)).astype(dtype)
    scaled = X.multiply(factors).tocsr().astype(dtype) if layout == "csr" else X * factors
    one, two = (outputs(fitted("log_loss", rows, y), rows) for rows in (X, scaled))
    assert np.abs(one - two).max() < 0.01 * np.abs(one).max()


def test_shifting_dense_columns_changes_little():
    X, y = problem("classifier", "dense")
    one, two = (outputs(fitted("log_loss", rows, y), rows) for rows in (X, X + 1000.0))
    assert np.abs(one - two).max() < 1e-6 * np.abs(one).max()


@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("kind", "loss"), PAIRS)
def test_every_loss_learns(kind, loss, layout, fit_intercept):
    X, y = problem(kind, layout)
    model = fitted(loss, X, y, kind, fit_intercept=fit_intercept, max_iter=20)
    if kind == "classifier":
        plain = fitted(loss, X - 3.0 if layout == "dense" else X, y, learning_rate="adagrad", eta0=0.1, max_iter=20)
        assert model.score(X, y) > 0.8 * plain.score(X - 3.0 if layout == "dense" else X, y)
    else:
        assert np.corrcoef(model.predict(X), y)[0, 1] > 0.8


@pytest.mark.parametrize("power", [-6, 6])
def test_predictions_of_a_regression_follow_the_scale_of_its_targets(power):
    X, y = problem("regressor", "dense")
    one, two = fitted("squared_error", X, y, "regressor"), fitted("squared_error", X, 10.0**power * y, "regressor")
    assert np.allclose(10.0**power * one.predict(X), two.predict(X), rtol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("kind", "loss"), PAIRS)
@pytest.mark.cover(2)
def test_no_finite_input_diverges(kind, loss, layout, dtype, fit_intercept):
    """Outliers of 1e8 in the rows, in a later call of partial_fit, and with large weights."""
    X, y = problem(kind, layout, dtype)
    rng = np.random.default_rng(0)
    model = fitted(loss, X, y, kind, fit_intercept=fit_intercept)
    wild = dense(X).copy()
    places = rng.integers(0, wild.shape[1], len(wild))
    wild[np.arange(len(wild)), places] = rng.choice([-1e8, 1e8, 1e-8], len(wild))
    wild = sparse.csr_matrix(wild) if layout == "csr" else wild
    model.partial_fit(wild, y, sample_weight=np.where(rng.random(len(y)) < 0.1, 1e6, 1.0))
    again = fitted(loss, wild, y, kind, fit_intercept=fit_intercept)
    for found in (model, again):
        assert np.isfinite(found.coef_).all()
        assert np.isfinite(outputs(found, wild)).all()


@pytest.mark.parametrize(
    ("kind", "loss"), [("classifier", "log_loss"), ("classifier", "hinge"), ("regressor", "squared_error")]
)
def test_a_weight_is_that_many_visits_while_steps_are_small(kind, loss):
    X, y = problem(kind, "dense")
    # noise keeps the gradients large, and so the steps small
    y = y + np.random.default_rng(2).standard_normal(len(y)) if kind == "regressor" else labels(X, 2)
    # the penalty counts steps, not weights
    start = fitted(loss, np.tile(X, (50, 1)), np.tile(y, 50), kind, penalty=None)
    before = np.append(start.coef_, start.intercept_)
    moves = []
    for weight, times in ((3.0, 1), (1.0, 3)):
        model = copy.deepcopy(start).set_params(shuffle=False)
        for _ in range(times):
            model.partial_fit(X[:1], y[:1], sample_weight=np.full(1, weight))
        moves.append(np.append(model.coef_, model.intercept_) - before)
    size = np.abs(moves[1]).max()
    assert np.abs(moves[0] - moves[1]).max() <= 0.05 * size + 1e-12


@pytest.mark.parametrize("engine", ["threads", "processes", "simulated"])
@pytest.mark.parametrize(
    ("kind", "loss"), [("classifier", "log_loss"), ("classifier", "softmax"), ("regressor", "squared_error")]
)
def test_engines_agree_to_the_bit(engine, kind, loss):
    X, y = problem(kind, "csr", np.float32)
    settings = {"n_jobs": 2, "algorithm": LocalSGD(0.5)}
    one, two = (fitted(loss, X, y, kind, engine=each, **settings) for each in ("serial", engine))
    assert np.array_equal(one.coef_, two.coef_)


@pytest.mark.parametrize("rule", ["uniform", "coordinate"])
@pytest.mark.parametrize("n_workers", [2, 8])
def test_workers_learn_about_what_one_does(rule, n_workers):
    X, y = load_digits(return_X_y=True)
    algorithm = LocalSGD(0.1, rule=rule)
    found = fitted(
        "softmax", sparse.csr_matrix(X), y, n_jobs=n_workers, engine="serial", algorithm=algorithm, max_iter=10
    )
    assert found.score(sparse.csr_matrix(X), y) > 0.93


def test_raw_data_are_fitted_without_a_setting():
    X, y = load_breast_cancer(return_X_y=True)
    assert fitted("log_loss", X, y).score(X, y) > 0.95
    X, y = load_diabetes(return_X_y=True, scaled=False)
    assert fitted("squared_error", X, y, "regressor", max_iter=20).score(X, y) > 0.45


def test_statistics_of_parts_add_up():
    X, y = rows("dense", n_rows=50), targets(rows("dense", n_rows=50))

    def of(part):
        return statistics_of(InMemoryData(X[part], None, None, y[part], np.zeros(0)), 0)

    whole, parts = of(slice(None)), of(slice(20)) + of(slice(20, None))
    assert whole.n == parts.n == 50
    assert np.allclose(whole.features, parts.features)
    assert np.allclose(whole.target, parts.target)
    assert np.allclose(whole.features[0], X.mean(axis=0))
    assert np.allclose(whole.features[1] / 50, X.var(axis=0))
    scales, rate = whole.scales(np.float64, True, True)
    z = (X - scales.center) * scales.inverse_scale
    assert np.abs(z).max(axis=0) == pytest.approx(np.ones(12))
    assert rate == pytest.approx((1.0 + (z**2).sum(axis=1).mean()) ** -0.5)


def test_a_constant_column_has_no_weight():
    X = rows("dense")
    y = labels(X, 2)
    X[:, 3] = 0.1
    model = fitted("log_loss", X, y)
    assert model.coef_[0, 3] == 0.0


@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_partial_fit_continues_and_files_keep_the_statistics(tmp_path, layout):
    X, y = problem("classifier", layout)
    model = SGDClassifier("log_loss", **SETTINGS)
    model.partial_fit(X[:200], y[:200], classes=np.unique(y))
    path = tmp_path / "model.parsgd"
    parsgd.save(model, path)
    loaded = parsgd.load(path)
    for each in (model, loaded):
        each.partial_fit(X[200:], y[200:])
    assert np.array_equal(model.coef_, loaded.coef_)
    whole = FeatureStatistics(400.0, model._feature_moments, model._target_moments[1:])
    assert np.allclose(whole.features[0], X.mean(axis=0) if layout == "dense" else 0.0)
    theirs = model.to_sklearn()
    assert np.array_equal(theirs.predict(X), model.predict(X))


def test_a_checkpoint_resumes_to_the_same_bits(tmp_path):
    X, y = problem("classifier", "dense")
    settings = {"n_jobs": 2, "algorithm": LocalSGD(0.5), "engine": "serial", "max_iter": 6}
    whole = fitted("log_loss", X, y, **settings)
    checkpoint = parsgd.Checkpoint(tmp_path, seconds=0.0)
    fitted("log_loss", X, y, **settings | {"max_iter": 3, "checkpoint": checkpoint})
    model = SGDClassifier("log_loss", **SETTINGS | settings, checkpoint=checkpoint).fit(X, y, resume=True)
    assert model.resumed_from_ is not None
    assert np.array_equal(model.coef_, whole.coef_)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"average": True}, "average=True does not work with learning_rate='auto'"),
        ({"batch_size": 8}, "batch_size=8 does not work"),
        ({"algorithm": "minibatch", "n_jobs": 2}, "limits the step of each row"),
        ({"algorithm": "hogwild", "n_jobs": 2, "engine": "threads"}, "delays each weight's penalty"),
    ],
)
def test_what_does_not_work_is_refused(changes, message):
    X, y = problem("classifier", "dense")
    with pytest.raises((InvalidArgumentError, IncompatiblePartsError), match=message):
        SGDClassifier("log_loss", **SETTINGS | changes).fit(X, y)
    with pytest.raises(InvalidArgumentError, match="learning_rate"):
        SGDOneClassSVM(learning_rate="auto").fit(X)
    with pytest.raises(InvalidArgumentError, match="sample weights of 0 or more"):
        SGDClassifier("log_loss", **SETTINGS).fit(X, y, sample_weight=np.linspace(-1.0, 1.0, len(y)))


def test_a_stream_takes_its_scales_from_drawn_rows(tmp_path):
    X = np.random.default_rng(0).standard_normal((2000, 4)) * [1.0, 1e3, 1e-3, 5.0]
    y = 2.0 * X[:, 1] + 100.0
    path = tmp_path / "rows.csv"
    np.savetxt(path, np.column_stack([X, y]), delimiter=",", header="a,b,c,d,y", comments="")
    dataset = parsgd.open_dataset(path, target="y")
    for model in (
        SGDRegressor(**SETTINGS | {"max_iter": 5}).fit(dataset),
        SGDRegressor(**SETTINGS).partial_fit(dataset).partial_fit(dataset).partial_fit(dataset),
    ):
        assert model.score(X.astype(np.float32), y) > 0.99
        assert model._target_moments[0] >= 1999
