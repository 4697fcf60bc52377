"""Networks fit what scikit-learn's fit: with one worker, shuffle=False and the same seed, step for step.

Data and rates are such that rounding errors do not grow, so that results agree to nearly all digits.
"""

import inspect
import itertools

import numpy as np
import pytest
from scipy import sparse
from sklearn import neural_network
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge

import parsgd
from parsgd import MLPClassifier, MLPRegressor
from parsgd.testing.problems import labels, targets, unit_rows

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
DIGITS, NUMBERS = (part[:400] for part in load_digits(return_X_y=True))
DIGITS = DIGITS / 16.0
X = unit_rows(150, 6)
T = targets(X)
T3 = np.column_stack([T, -2.0 * T, T**2])
COUNTS = np.floor(np.exp(T))
TWO, FOUR = labels(X), labels(X, 4)
MANY = np.column_stack([labels(X, seed=seed) for seed in (1, 2, 3)])
WEIGHT = np.random.default_rng(0).random(150)
QUICK = {
    "shuffle": False,
    "random_state": 0,
    "hidden_layer_sizes": (9, 5),
    "max_iter": 6,
    "batch_size": 32,
    "alpha": 0.01,
}
SOLVERS = {
    "adam": {},
    "sgd": {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.1},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False, "learning_rate_init": 0.05},
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.05},
}
ATTRIBUTES = (
    "n_iter_",
    "t_",
    "n_layers_",
    "n_outputs_",
    "out_activation_",
    "loss_",
    "best_loss_",
    "loss_curve_",
    "validation_scores_",
    "best_validation_score_",
    "n_features_in_",
    "classes_",
    "coefs_",
    "intercepts_",
)


def both(name, fit=None, **settings):
    """The same fit by scikit-learn and by us."""
    fitted = []
    for kind, extra in ((getattr(neural_network, name), {}), (getattr(parsgd, name), {"n_jobs": 1})):
        model = kind(**{**QUICK, **settings}, **extra)
        fit(model)
        fitted.append(model)
    return fitted


def assert_same(theirs, ours, rows=X, atol=1e-10, but=()):
    for name in ATTRIBUTES:
        if name in but:
            continue
        assert hasattr(ours, name) == hasattr(theirs, name), name
        if hasattr(theirs, name):
            assert_equal(getattr(ours, name), getattr(theirs, name), atol, name)
    for call in ("predict_proba", "predict_log_proba"):
        if hasattr(theirs, call):
            assert_equal(getattr(ours, call)(rows), getattr(theirs, call)(rows), 100 * atol, call)
    assert_equal(ours.predict(rows), theirs.predict(rows), 10 * atol, "predict")


def assert_equal(ours, theirs, atol, name):
    if name in ("coefs_", "intercepts_"):
        assert len(ours) == len(theirs)
        for layer, (mine, their) in enumerate(zip(ours, theirs, strict=True)):
            assert mine.shape == their.shape
            np.testing.assert_allclose(mine, their, rtol=0, atol=atol, err_msg=f"{name}, layer {layer}")
    elif theirs is None or isinstance(theirs, str):
        assert ours == theirs, name
    elif np.asarray(theirs).dtype.kind in "fc":
        np.testing.assert_allclose(ours, theirs, rtol=atol, atol=atol, err_msg=name)
    else:
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
        assert np.asarray(ours).dtype == np.asarray(theirs).dtype, name


# -- the face ------------------------------------------------------------------------------------------------------

CLASSES = [(MLPClassifier, neural_network.MLPClassifier), (MLPRegressor, neural_network.MLPRegressor)]


@pytest.mark.parametrize(("ours", "theirs"), CLASSES)
def test_parameters_are_scikit_learns_in_their_order_and_then_ours(ours, theirs):
    mine, their = (list(inspect.signature(kind.__init__).parameters.values()) for kind in (ours, theirs))
    shared = [(p.name, p.default, p.kind) for p in their]
    assert [(p.name, p.default, p.kind) for p in mine][: len(shared)] == shared
    assert all(p.kind is p.KEYWORD_ONLY for p in mine[len(shared) :])


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(("ours", "theirs"), CLASSES)
def test_methods_take_what_scikit_learns_take_and_a_validation_set(ours, theirs, method):
    mine, their = (list(inspect.signature(getattr(kind, method)).parameters) for kind in (ours, theirs))
    wanted = [*their, *(["sample_weight"] if "sample_weight" not in their else []), "X_val", "y_val"]
    # a call of partial_fit goes on from nothing but the model
    wanted += ["resume"] * (method == "fit")
    assert mine == wanted


