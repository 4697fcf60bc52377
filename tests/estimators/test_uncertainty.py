"""Standard errors of linear models are those of closed formulas, cover the truth, and are refused where invalid."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, sparse, special, stats

import parsgd
from parsgd import SGDClassifier, SGDOneClassSVM, SGDRegressor
from parsgd.errors import InvalidArgumentError, ModelFileError
from parsgd.estimators.linear.uncertainty import refusals
from parsgd.estimators.linear.uncertainty.uncertain_linear import UNCERTAINTY
from parsgd.kernels import losses

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
FIT = {"penalty": None, "tol": None, "max_iter": 20, "random_state": 0, "n_jobs": 1}
LOSSES = [loss for loss in losses.BUILTIN if loss.curvature is not None]


def problem(loss="squared_error", n=600, d=3, seed=0):
    """Rows, and targets that suit the loss."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, d))
    score = 0.3 + X @ (np.where(np.arange(d) % 2, -1.0, 1.0) / np.sqrt(d))
    if losses.REGRESSOR not in losses.describe(loss).serves:
        return X, (random.random(n) < special.expit(score)).astype(int)
    if loss == "poisson":
        return X, random.poisson(np.exp(0.5 * score)).astype(float)
    return X, score + (0.5 + np.abs(X[:, 0])) * random.normal(size=n)


def estimator(loss, **settings):
    serves = losses.describe(loss).serves
    cls = SGDRegressor if losses.REGRESSOR in serves else SGDClassifier
    return cls(loss, **{**FIT, "average": 600, "learning_rate": "constant", "eta0": 0.01, **settings})


def fitted(loss="squared_error", correct=True, weight=None, **settings):
    X, y = problem(loss)
    model = estimator(loss, **settings).fit(X, y, sample_weight=weight)
    return model.estimate_uncertainty(X, y, weight, correct=correct), X, y


def signs(y):
    return 2.0 * y - 1.0


def with_ones(X):
    return np.column_stack([X, np.ones(len(X))])


def parameters(model):
    return np.append(model.coef_, model.intercept_)


# -- closed formulas -----------------------------------------------------------------------------------------


def test_a_regression_has_the_covariance_of_white():
    weight = np.random.default_rng(5).uniform(0.5, 2.0, 600)
    model, X, y = fitted(weight=weight)
    z = with_ones(X)
    inverse = np.linalg.inv((z * weight[:, None]).T @ z)
    best = inverse @ (z * weight[:, None]).T @ y
    scores = z * (weight * (y - z @ best))[:, None]
    theirs = len(y) / (len(y) - 4) * inverse @ scores.T @ scores @ inverse
    np.testing.assert_allclose(parameters(model), best, atol=1e-10)
    np.testing.assert_allclose(model.covariance_, theirs, rtol=1e-6)
    np.testing.assert_allclose(model.coef_std_, np.sqrt(np.diag(theirs))[:-1], rtol=1e-6)
    np.testing.assert_allclose(model.intercept_std_, np.sqrt(theirs[-1:, -1]), rtol=1e-6)
    t = stats.t.ppf(0.95, len(y) - 4)
    np.testing.assert_allclose(model.coef_interval(0.9)[:, 1], model.coef_ + t * model.coef_std_, rtol=1e-12)


