"""Fits and predictions of ``TorchClassifier``."""

import signal

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sklearn.datasets import load_iris  # noqa: E402
from sklearn.utils import compute_class_weight  # noqa: E402

from parsgd import LocalSGD, MiniBatch  # noqa: E402
from parsgd.errors import InvalidArgumentError, Outcome  # noqa: E402
from parsgd.torch import TorchClassifier, Trainer  # noqa: E402

X, y = load_iris(return_X_y=True)
X = (X - X.mean(0)) / X.std(0)
SGD = torch.optim.SGD


def linear(n_features, n_outputs):
    """Make a linear module of float64."""
    return torch.nn.Linear(n_features, n_outputs, dtype=torch.float64)


def make(module=linear, **params):
    """Make a classifier whose fit takes few steps on one thread."""
    settings = {"optimizer": SGD, "lr": 0.1, "max_epochs": 5, "random_state": 0, "n_threads": 1}
    return TorchClassifier(module, **{**settings, **params})


def weights_of(model):
    return torch.cat([p.detach().reshape(-1) for p in model.module_.parameters()]).numpy()


def test_one_worker_makes_the_steps_of_a_plain_loop():
    theirs = linear(4, 3)
    ours = make(module=theirs, shuffle=False, batch_size=40, optimizer__momentum=0.9).fit(X, y)
    optimizer = SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    inputs, targets = torch.from_numpy(X), torch.from_numpy(y)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(5):
        for at in range(0, 150, 40):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(theirs(inputs[at : at + 40]), targets[at : at + 40]).backward()
            optimizer.step()
    torch.set_num_threads(n_threads)
    assert np.array_equal(weights_of(ours), torch.cat([p.detach().reshape(-1) for p in theirs.parameters()]).numpy())


# -- labels and outputs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [["b", "a", "c"], [30, -2, 7], [2.0, 0.0, 1.0], np.array(["x", "y", "z"], object)])
def test_labels_of_any_type_are_predicted(labels):
    names = np.asarray(labels)[y]
    model = make(max_epochs=20).fit(X, names)
    assert np.array_equal(model.classes_, np.unique(names))
    assert model.predict(X).dtype == names.dtype
    assert model.score(X, names) > 0.8


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("module", [None, linear])
def test_probabilities_sum_to_one_and_agree_with_decisions(module, n_classes):
    rows = y < n_classes
    model = make(module=module).fit(X[rows], y[rows])
    p, decision = model.predict_proba(X), model.decision_function(X)
    assert p.shape == (150, n_classes)
    np.testing.assert_allclose(p.sum(1), 1.0, rtol=1e-6)
    assert decision.shape == ((150,) if n_classes == 2 else (150, 3))
    numbers = decision > 0 if n_classes == 2 else decision.argmax(1)
    assert np.array_equal(numbers, p.argmax(1))
    assert np.array_equal(model.predict(X), model.classes_[p.argmax(1)])


@pytest.mark.parametrize(
    ("module", "loss"),
    [
        (torch.nn.Linear(4, 1), None),
        (torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Flatten(0)), None),
        (linear, torch.nn.BCEWithLogitsLoss),
        (linear, torch.nn.functional.binary_cross_entropy_with_logits),
        (torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Sigmoid()), torch.nn.BCELoss()),
        (torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.LogSoftmax(1)), torch.nn.NLLLoss),
    ],
)
def test_two_classes_may_have_one_output_and_probabilities(module, loss):
    labels = np.where(y == 0, "setosa", "other")
    weight = np.linspace(0.1, 1, 150)
    model = make(module=module, loss=loss, max_epochs=10).fit(X, labels, sample_weight=weight)
    assert model.score(X, labels) > 0.95
    p = model.predict_proba(X)
    np.testing.assert_allclose(p.sum(1), 1.0, rtol=1e-6)
    assert np.array_equal(p[:, 1] > 0.5, model.decision_function(X) > 0)
    np.testing.assert_allclose(p[:, 1], 1 / (1 + np.exp(-model.decision_function(X))), rtol=1e-4)


def test_outputs_that_do_not_fit_the_classes_are_refused_before_the_training():
    calls = []
    watch = dict(on_epoch=calls.append)
    with pytest.raises(InvalidArgumentError, match=r"must have 3 output columns for 3 classes. It has 2"):
        make(module=torch.nn.Linear(4, 2), **watch).fit(X, y)
    with pytest.raises(InvalidArgumentError, match=r"BCEWithLogitsLoss is for two classes, and y has 3"):
        make(loss=torch.nn.BCEWithLogitsLoss, **watch).fit(X, y)
    with pytest.raises(InvalidArgumentError, match=r"2 output columns .* with the loss CrossEntropyLoss. It has 1"):
        make(module=torch.nn.Linear(4, 1), loss=torch.nn.CrossEntropyLoss(), **watch).fit(X, y > 0)
    with pytest.raises(InvalidArgumentError, match="one class"):
        make(**watch).fit(X, np.ones(150))
    assert not calls


