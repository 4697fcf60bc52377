"""Searches in one run: the bits of separate runs, scikit-learn's results, bad input, halving, interruptions."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, ShuffleSplit, StratifiedKFold
from sklearn.preprocessing import StandardScaler

from parsgd import SGDClassifier, SGDClassifierCV, SGDRegressor, SGDRegressorCV
from parsgd.errors import FitInterruptedWarning, InvalidArgumentError
from parsgd.estimators.search import column_search
from parsgd.estimators.search.column_block import ColumnBlock
from parsgd.estimators.search.column_search import Passes
from parsgd.estimators.search.folds import make_folds
from parsgd.testing.problems import labels, targets, unit_rows

CANCER = load_breast_cancer(return_X_y=True)
CANCER = StandardScaler().fit_transform(CANCER[0]), CANCER[1]
GRID = {"alphas": [1e-4, 1e-2], "etas": [0.03, 0.3]}
SCHEDULES = ("adagrad", "optimal", "constant", "invscaling", "adaptive")


@pytest.fixture
def models(monkeypatch):
    """Collect the coefficients of every model of a search, by setting and fold."""
    found = {}
    finish = column_search.ColumnSearch._finish

    def collect(self, block, chosen, done):
        if done == 0:
            block.end_pass()
        for model in chosen:
            key = int(block.settings[model]), int(block.folds[model])
            found[key] = (*block.coefficients(int(model)), done)
        finish(self, block, chosen, done)

    monkeypatch.setattr(column_search.ColumnSearch, "_finish", collect)
    return found


def problem(layout, dtype, kind, n_rows=240):
    X = unit_rows(n_rows, 12).astype(dtype)
    if layout == "csr":
        X = sparse.random(n_rows, 40, 0.2, format="csr", dtype=dtype, random_state=0)
    dense = X.toarray() if layout == "csr" else X
    return X, targets(dense).astype(dtype) if kind == "regression" else labels(dense, {"binary": 2}.get(kind, 3))


def search_of(kind, **arguments):
    arguments = {"cv": 3, "max_iter": 4, "tol": None, "refit": False, "random_state": 1, "n_jobs": 1, **arguments}
    if kind == "regression":
        return SGDRegressorCV(**arguments)
    return SGDClassifierCV(losses=["softmax" if kind == "softmax" else "log_loss"], **arguments)


@pytest.mark.cover(2)
@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", ["binary", "one-vs-all", "softmax", "regression"])
@pytest.mark.parametrize("stopping", ["passes", "tol", "early"])
@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet", None])
def test_every_model_has_the_bits_of_a_run_of_its_own(models, layout, dtype, schedule, kind, stopping, penalty):
    X, y = problem(layout, dtype, kind)
    alphas = [1e-4, 1e-3, 1e-2, 1e-1]
    etas = None if schedule == "optimal" else [0.03, 0.3]
    common = {"learning_rate": schedule, "penalties": [penalty]}
    if (schedule, kind) == ("optimal", "regression"):
        # the first rates are alpha^-1/4, with which squared errors diverge
        common["losses"] = ["huber"]
    if stopping != "passes":
        common |= {"tol": 1e-2, "n_iter_no_change": 2, "max_iter": 12, "early_stopping": stopping == "early"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # enough columns for several vectors
        search = search_of(kind, alphas=alphas, etas=etas, **common).fit(X, y)
        together = dict(models)
        assert len(together) == search.scores_.size
        n_settings = len(search.scores_)
        for setting in {0, n_settings // 2, n_settings - 1}:
            models.clear()
            params = search.cv_results_["params"][setting]
            one = {"alphas": [params.get("alpha", alphas[0])]} | ({} if etas is None else {"etas": [params["eta0"]]})
            alone = search_of(kind, **common, **one).fit(X, y)
            assert np.array_equal(alone.scores_[0], search.scores_[setting])
            for fold in range(3):
                for ours, theirs in zip(together[setting, fold], models[0, fold], strict=True):
                    assert np.array_equal(ours, theirs)


@pytest.mark.cover(2)
@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("kind", ["binary", "one-vs-all", "softmax", "regression"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet", None])
@pytest.mark.parametrize("stopping", ["passes", "tol", "early"])
def test_every_model_is_that_of_a_separate_fit(models, layout, kind, schedule, penalty, stopping):
    X, y = problem(layout, np.float64, kind)
    common = {} if schedule == "optimal" else {"etas": [0.05]}
    if (schedule, kind) == ("optimal", "regression"):
        # the first rate is alpha^-1/4, with which squared errors diverge, and rounding errors grow
        common["losses"] = ["epsilon_insensitive"]
    if stopping != "passes":
        common |= {"tol": 1e-2, "n_iter_no_change": 2, "max_iter": 20, "early_stopping": stopping == "early"}
    alphas = [1e-2] if schedule == "optimal" else [1e-3]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = search_of(
            kind, alphas=alphas, shuffle=False, learning_rate=schedule, penalties=[penalty], **common
        ).fit(X, y)
        estimator = search._estimator(search._check_parameters()[0]).set_params(n_jobs=1)
        splitter = KFold(3) if kind == "regression" else StratifiedKFold(3)
        for fold, (train, test) in enumerate(splitter.split(X, y)):
            fit = clone(estimator).fit(X[train], y[train])
            coef, intercept, n_iter = models[0, fold]
            assert n_iter == fit.n_iter_
            scale = np.abs(fit.coef_).max()
            assert np.allclose(np.squeeze(coef), np.squeeze(fit.coef_), rtol=1e-7, atol=1e-7 * scale)
            assert np.allclose(intercept, fit.intercept_, rtol=1e-7, atol=1e-7)
            assert search.scores_[0, fold] == pytest.approx(fit.score(X[test], y[test]), abs=1e-6)


def test_class_and_sample_weights_are_those_of_separate_fits(models):
    X, y = problem("dense", np.float64, "one-vs-all")
    weight = np.random.default_rng(0).uniform(0.2, 2.0, len(y))
    search = search_of(
        "one-vs-all", alphas=[1e-3], etas=[0.05], learning_rate="constant", class_weights=[None, "balanced", {0: 3.0}]
    )
    search.set_params(shuffle=False).fit(X, y, sample_weight=weight)
    assert [params["class_weight"] for params in search.cv_results_["params"]] == [None, "balanced", {0: 3.0}]
    for setting, described in enumerate(search._check_parameters()):
        for fold, (train, _) in enumerate(StratifiedKFold(3).split(X, y)):
            fit = search._estimator(described).set_params(n_jobs=1).fit(X[train], y[train], sample_weight=weight[train])
            assert np.allclose(models[setting, fold][0], fit.coef_, rtol=1e-9, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_folds_may_overlap_and_leave_rows_out(data):
    n_rows = data.draw(st.integers(4, 60))
    rows = st.sets(st.integers(0, n_rows - 1), min_size=1)
    splits = data.draw(st.lists(st.tuples(rows, rows), min_size=1, max_size=12))
    splits = [(np.array(sorted(train)), np.array(sorted(test))) for train, test in splits]
    folds = make_folds(splits, n_rows)
    for fold, (train, test) in enumerate(splits):
        assert np.array_equal(np.flatnonzero(folds.trains[folds.kinds, fold]), train)
        assert np.array_equal(folds.test[fold], test)
    assert len(np.unique(folds.trains, axis=0)) == len(folds.trains)


def test_results_have_the_keys_and_the_best_of_a_grid_search():
    X, y = CANCER
    search = SGDClassifierCV(**GRID, learning_rate="constant", max_iter=8, tol=None, shuffle=False, random_state=0).fit(
        X, y
    )
    fit = SGDClassifier(
        "log_loss", learning_rate="constant", max_iter=8, tol=None, shuffle=False, random_state=0, n_jobs=1
    )
    theirs = GridSearchCV(fit, {"alpha": GRID["alphas"], "eta0": GRID["etas"]}, cv=5).fit(X, y)
    for key in ("mean_test_score", "std_test_score", "rank_test_score", "split3_test_score"):
        assert np.allclose(search.cv_results_[key], theirs.cv_results_[key])
    assert search.cv_results_["params"] == theirs.cv_results_["params"]
    assert list(search.cv_results_["param_alpha"]) == list(theirs.cv_results_["param_alpha"])
    assert (search.best_params_, search.best_index_) == (theirs.best_params_, theirs.best_index_)
    assert search.best_score_ == pytest.approx(theirs.best_score_)
    assert np.array_equal(search.coef_, search.best_estimator_.coef_)
    assert np.array_equal(search.predict(X), search.best_estimator_.predict(X))
    assert search.score(X, y) == search.best_estimator_.score(X, y)


def test_the_last_fit_is_that_of_the_classifier():
    X, y = CANCER
    search = SGDClassifierCV(**GRID, random_state=0, n_jobs=1).fit(X, y)
    params = search.best_params_
    fit = SGDClassifier("log_loss", **params, learning_rate="adagrad", max_iter=20, random_state=0, n_jobs=1).fit(X, y)
    assert np.array_equal(search.coef_, fit.coef_)


@pytest.mark.parametrize("scoring", ["neg_log_loss", "roc_auc", "balanced_accuracy"])
def test_scorers_of_scikit_learn(scoring):
    X, y = CANCER
    search = SGDClassifierCV(
        **GRID, scoring=scoring, learning_rate="constant", max_iter=3, tol=None, shuffle=False
    ).fit(X, y)
    fit = SGDClassifier("log_loss", learning_rate="constant", max_iter=3, tol=None, shuffle=False, n_jobs=1)
    theirs = GridSearchCV(fit, {"alpha": GRID["alphas"], "eta0": GRID["etas"]}, cv=5, scoring=scoring).fit(X, y)
    assert np.allclose(search.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])


def test_groups_reach_the_splitter():
    X, y = CANCER
    groups = np.arange(len(y)) % 7
    search = SGDClassifierCV(**GRID, cv=GroupKFold(7), max_iter=2, tol=None).fit(X, y, groups=groups)
    assert search.scores_.shape == (4, 7)


def test_threads_change_no_bit(models):
    X, y = problem("csr", np.float32, "binary")
    found = []
    for n_jobs in (1, 2, 3):
        models.clear()
        search = search_of("binary", alphas=np.geomspace(1e-6, 1e-1, 30), etas=[0.1, 1.0], n_jobs=n_jobs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append((search.fit(X, y).scores_, dict(models)))
    for scores, coefs in found[1:]:
        assert np.array_equal(scores, found[0][0])
        assert all(np.array_equal(coefs[key][0], found[0][1][key][0]) for key in coefs)


def test_a_setting_that_diverges_does_not_harm_the_others():
    X, y = load_diabetes(return_X_y=True)
    arguments = {
        "learning_rate": "constant",
        "alphas": [1e-4],
        "max_iter": 30,
        "tol": None,
        "random_state": 0,
        "n_jobs": 1,
    }
    X = 30.0 * X
    both = SGDRegressorCV(etas=[0.001, 1e3], **arguments).fit(X, y)
    alone = SGDRegressorCV(etas=[0.001], **arguments).fit(X, y)
    assert both.cv_results_["mean_test_score"][1] == -np.inf
    assert both.cv_results_["rank_test_score"].tolist() == [1, 2]
    assert np.array_equal(both.scores_[0], alone.scores_[0])
    assert np.array_equal(both.coef_, alone.coef_)
    with pytest.raises(InvalidArgumentError, match="All settings diverged"):
        SGDRegressorCV(etas=[1e3, 1e4], **arguments).fit(X, y)


def test_poisson_among_other_losses_needs_targets_of_0_or_more():
    X, y = load_diabetes(return_X_y=True)
    with pytest.raises(ValueError, match="needs targets y >= 0"):
        SGDRegressorCV(losses=["squared_error", "poisson"]).fit(X, y - y.mean())


def test_halving_drops_the_worst_and_keeps_the_winner():
    X, y = load_digits(return_X_y=True)
    arguments = {"alphas": [1e-5, 1e-4, 1e-3], "etas": [0.003, 0.03, 0.3, 3.0], "max_iter": 16, "tol": None}
    whole = SGDClassifierCV(**arguments, refit=False, random_state=0).fit(X / 16, y)
    halved = SGDClassifierCV(**arguments, refit=False, random_state=0, halving=True).fit(X / 16, y)
    after = halved.cv_results_["halved_after"]
    assert 1 <= (after == 2).sum() <= 6
    assert set(after) <= {0, 2, 4, 8}
    assert 2 <= (after == 0).sum() <= 6
    stayed = after == 0
    assert np.array_equal(halved.scores_[stayed], whole.scores_[stayed])
    assert halved.best_index_ == whole.best_index_
    ranks = halved.cv_results_["rank_test_score"]
    assert ranks[~stayed].min() > ranks[stayed].max()


def test_rungs_of_halving():
    def passes(n):
        return Passes(n, None, 5, False, False, True)

    assert passes(16).rungs(12) == {2: 6, 4: 3, 8: 2}
    assert passes(1).rungs(12) == {}
    assert passes(16).rungs(2) == {}
    assert passes(3).rungs(12) == {1: 3, 2: 2}


@pytest.mark.slow
def test_halving_finds_the_winner_in_95_percent_of_200_trials():
    n_same = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((400, 20))
        y = (X @ rng.standard_normal(20) + 2.0 * rng.standard_normal(400) > 0).astype(int)
        arguments = {"etas": [0.01, 0.1, 1.0], "alphas": [1e-4, 1e-2], "max_iter": 16, "tol": None, "refit": False}
        found = [
            SGDClassifierCV(**arguments, halving=halving, random_state=seed).fit(X, y) for halving in (False, True)
        ]
        # equal scores are equal winners
        n_same += found[0].scores_.mean(axis=1)[found[1].best_index_] >= found[0].best_score_ - 1e-12
    assert n_same >= 190


def test_ctrl_c_keeps_the_best_so_far(monkeypatch):
    X, y = CANCER
    visits = []
    run = ColumnBlock.run

    def press(self, *arguments):
        visits.append(1)
        if len(visits) == 4:
            raise KeyboardInterrupt
        run(self, *arguments)

    monkeypatch.setattr(ColumnBlock, "run", press)
    with pytest.warns(FitInterruptedWarning, match="mean of the best setting's folds"):
        search = SGDClassifierCV(**GRID, max_iter=50, tol=None, n_jobs=1, random_state=0).fit(X, y)
    assert search.score(X, y) > 0.9
    assert search.cv_results_["n_iter"].max() < 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alphas": []}, "'alphas' parameter .* is empty"),
        ({"alphas": 1e-4}, r"'alphas' .* must be a sequence.*pass \[0.0001\]"),
        ({"alphas": [1e-4, -1.0]}, r"'alphas' .* numbers in \[0, inf\). Got -1.0"),
        ({"alphas": [1e-4, 1e-4]}, "'alphas' .* has 0.0001 twice"),
        ({"alphas": [0, 0.0]}, "'alphas' .* has 0.0 twice"),
        ({"alphas": [float("nan")]}, "'alphas' .* Got nan"),
        ({"etas": [0.0]}, r"'etas' .* \(0, inf\)"),
        ({"etas": [0.1], "learning_rate": "optimal"}, "'etas' .* no effect"),
        ({"alphas": [0.0], "etas": None, "learning_rate": "optimal"}, "'alphas' .* has 0, and learning_rate='optimal'"),
        ({"losses": "hinge"}, "'losses' .* must be a sequence"),
        ({"losses": ["hinges"]}, "Did you mean 'hinge'|did you mean 'hinge'"),
        ({"losses": ["softmax", "hinge"]}, "mixes 'softmax'"),
        ({"penalties": ["l3"]}, "'penalties'"),
        ({"l1_ratios": [1.5], "penalties": ["elasticnet"]}, r"'l1_ratios' .* \[0, 1\]"),
        ({"class_weights": ["balance"]}, "class_weight"),
        ({"learning_rate": "pa1"}, "'learning_rate'"),
        ({"max_iter": 0}, "'max_iter'"),
        ({"scoring": "accuraci"}, "'scoring'"),
        ({"cv": [(np.arange(0), np.arange(5))]}, "Fold 0 of 'cv' has no training rows"),
        ({"cv": [(np.arange(5), np.arange(0))]}, "Fold 0 of 'cv' has no test rows"),
        ({"cv": [(np.arange(999), np.arange(5))]}, "row numbers beyond"),
        ({"cv": [([0, 0, 1], [2])]}, "a row twice"),
        ({"cv": [(np.flatnonzero(CANCER[1] == 0), [0, 1])]}, "fold 0 have no row of class 1"),
        ({"cv": []}, "no folds"),
        (
            {"alphas": [0.1**k for k in range(6)], "max_memory": 30_000.0},
            # 32 columns are the smallest block
            r"12 settings with 5 folds need 0.0461 MB of weights, and max_memory allows 0.03 MB. 6 settings fit",
        ),
        ({"max_memory": 5000.0}, "0 settings fit"),
    ],
)
def test_bad_input_is_refused_before_work(monkeypatch, arguments, message):
    def worked(*_):
        raise AssertionError("a step was made")

    monkeypatch.setattr(ColumnBlock, "run", worked)
    with pytest.raises(ValueError, match=message):
        SGDClassifierCV(**{**GRID, "max_iter": 2, **arguments}).fit(*CANCER)


def test_shuffle_split_and_regressor():
    X, y = load_diabetes(return_X_y=True)
    cv = ShuffleSplit(4, test_size=0.3, random_state=0)
    names = ["squared_error", "huber"]
    search = SGDRegressorCV(etas=[0.1, 1.0, 10.0], cv=cv, random_state=0, losses=names, max_iter=200).fit(X, y)
    assert search.scores_.shape == (24, 4)
    assert search.best_score_ > 0.3
    assert isinstance(search.best_estimator_, SGDRegressor)
    assert search.score(X, y) > 0.3
