"""A network's gradients and Adam's steps are PyTorch's, where PyTorch is installed."""

import numpy as np
import pytest
from scipy.special import xlogy

from parsgd.models.network.forward import ACTIVATIONS, LOSSES
from parsgd.models.network.network_model import Network
from parsgd.testing.problems import labels, unit_rows
from parsgd.utils.row_arrays import rows_of

torch = pytest.importorskip("torch")
functional = torch.nn.functional

DELTA, N_ROWS = 0.6, 25
THEIR_ACTIVATIONS = {
    "identity": lambda z: z,
    "logistic": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": lambda z: functional.gelu(z, approximate="tanh"),
    "leaky_relu": lambda z: functional.leaky_relu(z, 0.01),
}
# losses of each example, to be summed over outputs
THEIR_LOSSES = {
    "softmax": lambda z, y: functional.cross_entropy(z, y, reduction="none")[:, None],
    "sigmoid": lambda z, y: functional.binary_cross_entropy_with_logits(z, y, reduction="none"),
    "squared_error": lambda z, y: 0.5 * functional.mse_loss(z, y, reduction="none"),
    "absolute_error": lambda z, y: functional.l1_loss(z, y, reduction="none"),
    "huber": lambda z, y: functional.huber_loss(z, y, reduction="none", delta=DELTA),
    "poisson": lambda z, y: functional.poisson_nll_loss(z, y, log_input=True, full=False, reduction="none"),
}


def make(loss, activation, **settings):
    rng = np.random.default_rng(0)
    X, weight = unit_rows(N_ROWS, 6), rng.uniform(0.2, 2.0, N_ROWS)
    y = {
        "softmax": lambda: labels(X, 3).astype(np.int64),
        "sigmoid": lambda: rng.integers(0, 2, (N_ROWS, 3)).astype(float),
        "poisson": lambda: rng.poisson(1.0, (N_ROWS, 3)).astype(float),
    }.get(loss, lambda: rng.standard_normal((N_ROWS, 3)))()
    model = Network((6, 8, 5, 3), loss=loss, activation=activation, loss_parameter=DELTA, batch_size=N_ROWS, **settings)
    return model, rows_of(X, y, weight), model.init(4)


def leaves(model, state):
    """PyTorch's tensors of a state's parameters, ``[coefs, intercepts]``."""
    views = model.views(state)
    return [[torch.tensor(part, requires_grad=True) for part in views[name]] for name in ("coefs", "intercepts")]


def their_loss(model, rows, coefs, intercepts):
    value = torch.tensor(np.array(rows.x.data).reshape(N_ROWS, -1))
    for layer, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True)):
        value = value @ coef + intercept
        value = value if layer == len(coefs) - 1 else THEIR_ACTIVATIONS[model.activation](value)
    losses = THEIR_LOSSES[model.loss](value, torch.tensor(np.array(rows.y))).sum(dim=1)
    weight = torch.tensor(np.array(rows.weight))
    return (losses * weight).sum() / weight.sum()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_pytorchs(loss, activation):
    model, rows, state = make(loss, activation, alpha=0.7)
    coefs, intercepts = leaves(model, state)
    objective = their_loss(model, rows, coefs, intercepts)
    objective = objective + 0.5 * model.alpha / rows.weight.sum() * sum((coef**2).sum() for coef in coefs)
    objective.backward()
    value, gradient = model.gradient(state, rows)
    if loss == "poisson":  # the part that does not depend on the prediction
        value -= np.average((xlogy(rows.y, rows.y) - rows.y).sum(axis=1), weights=rows.weight)
    np.testing.assert_allclose(value, objective.item(), rtol=1e-12)
    views = model.views(gradient)
    for ours, theirs in zip(views["coefs"] + views["intercepts"], coefs + intercepts, strict=True):
        np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=1e-9, atol=1e-13)


@pytest.fixture(scope="module")
def optim(tmp_path_factory):
    """``torch.optim``, whose first optimiser sets an environment variable and makes a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("torch")))
        torch.optim.SGD([torch.zeros(1, requires_grad=True)])
        yield torch.optim


@pytest.mark.parametrize("solver", ["sgd", "momentum", "nesterov", "adam", "adamw"])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_steps_are_pytorchs(solver, activation, optim):
    # PyTorch adds epsilon to the corrected root, we to the root as scikit-learn does: they agree where it is small
    model, rows, state = make("softmax", activation, alpha=0.7, solver=solver, eta0=0.01, epsilon=1e-15)
    coefs, intercepts = leaves(model, state)
    decay = model.alpha if solver == "adamw" else model.alpha / float(rows.weight.sum())
    groups = [{"params": coefs, "weight_decay": decay}, {"params": intercepts, "weight_decay": 0.0}]
    optimizer = {
        "sgd": lambda: optim.SGD(groups, lr=model.eta0),
        "momentum": lambda: optim.SGD(groups, lr=model.eta0, momentum=model.momentum),
        "nesterov": lambda: optim.SGD(groups, lr=model.eta0, momentum=model.momentum, nesterov=True),
        "adam": lambda: optim.Adam(groups, lr=model.eta0, betas=(0.9, 0.999), eps=model.epsilon),
        "adamw": lambda: optim.AdamW(groups, lr=model.eta0, betas=(0.9, 0.999), eps=model.epsilon),
    }[solver]()
    sgd_run = model.sgd_run(state, 1.0, np.ones(1), 0)
    for _ in range(6):
        sgd_run.run(rows, np.arange(N_ROWS, dtype=np.int32), 0, N_ROWS)
        optimizer.zero_grad()
        their_loss(model, rows, coefs, intercepts).backward()
        optimizer.step()
    views = model.views(state)
    for ours, theirs in zip(views["coefs"] + views["intercepts"], coefs + intercepts, strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-7, atol=1e-9)


def test_clipped_steps_are_pytorchs(optim):
    model, rows, state = make("softmax", "tanh", alpha=0.0, solver="sgd", eta0=0.5, clip_norm=0.05)
    coefs, intercepts = leaves(model, state)
    optimizer = optim.SGD(coefs + intercepts, lr=model.eta0)
    sgd_run = model.sgd_run(state, 1.0, np.ones(1), 0)
    lengths = []
    for _ in range(3):
        sgd_run.run(rows, np.arange(N_ROWS, dtype=np.int32), 0, N_ROWS)
        optimizer.zero_grad()
        their_loss(model, rows, coefs, intercepts).backward()
        lengths.append(torch.nn.utils.clip_grad_norm_(coefs + intercepts, model.clip_norm).item())
        optimizer.step()
    assert min(lengths) > model.clip_norm
    views = model.views(state)
    for ours, theirs in zip(views["coefs"] + views["intercepts"], coefs + intercepts, strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-5, atol=1e-9)