def test_a_classifier_has_the_sandwich_at_the_maximum_of_the_likelihood():
    model, X, y = fitted("log_loss")
    z, s = with_ones(X), signs(y)
    best = optimize.minimize(lambda w: np.logaddexp(0.0, -s * (z @ w)).sum(), np.zeros(4), tol=1e-12).x
    chances = special.expit(z @ best)
    inverse = np.linalg.inv((z * (chances * (1 - chances))[:, None]).T @ z)
    scores = z * (chances - y)[:, None]
    theirs = len(y) / (len(y) - 4) * inverse @ scores.T @ scores @ inverse
    # Newton steps end at 0.01 standard errors
    np.testing.assert_allclose(parameters(model), best, atol=1e-3)
    np.testing.assert_allclose(model.covariance_, theirs, rtol=1e-2, atol=1e-5)
    assert model.coef_std_.shape == (1, 3)
    assert model.intercept_std_.shape == (1,)
    assert model.coef_interval().shape == (1, 3, 2)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_a_curvature_is_the_finite_difference_of_the_gradient(loss):
    random, h = np.random.default_rng(0), 1e-6
    p, parameter = random.normal(size=(400, 1)) * 3, 0.7
    classes = losses.REGRESSOR not in loss.serves
    y = random.choice([-1.0, 1.0], 400) if classes else random.poisson(2.0, 400) + random.random(400)
    model = parsgd.estimators.linear.sgd_base.Linear(1, loss=loss.name, loss_parameter=parameter)
    slope = (model.losses(p + h, y)[1] - model.losses(p - h, y)[1]) / (2 * h)
    ours = loss.curvature(parameter, y[:, None], p)
    assert ours.shape == p.shape
    np.testing.assert_allclose(ours, slope, rtol=1e-5, atol=1e-6)
    assert (ours > 0).any()


@pytest.mark.parametrize("loss", [loss.name for loss in LOSSES])
def test_every_smooth_loss_has_standard_errors_at_its_optimum(loss):
    model, X, y = fitted(loss, epsilon=0.5)
    assert (model.coef_std_ > 0).all()
    described = losses.describe(loss)
    z, target = with_ones(X), y if isinstance(model, SGDRegressor) else signs(y)
    linear = parsgd.estimators.linear.sgd_base.Linear(3, loss=loss, loss_parameter=model._loss_parameter())
    gradient = linear.losses((z @ parameters(model))[:, None], target)[1]
    hessian = (z * described.curvature(0.5, target[:, None], (z @ parameters(model))[:, None])).T @ z
    shift = np.linalg.solve(hessian, z.T @ gradient[:, 0])
    assert (np.abs(shift) <= 0.25 * np.sqrt(np.diag(model.covariance_))).all()


def test_classes_have_the_standard_errors_of_separate_fits():
    X, _ = problem()
    y = np.argmax(X + np.random.default_rng(1).gumbel(size=X.shape), axis=1)
    weight = np.random.default_rng(2).integers(1, 4, len(y)).astype(float)
    model = estimator("log_loss", class_weight={0: 1.0, 1: 2.0, 2: 0.5}).fit(X, y, sample_weight=weight)
    model.estimate_uncertainty(X, y, weight, correct=True)
    assert model.covariance_.shape == (3, 4, 4)
    for k, factor in enumerate((1.0, 2.0, 0.5)):
        # the class weight of a row counts in the problem of its own class only
        single = estimator("log_loss").fit(X, y == k)
        single.estimate_uncertainty(X, y == k, weight * np.where(y == k, factor, 1.0), correct=True)
        np.testing.assert_allclose(model.coef_std_[k], single.coef_std_[0], rtol=1e-2)
    interval = model.predict_interval(X[:5])
    assert interval.shape == (5, 3, 2)
    np.testing.assert_allclose(interval.mean(axis=-1), model.decision_function(X[:5]))


# -- one result for one content ------------------------------------------------------------------------------


def test_csr_rows_and_float32_give_the_same_standard_errors():
    model, X, y = fitted()
    for rows in (sparse.csr_matrix(X), X.astype(np.float32), pd.DataFrame(X)):
        other = estimator("squared_error").fit(X, y).estimate_uncertainty(rows, y, correct=True)
        np.testing.assert_allclose(other.coef_std_, model.coef_std_, rtol=1e-5)
        np.testing.assert_allclose(other.predict_interval(rows), model.predict_interval(X), rtol=1e-4, atol=1e-4)


def test_a_dataset_gives_the_standard_errors_of_its_rows():
    X, y = problem()
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y))
    table = pd.DataFrame(X, columns=["a", "b", "c"]).assign(y=y, w=weight)
    data = parsgd.open_dataset(table, target="y", weight="w", dtype="float64")
    streamed = estimator("squared_error").fit(data).estimate_uncertainty(data, correct=True)
    x = np.concatenate([block.x for block in data.blocks()])
    ours = estimator("squared_error").fit(x, y, sample_weight=weight)
    ours.estimate_uncertainty(x, y, weight, correct=True)
    np.testing.assert_allclose(streamed.coef_std_, ours.coef_std_, rtol=1e-5)
    np.testing.assert_allclose(streamed.predict_interval(data), ours.predict_interval(x), rtol=1e-5)


