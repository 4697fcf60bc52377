"""scikit-learn's own checks of estimators."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import parsgd

_TWICE = "one step of weight 2 is not two steps of weight 1; scikit-learn marks its own SGD classes likewise"
_EXPECTED = {f"check_sample_weight_equivalence_on_{layout}_data": _TWICE for layout in ("dense", "sparse")}


# five epochs are too few to converge, and the checks do not mind
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
# some of the checks fit data far from 0, on which scikit-learn's own SGD diverges too, without a word
@pytest.mark.filterwarnings("ignore::parsgd.errors.DivergenceWarning")
@parametrize_with_checks(
    [
        parsgd.SGDClassifier(max_iter=5),
        parsgd.SGDClassifier(max_iter=5, n_jobs=2),
        parsgd.SGDClassifier(max_iter=5, loss="softmax"),
        parsgd.SGDRegressor(max_iter=5),
        parsgd.SGDOneClassSVM(max_iter=5),
    ],
    expected_failed_checks=lambda estimator: _EXPECTED,
)
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)
