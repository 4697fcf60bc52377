"""Laws of training modules: one worker is the plain loop, engines agree to the bit, algorithms have their limits."""

import functools
import math
import os
from unittest import mock

import numpy as np
import pytest
import torch
from torch_modules import adamw, cross_entropy, make_net, plain_loop, same_bits, sgd

from parsgd import (
    AsyncDiLoCo,
    AsyncSGD,
    DiLoCo,
    LocalSGD,
    Malenia,
    MiniBatch,
    MSync,
    PostLocalSGD,
    Rennala,
    Ringleader,
    Ringmaster,
    Simulated,
    WeightedAverage,
)
from parsgd.core import Rows
from parsgd.errors import IncompatiblePartsError
from parsgd.models.torch.flat_layout import FlatLayout
from parsgd.models.torch.torch_model import TorchModel
from parsgd.testing import check_algorithm, check_model
from parsgd.torch import Trainer
from parsgd.utils.row_arrays import rows_of

OPTIMIZERS = {
    "sgd": sgd,
    "momentum": lambda params: torch.optim.SGD(params, lr=0.05, momentum=0.9),
    "nesterov": lambda params: torch.optim.SGD(params, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adam": lambda params: torch.optim.Adam(params, lr=0.01),
    "adamw": adamw,
}


def halved(optimizer):
    return torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)


def close(one, other, tolerance=1e-6):
    with torch.no_grad():
        pairs = zip(one.parameters(), other.parameters(), strict=True)
        return all(torch.allclose(p, q, atol=tolerance) for p, q in pairs)


def train(rows, algorithm, engine="serial", n_workers=3, dropout=0.2, batch_norm=True, optimizer=adamw, **settings):
    net = make_net(dropout, batch_norm)
    trainer = Trainer(net, cross_entropy, optimizer=optimizer, algorithm=algorithm, engine=engine, n_workers=n_workers,
                      random_state=7, **settings)  # fmt: skip
    return trainer.fit(rows, epochs=2).module


@pytest.mark.parametrize("sync_every", [1.0, 0.1, 7])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_worker_is_the_plain_loop_bit_for_bit(rows, name, sync_every):
    expected = plain_loop(make_net(), rows, OPTIMIZERS[name], halved, epochs=2)
    found = train(rows, LocalSGD(sync_every=sync_every), n_workers=1, optimizer=OPTIMIZERS[name], scheduler=halved)
    assert same_bits(expected, found)


@pytest.mark.parametrize("engine", ["threads", "processes", Simulated()], ids=str)
def test_one_worker_is_the_plain_loop_on_every_engine(rows, engine):
    threads = torch.get_num_threads()
    expected = plain_loop(make_net(), rows, adamw, epochs=2)
    assert same_bits(expected, train(rows, "local", engine, n_workers=1, n_threads=threads))


SYNCHRONOUS = [LocalSGD(sync_every=4), DiLoCo(sync_every=5), PostLocalSGD(sync_every=6), MiniBatch(), "simuparallel"]


@pytest.mark.parametrize("algorithm", SYNCHRONOUS, ids=lambda algorithm: getattr(algorithm, "name", algorithm))
def test_synchronous_algorithms_have_the_same_bits_on_every_engine(rows, algorithm):
    expected = train(rows, algorithm)
    for engine in ("processes", Simulated(speeds=[1.0, 0.5, 0.25], rate=100.0)):
        assert same_bits(expected, train(rows, algorithm, engine)), engine
    without_dropout = train(rows, algorithm, dropout=0.0)
    assert same_bits(without_dropout, train(rows, algorithm, "threads", dropout=0.0))


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", SYNCHRONOUS[:4], ids=lambda algorithm: algorithm.name)
def test_synchronous_algorithms_have_the_same_bits_on_dask(rows, algorithm):
    distributed = pytest.importorskip("distributed")
    # a local cluster sets variables for its processes
    with (
        mock.patch.dict(os.environ),
        distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address=None),
    ):
        assert same_bits(train(rows, algorithm), train(rows, algorithm, "dask"))


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", SYNCHRONOUS[:4], ids=lambda algorithm: algorithm.name)
def test_synchronous_algorithms_have_the_same_bits_on_ray(rows, algorithm, kept_engine):
    assert same_bits(train(rows, algorithm), train(rows, algorithm, kept_engine("ray")))


def test_the_mean_gradient_of_several_workers_is_that_of_one_large_batch(rows):
    expected = plain_loop(make_net(0.0, False), rows, adamw, batch_size=96, epochs=2)
    found = train(rows, MiniBatch(), dropout=0.0, batch_norm=False)
    with torch.no_grad():
        assert all(
            torch.allclose(p, q, atol=1e-6) for p, q in zip(expected.parameters(), found.parameters(), strict=False)
        )


@pytest.mark.parametrize("algorithm", [Rennala(1), Malenia(1), Ringmaster(1), AsyncSGD(), MSync(1)], ids=repr)
def test_one_worker_that_sends_gradients_makes_the_steps_of_mini_batches(rows, algorithm):
    settings = {"n_workers": 1, "scheduler": halved}
    assert same_bits(train(rows, MiniBatch(), **settings), train(rows, algorithm, **settings))