def test_many_blocks_sum_to_one(monkeypatch):
    model, X, y = fitted("log_loss")
    monkeypatch.setattr("parsgd.estimators.linear.uncertainty.score_sums._BLOCK_VALUES", 50)
    monkeypatch.setattr("parsgd.estimators.linear.uncertainty.uncertain_linear._PRODUCT_VALUES", 50)
    other = estimator("log_loss").fit(X, y).estimate_uncertainty(X, y, correct=True)
    np.testing.assert_allclose(other.covariance_, model.covariance_, rtol=1e-9)
    np.testing.assert_allclose(other.predict_interval(X), model.predict_interval(X), rtol=1e-9)


def test_a_model_without_intercept_has_none_in_its_covariance():
    model, _, _ = fitted(fit_intercept=False)
    assert model.intercept_std_ == [0.0]
    assert not model.covariance_[-1].any()
    assert not model.covariance_[:, -1].any()
    assert (model.predict_interval(np.zeros((1, 3))) == 0.0).all()


# -- coverage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
def test_intervals_cover_the_true_coefficients(loss):
    truth, covered, new = np.array([1.0, -1.0, 1.0]) / np.sqrt(3), [], []
    for seed in range(150):
        X, y = problem(loss, 400, seed=seed)
        model = estimator(loss, average=400).fit(X, y).estimate_uncertainty(X, y, correct=True)
        low, high = np.moveaxis(model.coef_interval(), -1, 0)
        covered.append(((low <= truth) & (truth <= high)).ravel())
        if loss == "squared_error":
            rows, targets = problem(loss, 100, seed=10_000 + seed)
            low, high = model.predict_interval(rows, 0.9, kind="observation").T
            new.append((low <= targets) & (targets <= high))
    # 450 decisions, of which coefficients of one fit are nearly independent: 3 standard deviations are 3.1 %
    assert 0.91 <= np.mean(covered) <= 0.985
    if new:
        assert 0.88 <= np.mean(new) <= 0.92


def test_prediction_intervals_are_those_of_the_covariance():
    model, X, _ = fitted()
    z, t = with_ones(X[:7]), stats.t.ppf(0.975, len(X) - 4)
    half = t * np.sqrt(np.einsum("ij,jk,ik->i", z, model.covariance_, z))
    ours = model.predict_interval(X[:7])
    np.testing.assert_allclose(ours, model.predict(X[:7])[:, None] + np.outer(half, [-1, 1]))
    wider = model.predict_interval(X[:7], kind="observation")
    assert (wider[:, 0] < ours[:, 0]).all()
    assert (ours[:, 1] < wider[:, 1]).all()


def test_intervals_of_means_and_probabilities_are_those_of_decision_values():
    model, X, _ = fitted("poisson")
    assert (model.predict_interval(X) > 0).all()
    np.testing.assert_allclose(np.log(model.predict_interval(X)).mean(axis=1), np.log(model.predict(X)))
    model, X, _ = fitted("log_loss")
    low, high = model.predict_interval(X, kind="probability").T
    chances = model.predict_proba(X)[:, 1]
    assert ((low < chances) & (chances < high)).all()
    np.testing.assert_allclose(special.logit(low), model.predict_interval(X)[:, 0])


# -- refusals ------------------------------------------------------------------------------------------------


def refused(message, model, X, y, *arguments, **settings):
    """Assert that standard errors are refused, and leave nothing behind."""
    before = {name: np.copy(value) for name, value in vars(model).items() if name in ("coef_", "intercept_")}
    with pytest.raises(InvalidArgumentError, match=message):
        model.estimate_uncertainty(X, y, *arguments, **settings)
    assert not set(UNCERTAINTY) & set(vars(model))
    assert all((vars(model)[name] == value).all() for name, value in before.items())


