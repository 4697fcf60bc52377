"""AdaGrad of linear models: the formula, the penalty paid late, and all that a schedule must get along with."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import parsgd
from parsgd import LocalSGD, MiniBatch, SGDClassifier, SGDOneClassSVM, SGDRegressor, SimuParallel
from parsgd.models.linear.linear_model import Linear
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.utils.row_arrays import rows_of

GRADIENTS = {
    "hinge": lambda y, p: np.where(y * p <= 1.0, -y, 0.0),
    "log_loss": lambda y, p: -y / (1.0 + np.exp(y * p)),
    "squared_error": lambda y, p: p - y,
}
QUICK = {"learning_rate": "adagrad", "eta0": 0.3, "max_iter": 3, "tol": None, "random_state": 0, "n_jobs": 1}


def paid(w, due, l1, l2):
    """Down the slope of the penalty for so long, in closed form."""
    size = np.abs(w)
    left = size * np.exp(-l2 * due) - (l1 * -np.expm1(-l2 * due) / l2 if l2 > 0 else l1 * due)
    return np.sign(w) * np.maximum(left, 0.0)


def written_out(model, X, y, weight, epochs):
    """AdaGrad in stored order, every weight paying at every step; ``y`` is ``(n_rows, n_outputs)``."""
    (n, d), k = X.shape, model.n_outputs
    w, b, squares, of_b = np.zeros((d, k)), np.zeros(k), np.zeros((d, k)), np.zeros(k)
    for start in [s for _ in range(epochs) for s in range(0, n, model.batch_size)]:
        batch = slice(start, min(start + model.batch_size, n))
        p = X[batch] @ w + b
        g = GRADIENTS[model.loss](y[batch], p) * weight[batch, None] / len(p)
        g *= np.where(y[batch] > 0, model.positive, model.negative)
        squares += (X[batch].T @ g) ** 2
        of_b += g.sum(axis=0) ** 2
        rates = model.eta0 / np.sqrt(squares + 1e-20)
        w -= rates * (X[batch].T @ g)
        if model.penalty is not None:
            w = paid(w, model.alpha * np.where(squares > 0, rates, 0.0), model.l1_share, 1.0 - model.l1_share)
        if model.fit_intercept:
            b -= model.eta0 * g.sum(axis=0) / np.sqrt(of_b + 1e-20)
    return {"coef": w, "intercept": b, "squares": squares}


def compiled(model, rows, epochs, stops=()):
    """The state's parts after so many passes; the run is settled after so many rows of each, too."""
    state, n = model.init(0), len(rows.y)
    order = np.arange(n, dtype=np.int32)
    sgd_run = model.sgd_run(state, 1.0, np.ones(model.n_outputs), 0)
    for _ in range(epochs):
        for start, stop in zip((0, *stops), (*stops, n), strict=True):
            sgd_run.run(rows, order, start, stop)
            sgd_run.finalize()
    sgd_run.finalize()
    return model.views(state)


@pytest.mark.parametrize("layout", ["dense", "csr"])
@given(
    st.sampled_from(list(GRADIENTS)),
    st.sampled_from(["l2", "l1", "elasticnet", None]),
    st.sampled_from([1, 2, 7, 100]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 3]),
    st.booleans(),
    st.integers(0, 3),
)
@settings(max_examples=4 * settings.default.max_examples)
def test_a_compiled_run_is_the_run_written_out(
    layout, loss, penalty, batch_size, intercept, measured, k, weighted, seed
):
    dense = unit_rows(40, 5, density=0.5, seed=seed)
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.2, 2.0, 40) if weighted else np.ones(40)
    class_weights = {name: tuple(rng.uniform(0.5, 1.5, k)) for name in ("positive", "negative")}
    model = Linear(
        5,
        k,
        loss=loss,
        loss_parameter=float(loss == "hinge"),
        penalty=penalty,
        alpha=2e-3,
        l1_ratio=0.4,
        eta0=0.3,
        schedule="adagrad",
        sparse=layout == "csr",
        batch_size=batch_size,
        fit_intercept=intercept,
        measured=measured,
        **class_weights,
    )
    if k > 1:
        y = labels(dense, k).astype(np.int64)
        outputs = np.where(y[:, None] == np.arange(k), 1.0, -1.0)
    else:
        y = targets(dense) if loss == "squared_error" else 2.0 * labels(dense) - 1.0
        outputs = y[:, None]
    X = sparse.csr_matrix(dense) if layout == "csr" else dense
    theirs = written_out(model, dense, outputs, weight, 3)
    # the penalty comes to the same in however many parts it is paid
    for stops in ((), (13, 29) if batch_size == 1 else ()):
        ours = compiled(model, rows_of(X, y, weight if weighted else None), 3, stops)
        for name, value in theirs.items():
            np.testing.assert_allclose(ours[name], value, rtol=1e-5, atol=1e-7, err_msg=name)