@pytest.mark.parametrize(
    "algorithm", [Rennala(), Malenia(3), Ringmaster(4, stops=True), Ringleader(), AsyncSGD(), MSync(2)], ids=repr
)
def test_gradients_of_unequal_workers_lower_the_loss(rows, algorithm):
    engine = Simulated(speeds=[1.0, 0.6, 0.2], rate=100.0)
    trainer = Trainer(
        make_net(0.0, False),
        cross_entropy,
        optimizer=adamw,
        algorithm=algorithm,
        engine=engine,
        n_workers=3,
        random_state=7,
    )
    losses = trainer.fit(rows, rows, epochs=4).validation_losses_
    assert losses[-1] < 0.95 * losses[0]


def test_gradient_averaging_with_a_schedule_and_clipping_is_one_large_batch(rows):
    settings = {"scheduler": halved, "scheduler_interval": "step", "clip_norm": 0.5}
    one = train(rows, MiniBatch(96), n_workers=1, dropout=0.0, batch_norm=False, **settings)
    three = train(rows, MiniBatch(96), n_workers=3, dropout=0.0, batch_norm=False, **settings)
    assert close(one, three)


class Recorder(torch.optim.SGD):
    """SGD that records its rates, in a list that all copies share."""

    rates = []

    def step(self, *arguments, **settings):
        self.rates.append(self.param_groups[0]["lr"])
        return super().step(*arguments, **settings)


@pytest.mark.parametrize("algorithm", [MiniBatch(), LocalSGD(sync_every=1.0)], ids=lambda given: given.name)
def test_schedules_advance_with_the_epochs(rows, algorithm):
    Recorder.rates.clear()
    settings = {"optimizer": lambda params: Recorder(params, lr=0.1), "scheduler": halved}
    train((rows[0][:960], rows[1][:960]), algorithm, n_workers=2, **settings)
    assert sorted(set(Recorder.rates)) == [0.05, 0.1]
    assert Recorder.rates.count(0.1) == Recorder.rates.count(0.05)


def test_a_deadline_shortens_fits_in_rounds_of_steps(rows):
    # at a quarter of the speed, waiting takes four times as long
    engine = Simulated(speeds=[1.0, 1.0, 0.25], rate=100.0)
    settings = {"optimizer": adamw, "engine": engine, "n_workers": 3}
    seconds = {}
    for deadline in (None, "auto"):
        algorithm = LocalSGD(sync_every=4, deadline=deadline)
        trainer = Trainer(make_net(), cross_entropy, algorithm=algorithm, **settings).fit(rows, epochs=4)
        seconds[deadline] = trainer.history_[-1]["seconds"]
        assert trainer.n_epochs_ == 4
    assert seconds["auto"] < 0.7 * seconds[None]


@pytest.mark.parametrize("n_workers", [1, 2, 3, 4])
def test_asynchronous_diloco_with_unlimited_grace_is_diloco_bit_for_bit(rows, n_workers):
    expected = train(rows, DiLoCo(sync_every=5), n_workers=n_workers)
    assert same_bits(expected, train(rows, AsyncDiLoCo(sync_every=5, grace=math.inf), n_workers=n_workers))


def test_asynchronous_diloco_with_a_grace_that_covers_all_workers_is_diloco(rows):
    # equal shards and rounds; the slowest worker answers a third of a second after the fastest
    even = rows[0][:960], rows[1][:960]
    engine = Simulated(speeds=[1.0, 0.8, 0.6], rate=500.0)
    expected = train(even, DiLoCo(sync_every=5))
    assert same_bits(expected, train(even, AsyncDiLoCo(sync_every=5, grace=10.0), engine))
    assert not same_bits(expected, train(even, AsyncDiLoCo(sync_every=5, grace=0.0), engine))


def test_an_average_after_every_step_is_the_mean_gradient_for_sgd_with_momentum(rows):
    even = rows[0][:960], rows[1][:960]
    momentum = OPTIMIZERS["momentum"]
    shared = {"dropout": 0.0, "batch_norm": False, "optimizer": momentum, "shuffle": False}
    averaged = train(even, PostLocalSGD(warmup_epochs=9), n_workers=2, **shared)
    net = make_net(0.0, False)
    steps = momentum(net.parameters())
    halves = [np.sort(part) for part in np.array_split(np.random.default_rng(7).permutation(960), 2)]
    for _ in range(2):
        for start in range(0, 480, 32):
            index = np.concatenate([half[start : start + 32] for half in halves])
            steps.zero_grad()
            cross_entropy(net(even[0][index]), even[1][index]).backward()
            steps.step()
    with torch.no_grad():
        assert all(
            torch.allclose(p, q, atol=1e-5) for p, q in zip(net.parameters(), averaged.parameters(), strict=False)
        )