@pytest.mark.parametrize("loss", ["hinge", "perceptron", "epsilon_insensitive", "quantile"])
def test_a_loss_without_second_derivative_is_refused(loss):
    X, y = problem("log_loss" if losses.REGRESSOR not in losses.describe(loss).serves else "squared_error")
    refused("has no second derivative", estimator(loss).fit(X, y), X, y)


class Absolute:
    def loss(self, y, p):
        return abs(y - p)

    def gradient(self, y, p):
        return 1.0 if p > y else -1.0


def test_a_users_loss_is_refused():
    X, y = problem()
    refused("Absolute' has no second derivative", SGDRegressor(Absolute(), **FIT).fit(X, y), X, y)


def test_softmax_is_refused():
    X, y = problem("log_loss")
    refused("differences of the classes", estimator("softmax").fit(X, y), X, y)


@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
def test_a_penalty_that_selects_is_refused(penalty):
    X, y = problem()
    refused("selects features", estimator("squared_error", penalty=penalty).fit(X, y), X, y)


def test_a_penalty_is_refused_above_the_alpha_in_the_message():
    X, y = problem()
    model = estimator("squared_error", penalty="l2", alpha=0.1).fit(X, y)
    with pytest.raises(InvalidArgumentError, match=r"with alpha of at most (\S+) \(it is 0.1\)") as error:
        model.estimate_uncertainty(X, y, correct=True)
    allowed = float(str(error.value).split("at most ")[-1].split()[0])
    model.set_params(alpha=allowed).fit(X, y).estimate_uncertainty(X, y, correct=True)
    refused("the penalty moves", model.set_params(alpha=4 * allowed).fit(X, y), X, y, correct=True)


def test_a_fit_that_has_not_converged_is_refused():
    X, y = problem()
    model = estimator("squared_error", max_iter=1, average=False).fit(X, y)
    refused("standard errors from the optimum for these rows", model, X, y)
    before = model.coef_.copy()
    model.estimate_uncertainty(X, y, correct=True)
    assert not np.allclose(model.coef_, before, atol=1e-3)


def test_other_rows_are_refused():
    X, y = problem()
    refused("Pass all rows of the fit", estimator("squared_error").fit(X, y), *problem(seed=1))


def test_separable_classes_are_refused():
    X, _ = problem()
    y = (X[:, 0] > 0).astype(int)
    refused("standard errors from the optimum", estimator("log_loss").fit(X, y), X, y, correct=True)


def test_collinear_and_constant_columns_are_refused_by_name():
    X, y = problem()
    twice = pd.DataFrame(np.column_stack([X, X[:, 0] - X[:, 2]]), columns=["a", "b", "c", "difference"])
    model = estimator("squared_error").fit(twice, y)
    with pytest.raises(InvalidArgumentError, match="collinear") as error:
        model.estimate_uncertainty(twice, y)
    named = str(error.value).split("determined: ")[1].split(". Remove")[0]
    assert set(named.split(", ")) == {"a", "c", "difference"}
    refused("the intercept", (ones := estimator("squared_error")).fit(with_ones(X), y), with_ones(X), y)
    assert "coef_std_" not in vars(ones)
    empty = np.column_stack([X, np.zeros(len(y))])
    refused("column 3 is 0 in every row", estimator("squared_error").fit(empty, y), empty, y)


def test_columns_whose_squares_overflow_are_refused():
    X, y = problem()
    refused("overflow", estimator("squared_error", eta0=1e-300).fit(X, y), X * 1e200, y)


def test_few_rows_are_refused():
    X, y = problem(n=39)
    refused("at least 40 rows, 10 per coefficient", estimator("squared_error").fit(X, y), X, y)
    X, y = problem("log_loss")
    y[:] = np.arange(len(y)) < 39
    refused("at least 40 rows of the rarer class", estimator("log_loss").fit(X, y), X, y)
    X, y = problem()
    weight = (np.arange(len(y)) < 39).astype(float)
    refused("at least 40 rows", estimator("squared_error").fit(X, y, sample_weight=weight), X, y, weight)