def test_softmax_follows_the_gradient_of_its_loss():
    X = unit_rows(60, 5)
    y = labels(X, 3)
    model = SGDClassifier("softmax", penalty=None, shuffle=False, **QUICK).fit(X, y)
    w, b, squares, of_b = np.zeros((5, 3)), np.zeros(3), np.zeros((5, 3)), np.zeros(3)
    for i in [*range(60)] * 3:
        e = np.exp(X[i] @ w + b)
        g = e / e.sum() - (np.arange(3) == y[i])
        squares += np.outer(X[i], g) ** 2
        of_b += g**2
        w -= 0.3 * np.outer(X[i], g) / np.sqrt(squares + 1e-20)
        b -= 0.3 * g / np.sqrt(of_b + 1e-20)
    np.testing.assert_allclose(model.coef_, w.T, rtol=1e-9)
    np.testing.assert_allclose(model.intercept_, b, rtol=1e-9)


@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
def test_it_comes_to_the_optimum_of_the_penalised_objective(loss):
    X = unit_rows(200, 8)
    y = labels(X) if loss == "log_loss" else targets(X)
    kind = SGDClassifier if loss == "log_loss" else SGDRegressor
    common = {"alpha": 0.01, "tol": None, "random_state": 0, "n_jobs": 1}
    far = kind(loss, learning_rate="adagrad", eta0=0.3, max_iter=3000, **common).fit(X, y)
    further = kind(loss, learning_rate="optimal", max_iter=3000, **common).fit(X, y)
    np.testing.assert_allclose(far.coef_, further.coef_, atol=0.02)
    np.testing.assert_allclose(far.intercept_, further.intercept_, atol=0.02)


