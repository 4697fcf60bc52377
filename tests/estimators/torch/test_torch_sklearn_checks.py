"""scikit-learn's checks of the estimators around a PyTorch module."""

import pytest

torch = pytest.importorskip("torch")

from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

from parsgd.estimators.torch.components.module_making import make_mlp  # noqa: E402
from parsgd.torch import TorchClassifier, TorchRegressor  # noqa: E402

_KEYWORD = "scikit-learn passes the name of **components as a keyword, which the constructor refuses as unknown"
_WEIGHTS = "a row of weight 2 is in one batch, and two rows may be in two; float32 also rounds their sums differently"


class Net(torch.nn.Sequential):
    """A network of float64, in which sums in another order differ by less than the checks permit.

    The names of the checks show a class, and of a function they would show its address.
    """

    def __init__(self, n_features, n_outputs):
        super().__init__(*make_mlp(n_features, n_outputs, hidden=30, dtype=torch.float64))


def expected(estimator):
    """Return the checks that fail, with reasons."""
    failed = {"check_do_not_raise_errors_in_init_or_set_params": _KEYWORD}
    if estimator.module is None:
        failed["check_sample_weight_equivalence_on_dense_data"] = _WEIGHTS
        if isinstance(estimator, TorchRegressor):
            failed["check_regressor_multioutput"] = "a module of float32 predicts float32"
    return failed


# batches that hold all rows
_WHOLE = dict(max_epochs=40, lr=0.03, batch_size=512, n_threads=1)


@parametrize_with_checks(
    [TorchClassifier(Net, **_WHOLE), TorchRegressor(Net, **_WHOLE)], expected_failed_checks=expected
)
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        TorchClassifier(max_epochs=40, lr=0.01, n_threads=1),
        TorchRegressor(max_epochs=40, lr=0.01, n_threads=1),
    ],
    expected_failed_checks=expected,
)
def test_scikit_learns_checks_pass_in_float32_and_batches(estimator, check):
    check(estimator)