# -- weights -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [None, torch.nn.functional.cross_entropy, torch.nn.MultiMarginLoss()])
def test_weights_are_rows_repeated_in_full_batches(loss):
    times = np.random.default_rng(0).integers(0, 4, 150)
    settings = dict(loss=loss, batch_size=1000, max_epochs=10)
    ours = make(**settings).fit(X, y, sample_weight=times)
    theirs = make(**settings).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    np.testing.assert_allclose(weights_of(ours), weights_of(theirs), rtol=1e-10)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-10)


def test_equal_weights_are_no_weights_and_their_scale_does_not_matter():
    plain = weights_of(make().fit(X, y))
    assert np.array_equal(weights_of(make().fit(X, y, sample_weight=np.full(150, 1e-200))), plain)
    weight = np.random.default_rng(0).integers(0, 5, 150)
    ours, theirs = (weights_of(make().fit(X, y, sample_weight=weight * factor)) for factor in (1.0, 2.0**200))
    assert np.array_equal(ours, theirs)
    assert not np.array_equal(ours, plain)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 3.0, 2: 0.5}])
def test_class_weights_are_sample_weights(class_weight):
    few = np.r_[:20, 50:150]
    factors = compute_class_weight(class_weight, classes=np.arange(3), y=y[few])
    own = np.linspace(1, 2, len(few))
    for weight in (None, own):
        theirs_weight = factors[y[few]] if weight is None else factors[y[few]] * weight
        ours = make(class_weight=class_weight).fit(X[few], y[few], sample_weight=weight)
        theirs = make().fit(X[few], y[few], sample_weight=theirs_weight)
        assert np.array_equal(weights_of(ours), weights_of(theirs))
    with pytest.raises(InvalidArgumentError, match="class_weight"):
        make(class_weight="even").fit(X, y)
    with pytest.raises(InvalidArgumentError, match="zero everywhere"):
        make(class_weight={0: 0, 1: 0, 2: 0}).fit(X, y)


# -- several fits ------------------------------------------------------------------------------------------------------


def test_partial_fits_are_warm_fits_of_one_epoch():
    ours, theirs = make(), make(max_epochs=1, warm_start=True)
    for _ in range(3):
        ours.partial_fit(X, y, classes=[0, 1, 2])
        theirs.fit(X, y)
    assert np.array_equal(weights_of(ours), weights_of(theirs))
    assert ours.n_iter_ == theirs.n_iter_ == 3
    assert ours.loss_curve_ == theirs.loss_curve_
    assert len(ours.loss_curve_) == 3


def test_partial_fits_are_one_fit_in_pieces_without_shuffle_and_momentum():
    whole = make(max_epochs=3, shuffle=False).fit(X, y)
    pieces = make(shuffle=False)
    for _ in range(3):
        pieces.partial_fit(X, y, classes=[0, 1, 2])
    assert np.array_equal(weights_of(pieces), weights_of(whole))


def test_partial_fit_visits_rows_in_another_order_in_every_call():
    orders = []

    class Watching(torch.nn.Linear):
        def forward(self, rows):
            orders[-1].append(rows[:, 0].detach().numpy().copy())
            return super().forward(rows)

    model = make(module=Watching, module__in_features=1, module__out_features=2, batch_size=1000)
    for _ in range(2):
        orders.append([])
        model.partial_fit(np.arange(9.0)[:, None] / 9, np.arange(9) % 2, classes=[0, 1])
    assert not np.array_equal(orders[0][-1], orders[1][-1])
    assert np.array_equal(np.sort(orders[0][-1]), np.sort(orders[1][-1]))


def test_partial_fit_gets_all_classes_in_its_first_call():
    model = make().partial_fit(X[:50], y[:50], classes=[0, 1, 2])
    assert model.predict_proba(X).shape == (150, 3)
    with pytest.raises(ValueError, match="classes"):
        make().partial_fit(X, y)
    with pytest.raises(InvalidArgumentError, match=r"labels \[7\]"):
        model.partial_fit(X, np.full(150, 7))
    with pytest.raises(InvalidArgumentError, match="'balanced' does not work with partial_fit"):
        make(class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])


