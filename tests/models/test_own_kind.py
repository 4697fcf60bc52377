"""A loss and a kind of model are added from outside by registration, and do what the built-in ones do."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin

import parsgd
from parsgd.core import PlainModel, Totals
from parsgd.errors import InvalidArgumentError, ModelFileError
from parsgd.estimators import auto_select, kinds
from parsgd.estimators.fitted.attribute_checks import problems_of_array
from parsgd.estimators.kinds import sum_arrays
from parsgd.kernels import losses
from parsgd.models.linear.linear_model import Linear
from parsgd.models.row_matrix import as_matrix, matrix_of
from parsgd.testing import check_model
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.training import loop
from parsgd.training.stopping import StoppingRule
from parsgd.utils.row_arrays import rows_of

X = unit_rows(400, 4)
Y = targets(X)
QUICK = {"max_iter": 5, "tol": None, "random_state": 0}

# -- a loss --------------------------------------------------------------------------------------------------------


def log_cosh(width, y, p):
    """``width^2 log cosh(r / width)``: squared near 0, straight far away."""
    r = (p - y) / width
    e = math.exp(-2.0 * abs(r))
    return width * math.tanh(r), width * width * (abs(r) + math.log(0.5 * (1.0 + e))), 1.0


@pytest.fixture
def loss():
    """A loss that both estimators accept, with probabilities and a parameter."""
    sigmoid = losses.describe("log_loss").probability
    added = losses.Loss("log_cosh", log_cosh, ("classifier", "regressor"), parameter="epsilon", probability=sigmoid)
    losses.register(added)
    yield added
    losses.unregister("log_cosh")


def test_a_registered_loss_is_accepted_by_name_and_lowers_itself(loss):
    ours = parsgd.SGDRegressor("log_cosh", epsilon=0.5, **QUICK).fit(X, Y)
    value = np.mean([log_cosh(0.5, y, p)[1] for y, p in zip(Y, ours.predict(X), strict=True)])
    assert value < 0.5 * np.mean([log_cosh(0.5, y, 0.0)[1] for y in Y])


@pytest.mark.slow
def test_its_fits_are_those_of_the_same_loss_as_an_object(loss):
    class LogCosh:
        def __init__(self):
            self.width = 0.5

        def loss(self, y, p):
            r = abs(p - y) / self.width
            return self.width**2 * (r + math.log(0.5 * (1.0 + math.exp(-2.0 * r))))

        def gradient(self, y, p):
            return self.width * math.tanh((p - y) / self.width)

    ours, theirs = (
        parsgd.SGDRegressor(loss, epsilon=0.5, n_jobs=2, algorithm="local", **QUICK).fit(X, Y)
        for loss in ("log_cosh", LogCosh())
    )
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-9)


@pytest.mark.slow
def test_a_classifier_with_it_predicts_probabilities_of_several_classes(loss):
    ours = parsgd.SGDClassifier("log_cosh", epsilon=1.0, **QUICK).fit(X, labels(X, 3))
    np.testing.assert_allclose(ours.predict_proba(X).sum(axis=1), 1.0)


def test_it_is_saved_merged_and_converted(loss, tmp_path):
    parts = [parsgd.SGDRegressor("log_cosh", **QUICK).fit(X[i::2], Y[i::2]) for i in range(2)]
    parsgd.save(parts[0], tmp_path / "model")
    assert (parsgd.load(tmp_path / "model").predict(X) == parts[0].predict(X)).all()
    assert parsgd.average_models(parts, X_val=X, y_val=Y).score(X, Y) > 0.5
    assert (parts[0].to_sklearn().predict(X) == parts[0].predict(X)).all()


def test_without_registration_its_name_is_refused():
    with pytest.raises(InvalidArgumentError, match="loss"):
        parsgd.SGDRegressor("log_cosh").fit(X, Y)


def test_a_model_names_a_loss_that_is_not_registered():
    with pytest.raises(InvalidArgumentError, match="'log_cosh' is not known in this process"):
        Linear(4, loss="log_cosh").init(0)


def test_a_name_is_registered_once_and_built_in_losses_stay(loss):
    with pytest.raises(ValueError, match="exists"):
        losses.register(losses.Loss("hinge", log_cosh, ("classifier",)))
    with pytest.raises(ValueError, match="needs a formula"):
        losses.register(losses.Loss("empty"))
    with pytest.raises(ValueError, match="built in"):
        losses.unregister("hinge")


def test_the_codes_of_network_losses_are_those_of_the_kernels():
    from parsgd.kernels.network import outputs
    from parsgd.models.network.forward import LOSSES

    kernels = {"squared_error": "SQUARED", "absolute_error": "ABSOLUTE"}
    for name, one in LOSSES.items():
        assert one.code == getattr(outputs, kernels.get(name, name.upper()))


# -- a kind of model -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exponential(PlainModel):
    """``p = exp(x . w)`` with half the squared error, a model that is not linear; in NumPy."""

    n_features: int
    eta0: float = 0.1
    n_outputs = 1
    batch_size = 1
    dtype = "float64"
    loss = "squared_error"
    capabilities = frozenset({"gradients", "averaging"})

    @cached_property
    def size(self):
        return self.n_features

    def init(self, seed):
        return np.zeros(self.n_features)

    def views(self, state):
        return {"w": state}

    def decision(self, state, x):
        return np.asarray(matrix_of(x, self.n_features) @ state)[:, None]

    def mean_loss(self, decision, rows):
        p = np.exp(decision[:, 0])
        error = p - rows.y
        return float(0.5 * np.mean(error**2)), (error * p / len(p))[:, None]

    def gradient(self, state, rows):
        value, slope = self.mean_loss(self.decision(state, rows.x), rows)
        return value, as_matrix(rows, self.n_features).T @ slope[:, 0]

    def sgd_run(self, state, schedule_step, lr_scale, seed, schedule_step_size=1.0):
        return Run(self, state, schedule_step, lr_scale, schedule_step_size)

    def gradient_sum(self, state, rows, batch, first, end, schedule_step, seed):
        part = rows_of(as_matrix(rows, self.n_features)[batch[first:end]], rows.y[batch[first:end]])
        n = end - first
        value, slope = self.gradient(state, part) if n else (0.0, np.zeros(self.size))
        loss = np.array([n * value])
        return np.append(n * slope, n), Totals(n, 1, loss, loss)

    def apply_gradient(self, state, slopes, schedule_step, lr_scale):
        return state - self.eta0 * lr_scale[0] * slopes[:-1] / max(slopes[-1], 1.0)

    def finite(self, state):
        return bool(np.isfinite(state).all())

    def total_loss(self, losses):
        return float(losses[0])

    def penalty_value(self, state, end=None, part=0.0):
        return 0.0

    def max_lr_factor(self, schedule_step, n_workers):
        return float(n_workers)

    def log_contraction(self, schedule_step, steps):
        return 0.0


class Run:
    """SGD steps, one row each."""

    def __init__(self, model, state, schedule_step, lr_scale, schedule_step_size):
        self.model, self.state, self.schedule_step, self.lr_scale = model, state, schedule_step, lr_scale
        self.step_size, self.loss, self.examples = schedule_step_size, 0.0, 0

    def run(self, rows, order, start, stop):
        x = as_matrix(rows, self.model.n_features)
        for row in order[start:stop]:
            p = math.exp(x[row] @ self.state)
            error = p - rows.y[row]
            self.loss += 0.5 * error**2
            self.state -= self.model.eta0 * self.lr_scale[0] * error * p * x[row]
        self.examples += stop - start
        self.schedule_step += self.step_size * (stop - start)

    def mean_loss(self):
        return self.loss / max(self.examples, 1)

    def take_totals(self):
        loss = np.array([self.loss])
        totals = Totals(self.examples, self.examples, loss, loss)
        self.loss, self.examples = 0.0, 0
        return totals

    def finalize(self):
        pass


@dataclass(frozen=True)
class Size:
    """Size of a problem, for ``algorithm="auto"``."""

    n_rows: int
    n_parameters: int
    convex = one_against_all = False
    n_probe_rows = 50
    wake_seconds, merge_seconds, compiled_merge_seconds, sparse, adagrad = 1e-3, 1e-4, 1e-4, False, False

    @property
    def epoch_seconds(self):
        return 1e-3 * self.n_rows

    def rounds(self, n_workers):
        return 10, 5

    def reason_against(self, n_workers):
        return None


class ExponentialRegressor(RegressorMixin, BaseEstimator):
    """Regression with the model above."""

    def __init__(
        self,
        eta0=0.1,
        max_iter=5,
        tol=None,
        random_state=0,
        n_jobs=None,
        algorithm="auto",
        engine="auto",
        batch_size=1,
        verbose=0,
        early_stopping=False,
        warm_start=False,
        checkpoint=None,
    ):
        self.eta0, self.max_iter, self.tol, self.random_state = eta0, max_iter, tol, random_state
        self.n_jobs, self.algorithm, self.engine, self.batch_size = n_jobs, algorithm, engine, batch_size
        self.verbose, self.early_stopping, self.warm_start = verbose, early_stopping, warm_start
        self.checkpoint = checkpoint

    def set_callbacks(self, *callbacks):
        return self

    def fit(self, X, y):
        model = Exponential(X.shape[1], self.eta0)
        choice, engine = auto_select.choose_parts(self, Size(len(y), model.size))
        from parsgd.data.sources.array_source import ArraySource

        fit = loop.fit(
            model,
            choice.algorithm,
            engine,
            ArraySource(rows_of(np.ascontiguousarray(X), y), True),
            n_workers=choice.n_workers,
            seed=0,
            max_epochs=self.max_iter,
            stopping=StoppingRule(tol=self.tol),
        )
        self.w_, self.t_, self.n_iter_, self.n_features_in_ = fit.state, fit.schedule_step, fit.n_epochs, X.shape[1]
        self.history_, self.outcome_, self.algorithm_ = fit.history, fit.outcome, choice
        return self

    def predict(self, X):
        return np.exp(X @ self.w_)


class ExponentialKind(kinds.ModelKind):
    """The kind of the estimator above."""

    name = "exponential"
    estimators = {"ExponentialRegressor": f"{__name__}:ExponentialRegressor"}
    fitted = {"ExponentialRegressor": (*kinds.COMMON_ATTRIBUTES, "w_")}
    plannable = frozenset(estimators)
    required = ("w_",)
    convex = False

    def problems(self, estimator) -> Iterator[str]:
        yield from problems_of_array("w_", getattr(estimator, "w_", None), (estimator.n_features_in_,))

    def held_out_targets(self, model, y, classes):
        return y.astype(float)

    def dtype(self, estimator):
        return estimator.w_.dtype

    def comparable(self, estimator):
        return {"shape of w_": (estimator.w_.shape, "Fit all to the same columns.")}

    def validation_problem(self, merged, first, X, y):
        return Exponential(X.shape[1]), rows_of(np.ascontiguousarray(X), y)

    def state(self, model, estimator):
        return estimator.w_.copy()

    def set_average(self, merged, estimators, a, shares):
        merged.w_ = sum_arrays([estimator.w_ for estimator in estimators], a)
        merged.t_ = float(shares @ [estimator.t_ for estimator in estimators])


POSITIVE = np.exp(0.5 * Y)


@pytest.fixture
def kind():
    kinds.register(ExponentialKind())
    yield kinds.kind_named("ExponentialRegressor")
    kinds.unregister("exponential")


def test_the_model_keeps_the_contract():
    check_model(Exponential(4), rows_of(X, POSITIVE))


def test_it_fits_and_predicts_on_several_workers(kind):
    one, two = (ExponentialRegressor(n_jobs=n).fit(X, POSITIVE) for n in (1, 2))
    assert one.score(X, POSITIVE) > 0.5
    assert two.score(X, POSITIVE) > 0.5
    assert two.algorithm_.name == "local"


def test_its_model_files_hold_the_same_model(kind, tmp_path):
    ours = ExponentialRegressor().fit(X, POSITIVE)
    parsgd.save(ours, tmp_path / "model")
    again = parsgd.load(tmp_path / "model")
    assert (again.predict(X) == ours.predict(X)).all()
    assert len(again.history_) == len(ours.history_)


def test_a_model_file_is_refused_where_the_kind_is_not_registered(tmp_path):
    kinds.register(ExponentialKind())
    try:
        parsgd.save(ExponentialRegressor().fit(X, POSITIVE), tmp_path / "model")
    finally:
        kinds.unregister("exponential")
    with pytest.raises(ModelFileError, match="ExponentialRegressor"):
        parsgd.load(tmp_path / "model")


def test_models_are_averaged_and_incompatible_ones_named(kind):
    parts = [ExponentialRegressor().fit(X[i::2], POSITIVE[i::2]) for i in range(2)]
    merged = parsgd.average_models(parts, X_val=X, y_val=POSITIVE)
    assert merged.score(X, POSITIVE) > 0.5
    with pytest.raises(InvalidArgumentError, match="n_features_in_"):
        parsgd.average_models([parts[0], ExponentialRegressor().fit(X[:, :3], POSITIVE)])


def test_a_plan_compares_workers(kind):
    found = parsgd.plan(ExponentialRegressor(max_iter=2), X, POSITIVE, (1, 2), seconds=5.0)
    assert found.cells[0].label == "serial"
    assert len(found.cells) > 1


def test_formats_that_it_does_not_define_are_refused(kind):
    ours = ExponentialRegressor().fit(X, POSITIVE)
    pytest.importorskip("onnx")
    with pytest.raises(InvalidArgumentError, match="does not support"):
        parsgd.to_onnx(ours)


def test_a_kind_is_registered_once(kind):
    with pytest.raises(ValueError, match="registered"):
        kinds.register(ExponentialKind())
