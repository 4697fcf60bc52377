"""scikit-learn's own checks of estimators."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import parsgd

_TWICE = "one step of weight 2 is not two steps of weight 1; scikit-learn marks its own SGD classes likewise"
_DEALT = "two workers are dealt other rows when a row comes twice than when it weighs 2"
_LAYOUTS = ("dense", "sparse")


def expected(estimator):
    """Checks that are to fail, and why; of networks with one worker, none."""
    network = isinstance(estimator, (parsgd.MLPClassifier, parsgd.MLPRegressor))
    if network and estimator.n_jobs is None:
        return {}
    reason = _DEALT if network else _TWICE
    return {f"check_sample_weight_equivalence_on_{layout}_data": reason for layout in _LAYOUTS}


# five epochs are too few to converge, and the checks do not mind; some of the checks fit data far from 0, on which
# scikit-learn's own SGD diverges too, without a warning
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::parsgd.errors.DivergenceWarning"),
]


@parametrize_with_checks(
    [
        parsgd.SGDClassifier(max_iter=5),
        parsgd.SGDRegressor(max_iter=5),
        parsgd.SGDOneClassSVM(max_iter=5),
        parsgd.SGDClassifierCV(max_iter=3, cv=2),
        parsgd.SGDRegressorCV(max_iter=3, cv=2),
        # the networks' rates are small: that they have learnt anything is seen after some 50 passes
        parsgd.MLPClassifier(max_iter=100),
        parsgd.MLPRegressor(max_iter=100),
    ],
    expected_failed_checks=expected,
)
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        parsgd.SGDClassifier(max_iter=5, n_jobs=2, algorithm="local"),
        parsgd.SGDClassifier(max_iter=5, loss="softmax"),
        parsgd.MLPClassifier(max_iter=30, n_jobs=2, algorithm="local"),
    ],
    expected_failed_checks=expected,
)
def test_scikit_learns_checks_pass_with_two_workers_and_softmax(estimator, check):
    check(estimator)