def test_large_matrices_are_refused_before_work():
    X = sparse.csr_matrix((3, 5000))
    model = estimator("squared_error").fit(X, np.zeros(3))
    with pytest.raises(InvalidArgumentError, match=r"at most ([\d,]+) fit") as error:
        model.estimate_uncertainty(X, np.zeros(3))
    largest = int(str(error.value).split("at most ")[2].split(" fit")[0].replace(",", ""))
    refusals.check_memory(largest, 1, "SGDRegressor")
    assert 7 * 8 * (largest + 1) ** 2 <= 2**30 < 7 * 8 * (largest + 2) ** 2


def test_negative_weights_are_refused():
    X, y = problem()
    weight = np.ones(len(y))
    weight[3] = -1.0
    refused("sample weights >= 0", estimator("squared_error").fit(X, y), X, y, weight)


def test_wrong_arguments_are_refused_by_name():
    model, X, y = fitted()
    for level in (0, 1, 95, "95", None):
        with pytest.raises(InvalidArgumentError, match="level of coef_interval must be a number between 0 and 1"):
            model.coef_interval(level)
    with pytest.raises(InvalidArgumentError, match="'kind' parameter of predict_interval"):
        model.predict_interval(X, kind="probability")
    with pytest.raises(InvalidArgumentError, match=r"at most 0\.99"):
        model.predict_interval(X, 0.999, kind="observation")
    with pytest.raises(InvalidArgumentError, match="'correct' parameter"):
        model.estimate_uncertainty(X, y, correct=1)
    with pytest.raises(ValueError, match="features"):
        model.predict_interval(X[:, :2])
    with pytest.raises(InvalidArgumentError, match="call estimate_uncertainty"):
        estimator("squared_error").fit(X, y).predict_interval(X)
    poisson, X, _ = fitted("poisson")
    with pytest.raises(InvalidArgumentError, match="noise depends on the mean"):
        poisson.predict_interval(X, kind="observation")
    hinge, X, _ = fitted("squared_hinge")
    with pytest.raises(InvalidArgumentError, match="needs loss='log_loss'"):
        hinge.predict_interval(X, kind="probability")
    assert not hasattr(SGDOneClassSVM, "estimate_uncertainty")


# -- life of the attributes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("again", ["fit", "partial_fit"])
def test_a_new_fit_deletes_the_standard_errors(again):
    model, X, y = fitted()
    getattr(model, again)(X, y)
    assert not set(UNCERTAINTY) & set(vars(model))


@pytest.mark.parametrize("average", [False, 600, True])
def test_a_correction_is_where_partial_fit_starts(average):
    model, X, y = fitted(average=average, max_iter=5)
    start = model.coef_.copy()
    model.set_params(eta0=1e-9).partial_fit(X, y)
    np.testing.assert_allclose(model.coef_, start, atol=1e-5)


def test_pickles_and_model_files_keep_the_standard_errors(tmp_path):
    for loss in ("squared_error", "log_loss"):
        model, X, _ = fitted(loss)
        parsgd.save(model, tmp_path / "model")
        for again in (pickle.loads(pickle.dumps(model)), parsgd.load(tmp_path / "model")):
            for name in set(UNCERTAINTY) & set(vars(model)):
                np.testing.assert_array_equal(getattr(again, name), getattr(model, name))
            np.testing.assert_array_equal(again.predict_interval(X), model.predict_interval(X))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("coef_std_", np.zeros(2)),
        ("covariance_", np.full((4, 4), np.nan)),
        ("_degrees", "many"),
        ("intercept_std_", None),
    ],
    ids=["shape", "NaN", "text", "missing"],
)
def test_a_model_file_with_invalid_standard_errors_is_refused(name, value, tmp_path):
    model, _, _ = fitted()
    vars(model).update({name: value})
    if value is None:
        del vars(model)[name]
    parsgd.save(model, tmp_path / "model")
    with pytest.raises(ModelFileError, match=name):
        parsgd.load(tmp_path / "model")


def test_averages_of_models_have_no_standard_errors():
    model, _, _ = fitted()
    assert not set(UNCERTAINTY) & set(vars(parsgd.average_models([model, model])))