def test_accumulated_gradients_are_those_of_one_batch(rows):
    expected = plain_loop(make_net(0.0, False), rows, sgd, batch_size=64, epochs=2)
    found = train(rows, "local", n_workers=1, dropout=0.0, batch_norm=False, optimizer=sgd, batch_size=16, accumulate=4)
    with torch.no_grad():
        assert all(
            torch.allclose(p, q, atol=1e-6) for p, q in zip(expected.parameters(), found.parameters(), strict=False)
        )


def test_moments_of_a_worker_continue_or_begin_anew_as_asked(rows):
    kept = train(rows, LocalSGD(sync_every=4), n_workers=1)
    new = train(rows, LocalSGD(sync_every=4), n_workers=1, optimizer_state="new")
    assert not same_bits(kept, new)
    # plain SGD has no moments, and the schedule continues
    settings = {"n_workers": 1, "optimizer": sgd, "scheduler": halved}
    assert same_bits(
        train(rows, LocalSGD(sync_every=4), **settings),
        train(rows, LocalSGD(sync_every=4), optimizer_state="new", **settings),
    )


def test_running_statistics_are_averaged_as_parameters_are(rows):
    net = train(rows, LocalSGD(sync_every=1.0), n_workers=3)
    norm = net[1]
    assert torch.isfinite(norm.running_var).all()
    assert (norm.running_var > 0).all()
    # every worker made 11 steps in each of two epochs: 335, 334 and 334 rows in batches of 32
    assert norm.num_batches_tracked.item() == 22


@pytest.mark.parametrize(
    "algorithm", [DiLoCo(5), PostLocalSGD(5), AsyncDiLoCo(5)], ids=lambda algorithm: algorithm.name
)
def test_the_algorithms_fulfil_their_contract(algorithm):
    check_algorithm(algorithm)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_a_module_fulfils_the_contract_of_models(optimizer):
    X = np.random.default_rng(0).standard_normal((50, 4))
    rows = rows_of(X, X @ np.ones(4))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Flatten(0)).double()
    factory = functools.partial(optimizer, lr=0.1)
    for shape in (None, ()):
        # with the shape of an output the model judges probe rows
        model = TorchModel(module, torch.nn.MSELoss(), factory, FlatLayout.of(module), 8, 8, output_shape=shape)
        assert ("averaging" in model.capabilities) == (shape is not None)
        check_model(model, rows)


def test_decisions_are_outputs_and_their_loss_is_that_of_the_module(rows):
    net = make_net()
    model = TorchModel(net, cross_entropy, adamw, FlatLayout.of(net), output_shape=(2,))
    X, y = rows
    decision = model.decision(model.init(0), X)
    sample = Rows(X, y.numpy(), np.empty(0))
    loss, gradient = model.mean_loss(decision, sample)
    with torch.no_grad():
        expected = cross_entropy(net.eval()(X), y).item()
    assert loss == pytest.approx(expected, rel=1e-6)
    step = np.random.default_rng(0).standard_normal(decision.shape)
    slope = (
        model.mean_loss(decision + 1e-6 * step, sample)[0] - model.mean_loss(decision - 1e-6 * step, sample)[0]
    ) / 2e-6
    assert slope == pytest.approx(float((gradient * step).sum()), rel=1e-4)


PROBING = [LocalSGD(rule="learned"), LocalSGD(outer_optimizer="adaptive"), WeightedAverage(rule="learned")]


@pytest.mark.parametrize("algorithm", PROBING, ids=["learned", "adaptive", "one average"])
def test_probe_rows_judge_merges_on_every_engine_alike(algorithm):
    X = torch.randn(3003, 20, generator=torch.Generator().manual_seed(0))
    many = X, (X[:, :3].sum(1) > 0).long()
    expected = train(many, algorithm)
    assert same_bits(expected, train(many, algorithm, "processes"))
    with torch.no_grad():
        assert cross_entropy(expected(X), many[1]) < 0.2


def test_learned_weights_shorten_a_merge_that_moves_too_far():
    # every worker overshoots on noise, so that less of the mean displacement has a smaller loss
    X = torch.randn(3003, 20, generator=torch.Generator().manual_seed(0))
    noise = torch.randint(0, 2, (3003,), generator=torch.Generator().manual_seed(1))
    fast = Trainer(torch.nn.Linear(20, 2), cross_entropy, optimizer=lambda params: torch.optim.SGD(params, lr=5.0),
                   algorithm=LocalSGD(rule="learned", sync_every=1.0), engine="serial", n_workers=3)  # fmt: skip
    weights = [worker["weight"] for worker in fast.fit((X, noise)).history_[0]["workers"]]
    assert sum(weights) < 0.9


def test_probe_rows_need_an_output_and_a_target(rows):
    class WithLoss(torch.nn.Linear):
        def forward(self, x, y):
            return cross_entropy(super().forward(x), y)

    trainer = Trainer(
        WithLoss(20, 2), optimizer=adamw, algorithm=LocalSGD(rule="learned"), engine="serial", n_workers=2
    )
    with pytest.raises(IncompatiblePartsError, match="probe rows need a loss"):
        trainer.fit(rows)