@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet", None])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_messages_of_gradients_make_the_same_steps(penalty, n_classes):
    X = unit_rows(60, 5)
    y = labels(X, n_classes)
    common = {**QUICK, "penalty": penalty, "alpha": 2e-3, "shuffle": False, "batch_size": 12}
    alone = SGDClassifier("log_loss", **common).fit(X, y)
    for n_jobs in (1, 3):
        together = SGDClassifier("log_loss", algorithm=MiniBatch(), **{**common, "n_jobs": n_jobs}).fit(X, y)
        np.testing.assert_allclose(together.coef_, alone.coef_, rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(together.intercept_, alone.intercept_, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("kind", ["classifier", "regressor", "one class"])
def test_partial_fit_goes_on_with_the_rates_that_there_were(kind):
    X = unit_rows(60, 5)
    y = {"classifier": labels(X, 3), "regressor": targets(X)}.get(kind)
    make = {"classifier": SGDClassifier, "regressor": SGDRegressor, "one class": SGDOneClassSVM}[kind]
    common = {**QUICK, "shuffle": False} | ({"nu": 0.01} if kind == "one class" else {"alpha": 1e-3})
    whole = make(**{**common, "max_iter": 2}).fit(X, y)
    parts = make(**common)
    for _ in range(2):
        parts.partial_fit(X, y, **({"classes": np.unique(y)} if kind == "classifier" else {}))
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-6)
    np.testing.assert_allclose(parts._squares, whole._squares, rtol=1e-6)
    # a new fit begins with new ones
    parts.fit(X, y)
    np.testing.assert_allclose(parts.set_params(max_iter=2).fit(X, y).coef_, whole.coef_, rtol=1e-12)


@pytest.mark.parametrize(
    "algorithm",
    [SimuParallel(), LocalSGD(sync_every=0.3), LocalSGD(sync_every=0.3, outer_optimizer="adaptive")],
    ids=repr,
)
@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_workers_have_the_same_bits_on_every_engine_and_their_average_learns(algorithm, layout):
    X = unit_rows(400, 6, density=0.5, layout=layout, dtype=np.float32)
    y = labels(X, noise=0.0)
    common = {**QUICK, "algorithm": algorithm, "n_jobs": 3, "alpha": 1e-5}
    made = [SGDClassifier("log_loss", engine=engine, **common).fit(X, y) for engine in ("serial", "threads")]
    assert made[0].coef_.tobytes() == made[1].coef_.tobytes()
    assert made[0]._squares.tobytes() == made[1]._squares.tobytes()
    assert (made[0]._squares >= 0.0).all()
    assert made[0].score(X, y) > 0.9


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_least_numbers_do_no_harm(dtype):
    X = np.geomspace(np.finfo(dtype).tiny, 1.0, 120).reshape(30, 4).astype(dtype)
    y = np.arange(30) % 2
    for penalty in ("l2", "l1", None):
        model = SGDClassifier("log_loss", penalty=penalty, alpha=1.0, **QUICK).fit(X, y)
        assert np.isfinite(model.coef_).all()
        assert np.abs(model.coef_).max() < 5.0


def test_a_feature_that_no_row_has_stays_where_it_was():
    X = unit_rows(40, 5)
    X[:, 2] = 0.0
    for rows in (X, sparse.csr_matrix(X)):
        model = SGDClassifier("log_loss", alpha=0.1, **QUICK).fit(rows, labels(X), coef_init=np.full((1, 5), 0.7))
        assert model.coef_[0, 2] == 0.7
        assert (model.coef_[0, [0, 1, 3, 4]] != 0.7).all()


def test_what_does_not_go_together_is_refused():
    X = unit_rows(40, 5)
    with pytest.raises(
        parsgd.errors.InvalidArgumentError, match=r"average=True does not work with learning_rate='adagrad'"
    ):
        SGDClassifier(average=True, learning_rate="adagrad").fit(X, labels(X))
    with pytest.raises(parsgd.errors.IncompatiblePartsError, match="adagrad"):
        SGDClassifier(algorithm="hogwild", engine="threads", **{**QUICK, "n_jobs": 2}).fit(X, labels(X))


def test_files_merges_and_scikit_learn_know_it(tmp_path):
    X = unit_rows(60, 5)
    y = labels(X)
    models = [SGDClassifier("log_loss", **{**QUICK, "random_state": seed}).fit(X, y) for seed in (0, 1)]
    parsgd.save(models[0], tmp_path / "model.parsgd")
    again = parsgd.load(tmp_path / "model.parsgd")
    for model in (models[0], again):
        model.partial_fit(X, y)
    assert again.coef_.tobytes() == models[0].coef_.tobytes()
    merged = parsgd.average_models(models)
    a, b = merged.merge_weights_ / merged.merge_weights_.sum()
    np.testing.assert_allclose(merged._squares, a * models[0]._squares + b * models[1]._squares)
    theirs = models[0].to_sklearn()
    assert theirs.learning_rate == "invscaling"
    np.testing.assert_array_equal(theirs.predict_proba(X), models[0].predict_proba(X))
    theirs.partial_fit(X, y)


def test_steps_are_pytorchs():
    torch = pytest.importorskip("torch")
    X = unit_rows(50, 4)
    y = targets(X)
    model = SGDRegressor("squared_error", penalty=None, shuffle=False, **{**QUICK, "max_iter": 4}).fit(X, y)
    w = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    b = torch.zeros((), dtype=torch.float64, requires_grad=True)
    solver = torch.optim.Adagrad([w, b], lr=0.3)
    for i in [*range(50)] * 4:
        solver.zero_grad()
        (0.5 * (torch.from_numpy(X[i]) @ w + b - float(y[i])) ** 2).backward()
        solver.step()
    np.testing.assert_allclose(model.coef_, w.detach().numpy(), rtol=1e-9)
    np.testing.assert_allclose(model.intercept_[0], b.item(), rtol=1e-9)