@pytest.mark.parametrize(("ours", "theirs"), CLASSES)
def test_public_methods_are_scikit_learns(ours, theirs):
    def public(kind):
        return {name for name in dir(kind) if not name.startswith("_")}

    assert public(theirs) - public(ours) == set()
    # set_fit_request and the like come with sample_weight and with X_val
    assert all(name.startswith("set_") or name == "to_sklearn" for name in public(ours) - public(theirs))


# -- activations, solvers, targets ---------------------------------------------------------------------------------


@pytest.mark.cover(1)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_every_activation_and_solver_makes_scikit_learns_steps(activation, solver):
    assert_same(*both("MLPClassifier", lambda m: m.fit(X, FOUR), activation=activation, **SOLVERS[solver]))
    assert_same(*both("MLPRegressor", lambda m: m.fit(X, T), activation=activation, **SOLVERS[solver]))


@pytest.mark.cover(1)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("y", [TWO, FOUR, MANY, MANY[:, :1].ravel()], ids=["two", "four", "labels", "column"])
def test_every_kind_of_label_makes_scikit_learns_steps(y, solver):
    assert_same(*both("MLPClassifier", lambda m: m.fit(X, y), **SOLVERS[solver]))


@pytest.mark.cover(1)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("y", [T, T3], ids=["one", "several"])
def test_every_kind_of_target_makes_scikit_learns_steps(y, solver):
    assert_same(*both("MLPRegressor", lambda m: m.fit(X, y), **SOLVERS[solver]))


@pytest.mark.cover(1)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("y", [COUNTS, np.column_stack([COUNTS, COUNTS[::-1] + 0.5])], ids=["one", "several"])
def test_poisson_makes_scikit_learns_steps(y, solver):
    theirs, ours = both("MLPRegressor", lambda m: m.fit(X, y), loss="poisson", **SOLVERS[solver])
    assert_same(theirs, ours)
    assert ours.out_activation_ == "exp"


@pytest.mark.cover(1)
@pytest.mark.parametrize("schedule", ["constant", "invscaling", "adaptive"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "momentum", "nesterov"])
def test_every_schedule_lowers_the_rate_as_scikit_learn_does(schedule, solver):
    settings = {**SOLVERS[solver], "learning_rate": schedule, "power_t": 0.3, "max_iter": 25, "tol": 0.02}
    assert_same(*both("MLPClassifier", lambda m: m.fit(X, FOUR), n_iter_no_change=2, **settings))


@pytest.mark.parametrize("sizes", [(), [], 7, (7,), np.array([4, 3]), (5, 4, 3)], ids=str)
def test_hidden_layers_of_any_number_make_scikit_learns_steps(sizes):
    assert_same(*both("MLPClassifier", lambda m: m.fit(X, FOUR), hidden_layer_sizes=sizes))
    assert_same(*both("MLPRegressor", lambda m: m.fit(X, T), hidden_layer_sizes=sizes))


@pytest.mark.parametrize("batch_size", ["auto", 1, 7, 150, np.int64(40)])
def test_batches_of_any_size_make_scikit_learns_steps(batch_size):
    assert_same(*both("MLPClassifier", lambda m: m.fit(X, FOUR), batch_size=batch_size))


def test_the_betas_and_epsilon_of_adam_are_scikit_learns():
    given = {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3, "learning_rate_init": 0.02}
    assert_same(*both("MLPRegressor", lambda m: m.fit(X, T), **given))


def test_the_defaults_learn_digits_as_scikit_learn_does():
    defaults = {"hidden_layer_sizes": (100,), "batch_size": "auto", "alpha": 1e-4, "max_iter": 30}
    assert_same(*both("MLPClassifier", lambda m: m.fit(DIGITS, NUMBERS), **defaults), rows=DIGITS)


