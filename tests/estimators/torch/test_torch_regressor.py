"""Fits and predictions of ``TorchRegressor``."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sklearn.datasets import make_regression  # noqa: E402
from sklearn.exceptions import DataConversionWarning  # noqa: E402
from sklearn.linear_model import LinearRegression  # noqa: E402

from parsgd.errors import DivergedError, InvalidArgumentError  # noqa: E402
from parsgd.torch import TorchRegressor  # noqa: E402

X, Y = make_regression(120, 4, n_targets=3, random_state=0)
Y = Y / Y.std(0)
SGD = torch.optim.SGD


def linear(n_features, n_outputs):
    """Make a linear module of float64."""
    return torch.nn.Linear(n_features, n_outputs, dtype=torch.float64)


def make(module=linear, **params):
    """Make a regressor whose fit takes few steps on one thread."""
    settings = {"optimizer": SGD, "lr": 0.1, "max_epochs": 30, "random_state": 0, "n_threads": 1}
    return TorchRegressor(module, **{**settings, **params})


def weights_of(model):
    return torch.cat([p.detach().reshape(-1) for p in model.module_.parameters()]).numpy()


@pytest.mark.parametrize("n_targets", [1, 3])
def test_a_linear_module_finds_the_least_squares_solution(n_targets):
    y = Y[:, 0] if n_targets == 1 else Y
    ours, theirs = make(max_epochs=60).fit(X, y), LinearRegression().fit(X, y)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-4)
    assert ours.predict(X).shape == y.shape
    assert ours.n_outputs_ == n_targets
    assert ours.score(X, y) > 0.999


@pytest.mark.parametrize(
    "module", [linear(4, 1), torch.nn.Sequential(linear(4, 1), torch.nn.Flatten(0))], ids=["column", "flat"]
)
def test_outputs_in_a_column_and_without_one_meet_targets_of_their_shape(module):
    model = make(module=module).fit(X, Y[:, 0])
    assert model.predict(X).shape == (120,)
    assert model.score(X, Y[:, 0]) > 0.99
    with pytest.warns(DataConversionWarning):
        column = make(module=module).fit(X, Y[:, :1])
    assert np.array_equal(weights_of(column), weights_of(model))


@pytest.mark.parametrize("loss", [None, torch.nn.functional.l1_loss, torch.nn.HuberLoss(delta=0.5)])
@pytest.mark.parametrize("n_targets", [1, 3])
def test_weights_are_rows_repeated_in_full_batches(loss, n_targets):
    y = Y[:, 0] if n_targets == 1 else Y
    times = np.random.default_rng(0).integers(0, 4, 120)
    settings = dict(loss=loss, batch_size=1000, max_epochs=10)
    ours = make(**settings).fit(X, y, sample_weight=times)
    theirs = make(**settings).fit(np.repeat(X, times, axis=0), np.repeat(y, times, axis=0))
    np.testing.assert_allclose(weights_of(ours), weights_of(theirs), rtol=1e-10, atol=1e-12)


def test_partial_fits_are_warm_fits_of_one_epoch():
    ours, theirs = make(), make(max_epochs=1, warm_start=True)
    for _ in range(3):
        ours.partial_fit(X, Y)
        theirs.fit(X, Y)
    assert np.array_equal(weights_of(ours), weights_of(theirs))
    with pytest.raises(InvalidArgumentError, match="1 targets per row, and had 3"):
        ours.partial_fit(X, Y[:, 0])


def test_two_workers_and_an_early_stop_train_several_targets():
    settings = dict(engine="serial", n_workers=2, early_stopping=True, patience=3)
    model = make(max_epochs=200, validation_fraction=0.2, **settings).fit(X, Y, sample_weight=np.linspace(0, 1, 120))
    assert model.score(X, Y) > 0.99
    assert len(model.validation_losses_) == model.n_iter_


def test_outputs_that_do_not_fit_the_targets_are_refused_before_the_training():
    with pytest.raises(InvalidArgumentError, match=r"must have 1 output, one per target. It has 3"):
        make(module=linear(4, 3)).fit(X, Y[:, 0])
    with pytest.raises(InvalidArgumentError, match=r"must have 3 outputs, one per target. It has 1"):
        make(module=linear(4, 1)).fit(X, Y)
    with pytest.raises(InvalidArgumentError, match="y_val has 1 targets per row, and y has 3"):
        make().fit(X, Y, X_val=X, y_val=Y[:, 0])
    with pytest.raises(InvalidArgumentError, match=r"must hold numbers. Its first value is .*'a'"):
        make().fit(X, ["a"] * 120)


def test_training_that_diverges_is_an_error():
    with pytest.raises(DivergedError, match="Use a smaller learning rate, clip_norm, or scaled"):
        make(lr=1e3, max_epochs=1000).fit(X, Y)