def test_a_warm_start_needs_the_same_classes_and_a_cold_one_begins_again():
    model = make(warm_start=True).fit(X, y).fit(X, y)
    assert model.n_iter_ == len(model.loss_curve_) == 10
    with pytest.raises(InvalidArgumentError, match="same classes"):
        model.fit(X, y + 1)
    cold = model.set_params(warm_start=False).fit(X, y)
    assert cold.n_iter_ == 5
    assert np.array_equal(weights_of(cold), weights_of(make().fit(X, y)))


# -- the run -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", [LocalSGD(sync_every=0.5), MiniBatch(), "local"])
def test_two_workers_train_as_those_of_a_trainer(algorithm):
    settings = dict(algorithm=algorithm, engine="serial", n_workers=2, batch_size=16, n_threads=1)
    ours = make(module=torch.nn.Linear(4, 3), max_epochs=10, **settings).fit(X, y)
    module = torch.nn.Linear(4, 3)
    module.load_state_dict(ours.module.state_dict())
    seeds = np.random.RandomState(0).randint(np.iinfo(np.int32).max, size=2)
    trainer = Trainer(
        module,
        torch.nn.CrossEntropyLoss(),
        optimizer=lambda params: SGD(params, lr=0.1),
        random_state=int(seeds[1]),
        **settings,
    ).fit((X.astype(np.float32), y), epochs=10)
    assert torch.equal(trainer.module.weight, ours.module_.weight)
    assert len(ours.history_[0]["workers"]) in (1, 2)
    one = make(module=ours.module, max_epochs=10, batch_size=32).fit(X, y)
    assert abs(ours.score(X, y) - one.score(X, y)) < 0.1


def test_an_early_stop_keeps_the_parameters_of_the_smallest_validation_loss():
    # labels without relation to the rows, which the network learns by heart
    labels = np.random.default_rng(0).integers(0, 2, 150)
    settings = dict(module=None, optimizer=torch.optim.AdamW, lr=0.05, max_epochs=60, patience=4)
    model = make(early_stopping=True, validation_fraction=0.3, **settings).fit(X, labels)
    losses = model.validation_losses_
    assert model.outcome_ is Outcome.CONVERGED
    assert len(losses) == model.n_iter_ == int(np.argmin(losses)) + 1 + 4
    stopped = make(early_stopping=True, **settings).fit(X[:100], labels[:100], X_val=X[100:], y_val=labels[100:])
    p = stopped.predict_proba(X[100:])[np.arange(50), labels[100:]]
    np.testing.assert_allclose(-np.log(p).mean(), min(stopped.validation_losses_), rtol=1e-4)
    watched = make(**{**settings, "max_epochs": 3}).fit(X[:100], labels[:100], X_val=X[100:], y_val=labels[100:])
    assert len(watched.validation_losses_) == 3
    with pytest.raises(InvalidArgumentError, match=r"labels \[9\]"):
        make().fit(X, y, X_val=X, y_val=np.full(150, 9))


def test_schedules_and_learning_rates_reach_the_optimizer():
    seen = []

    class Recording(SGD):
        def step(self, closure=None):
            seen.append((self.param_groups[0]["lr"], self.param_groups[0]["momentum"]))
            return super().step(closure)

    schedule = dict(scheduler=torch.optim.lr_scheduler.StepLR, scheduler__step_size=1, scheduler__gamma=0.5)
    make(optimizer=Recording, optimizer__momentum=0.9, batch_size=150, max_epochs=3, **schedule).fit(X, y)
    assert seen == [(0.1, 0.9), (0.05, 0.9), (0.025, 0.9)]
    seen.clear()
    # a function without an argument of this name has its own learning rate
    make(optimizer=lambda params: Recording(params, lr=0.3), batch_size=150, max_epochs=1).fit(X, y)
    assert seen == [(0.3, 0)]


def test_ctrl_c_keeps_the_model_and_is_raised_to_programs():
    pressed = []

    def press_once(trainer):
        if not pressed:
            pressed.append(signal.raise_signal(signal.SIGINT))

    model = make(max_epochs=1000, on_epoch=press_once)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert model.outcome_ is Outcome.INTERRUPTED
    assert 1 <= model.n_iter_ <= 2
    assert model.predict(X).shape == (150,)


@pytest.mark.slow
def test_workers_in_processes_train_as_those_in_this_process():
    settings = dict(algorithm="local", n_workers=2, loss=torch.nn.CrossEntropyLoss, loss__label_smoothing=0.1)
    weight = np.linspace(0, 1, 150)
    ours, theirs = (
        make(module=None, engine=engine, **settings).fit(X, y, sample_weight=weight)
        for engine in ("processes", "serial")
    )
    assert np.array_equal(weights_of(ours), weights_of(theirs))