# -- weights, layouts, dtypes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
def test_weighted_examples_make_scikit_learns_steps(solver):
    for name, y in (("MLPClassifier", FOUR), ("MLPClassifier", MANY), ("MLPRegressor", T3)):
        assert_same(*both(name, lambda m, y=y: m.fit(X, y, sample_weight=WEIGHT), **SOLVERS[solver]))


@pytest.mark.parametrize("solver", SOLVERS)
def test_sparse_rows_make_scikit_learns_steps(solver):
    rows = sparse.csr_matrix(X)
    assert_same(*both("MLPClassifier", lambda m: m.fit(rows, FOUR), **SOLVERS[solver]), rows=rows)
    assert_same(*both("MLPRegressor", lambda m: m.fit(rows, T), **SOLVERS[solver]), rows=rows)


@pytest.mark.parametrize("layout", [sparse.csc_matrix, sparse.csr_array, sparse.coo_array, np.asfortranarray])
def test_other_layouts_are_taken_as_scikit_learn_takes_them(layout):
    rows = layout(X)
    assert_same(*both("MLPClassifier", lambda m: m.fit(rows, FOUR)), rows=rows)


@pytest.mark.parametrize("solver", SOLVERS)
def test_single_precision_stays_and_follows_scikit_learn_to_its_rounding(solver):
    rows = X.astype(np.float32)
    theirs, ours = both("MLPClassifier", lambda m: m.fit(rows, FOUR), **SOLVERS[solver])
    # the penalty in the curve is up to 16 steps old
    assert_same(theirs, ours, rows=rows, atol=2e-5, but=("loss_curve_", "best_loss_", "loss_"))
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-3)
    assert {part.dtype for part in (*ours.coefs_, *ours.intercepts_)} == {np.dtype(np.float32)}
    assert ours.predict_proba(rows).dtype == np.float32


@pytest.mark.parametrize(
    "y",
    [np.array(["no", "yes"])[TWO], np.array(list("dbca"))[FOUR], FOUR[:, None] * 10 - 5, MANY.astype(bool)],
    ids=["texts", "more texts", "numbers in a column", "truths"],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
def test_labels_of_any_type_come_back_as_from_scikit_learn(y):
    assert_same(*both("MLPClassifier", lambda m: m.fit(X, y)))


def test_one_class_alone_is_learnt_as_scikit_learn_does():
    theirs, ours = both("MLPClassifier", lambda m: m.fit(X, np.full(150, 7)))
    assert_same(theirs, ours)
    np.testing.assert_array_equal(ours.predict(X), 7)


# -- stopping ------------------------------------------------------------------------------------------------------


@pytest.mark.cover(1)
@pytest.mark.parametrize("patience", [1, 3])
@pytest.mark.parametrize("solver", SOLVERS)
def test_fits_stop_where_scikit_learns_do(solver, patience):
    stops = {"tol": 0.03, "n_iter_no_change": patience, "max_iter": 100}
    for name, y in (("MLPClassifier", FOUR), ("MLPRegressor", T)):
        theirs, ours = both(name, lambda m, y=y: m.fit(X, y), **stops, **SOLVERS[solver])
        assert_same(theirs, ours)
        assert ours.n_iter_ < 100


def test_an_infinite_patience_makes_all_passes():
    theirs, ours = both("MLPClassifier", lambda m: m.fit(X, FOUR), tol=10.0, n_iter_no_change=np.inf)
    assert_same(theirs, ours)
    assert ours.n_iter_ == 6


def test_the_adaptive_rate_ends_where_scikit_learns_does():
    # from 0.4 the rate falls below 1e-6 after 9 divisions by 5
    given = {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.4, "tol": 0.05, "max_iter": 200}
    theirs, ours = both("MLPClassifier", lambda m: m.fit(X, FOUR), n_iter_no_change=1, **given)
    assert_same(theirs, ours)
    assert ours.n_iter_ < 200


@pytest.mark.cover(1)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("solver", ["adam", "nesterov"])
@pytest.mark.parametrize(
    ("name", "y"),
    [
        ("MLPClassifier", TWO),
        ("MLPClassifier", FOUR),
        ("MLPClassifier", MANY),
        ("MLPRegressor", T),
        ("MLPRegressor", T3),
    ],
    ids=["two", "four", "labels", "target", "targets"],
)
def test_early_stopping_holds_back_scores_and_keeps_what_scikit_learn_does(name, y, solver, weight):
    given = {"early_stopping": True, "validation_fraction": 0.2, "n_iter_no_change": 3, "max_iter": 60, "tol": 1e-3}
    theirs, ours = both(name, lambda m: m.fit(X, y, sample_weight=weight), **given, **SOLVERS[solver])
    assert_same(theirs, ours)
    assert len(ours.validation_scores_) == ours.n_iter_
    assert ours.best_loss_ is None


def test_early_stopping_with_an_adaptive_rate_is_scikit_learns():
    given = {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.4, "max_iter": 80}
    assert_same(*both("MLPClassifier", lambda m: m.fit(X, FOUR), early_stopping=True, n_iter_no_change=1, **given))


# -- L-BFGS --------------------------------------------------------------------------------------------------------

# scikit-learn 1.9 minimises for several targets, of squared errors, the mean over outputs with the gradient of the sum:
# its L-BFGS then searches along lines whose slope is not that of its objective.  Ours minimises the sum, whose gradient
# that is, so only fits of one target, of labels and of counts (both sums on either side) can agree.


@pytest.mark.cover(1)
@pytest.mark.parametrize(
    ("name", "y", "given"),
    [
        ("MLPRegressor", T, {}),
        ("MLPRegressor", COUNTS, {"loss": "poisson"}),
        ("MLPClassifier", TWO, {}),
        ("MLPClassifier", FOUR, {"activation": "tanh"}),
        ("MLPClassifier", MANY, {"activation": "logistic"}),
    ],
    ids=["target", "counts", "two", "four", "labels"],
)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_lbfgs_ends_where_scikit_learns_does(name, y, given, weight):
    given = {"solver": "lbfgs", "max_iter": 15, **given}
    theirs, ours = both(name, lambda m: m.fit(X, y, sample_weight=weight), **given)
    assert_same(theirs, ours, atol=1e-8)
    assert not hasattr(ours, "loss_curve_")


def test_lbfgs_converges_and_takes_sparse_rows_as_scikit_learn_does():
    rows = sparse.csr_matrix(X)
    given = {"solver": "lbfgs", "max_iter": 500, "alpha": 1.0, "tol": 1e-3, "hidden_layer_sizes": (3,)}
    theirs, ours = both("MLPRegressor", lambda m: m.fit(rows, T), **given)
    assert_same(theirs, ours, rows=rows, atol=1e-6)
    assert ours.outcome_ is parsgd.errors.Outcome.CONVERGED


def test_lbfgs_of_several_targets_minimises_their_sum():
    given = {"solver": "lbfgs", "hidden_layer_sizes": (), "alpha": 0.5, "tol": 1e-9, "max_iter": 500}
    ours = MLPRegressor(random_state=0, **given).fit(X, T3)
    ridge = Ridge(alpha=0.5).fit(X, T3)
    np.testing.assert_allclose(ours.coefs_[0].T, ridge.coef_, atol=1e-5)
    np.testing.assert_allclose(ours.intercepts_[0], ridge.intercept_, atol=1e-5)
    # the loss that is told is that of the sum, too
    residual = ours.predict(X) - T3
    objective = 0.5 * (np.square(residual).sum() + 0.5 * np.square(ours.coefs_[0]).sum()) / 150
    np.testing.assert_allclose(ours.loss_, objective, rtol=1e-12)


def test_lbfgs_says_when_it_made_all_its_steps():
    for kind in (MLPClassifier, neural_network.MLPClassifier):
        with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge after 3 iteration"):
            kind(solver="lbfgs", max_iter=3, random_state=0).fit(X, FOUR)


# -- going on ------------------------------------------------------------------------------------------------------


@pytest.mark.cover(1)
@pytest.mark.parametrize("schedule", ["constant", "invscaling", "adaptive"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_partial_fit_carries_moments_and_rates_from_call_to_call(solver, schedule):
    def parts(model):
        for part in range(9):
            model.partial_fit(X[part % 3 :: 3], FOUR[part % 3 :: 3], **({"classes": range(4)} if part == 0 else {}))

    settings = {**SOLVERS[solver], "learning_rate": schedule, "n_iter_no_change": 1, "tol": 0.05}
    assert_same(*both("MLPClassifier", parts, **settings))


@pytest.mark.parametrize(
    ("name", "y", "given"),
    [
        ("MLPClassifier", MANY, {"classes": range(3)}),
        ("MLPClassifier", TWO, {"classes": [0, 1]}),
        ("MLPRegressor", T, {}),
        ("MLPRegressor", T3, {}),
    ],
    ids=["labels", "two", "target", "targets"],
)
def test_partial_fit_takes_every_kind_of_label_target_and_weight(name, y, given):
    def parts(model):
        for part in range(4):
            some = slice(part % 2, None, 2)
            model.partial_fit(X[some], y[some], sample_weight=WEIGHT[some], **given)

    assert_same(*both(name, parts))


def test_partial_fit_need_not_see_all_classes_at_once():
    def parts(model):
        for number in (2, 0, 3):
            model.partial_fit(X[number == FOUR], FOUR[number == FOUR], classes=[3, 2, 1, 0])

    # few rows of one class: scikit-learn warns of nothing here
    assert_same(*both("MLPClassifier", parts, batch_size=8))


@pytest.mark.parametrize("solver", SOLVERS)
def test_partial_fit_goes_on_after_fit(solver):
    def onward(model):
        model.fit(X, FOUR)
        for _ in range(3):
            model.partial_fit(X, FOUR)

    assert_same(*both("MLPClassifier", onward, **SOLVERS[solver]))


@pytest.mark.parametrize("solver", [*SOLVERS, "lbfgs"])
def test_warm_starts_go_on_from_the_weights_but_not_from_the_moments(solver):
    def again(model):
        for _ in range(3):
            model.fit(X, FOUR)

    settings = {"solver": "lbfgs"} if solver == "lbfgs" else SOLVERS[solver]
    assert_same(*both("MLPClassifier", again, warm_start=True, **settings), atol=1e-8 if solver == "lbfgs" else 1e-10)


def test_every_warm_start_has_patience_of_its_own():
    # scikit-learn goes on counting idle epochs where the last fit left off, and so stops after the first one
    model = MLPClassifier(**{**QUICK, "max_iter": 50, "tol": 10.0}, n_iter_no_change=3, warm_start=True)
    assert [model.fit(X, FOUR).n_iter_ for _ in range(3)] == [5, 5, 5]
    assert len(model.loss_curve_) == 15
    assert model.t_ == 15 * 150


def test_without_a_warm_start_every_fit_begins_anew():
    again = MLPClassifier(**QUICK)
    once = [coef.copy() for coef in again.fit(X, FOUR).coefs_]
    again.partial_fit(X, FOUR).fit(X, FOUR)
    for first, second in itertools.zip_longest(once, again.coefs_):
        np.testing.assert_array_equal(first, second)
    assert len(again.loss_curve_) == again.n_iter_ == 6
    assert again.t_ == 6 * 150


# -- what is warned of ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MLPClassifier, neural_network.MLPClassifier])
def test_a_batch_larger_than_the_data_is_warned_of_and_cut(kind):
    with pytest.warns(UserWarning, match="batch_size") as caught:
        kind(batch_size=151, max_iter=300, tol=1.0, random_state=0).fit(X, FOUR)
    assert len(caught) == 1


@pytest.mark.filterwarnings("ignore:.*batch_size")
def test_a_batch_larger_than_the_data_makes_scikit_learns_steps():
    assert_same(*both("MLPClassifier", lambda m: m.fit(X, FOUR), batch_size=10_000))


@pytest.mark.parametrize("kind", [MLPClassifier, neural_network.MLPClassifier])
def test_max_iter_reached_is_warned_of_in_scikit_learns_words(kind):
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\) reached and the optimization") as caught:
        kind(max_iter=2).fit(X, FOUR)
    assert len(caught) == 1
    if kind is MLPClassifier:
        assert caught[0].filename == __file__
