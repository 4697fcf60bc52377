"""Kinds of training data, and kinds of modules."""

import copy

import numpy as np
import pytest
import torch
from torch.utils import data as torch_data
from torch_modules import N_ROWS, adamw, cross_entropy, make_net, same_bits, sgd

from parsgd import LocalSGD, open_dataset
from parsgd.errors import InvalidArgumentError
from parsgd.models.torch.flat_layout import FlatLayout
from parsgd.torch import Trainer


class Pairs(torch_data.Dataset):
    """A data set of single examples."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows[0])

    def __getitem__(self, index):
        return self.rows[0][index], self.rows[1][index]


class Stream(torch_data.IterableDataset):
    """The same examples one after the other, ``length`` of them."""

    def __init__(self, rows, length):
        self.rows, self.length, self.epochs = rows, length, []

    def set_epoch(self, epoch):
        self.epochs.append(epoch)

    def __iter__(self):
        return (pair for pair, _ in zip(zip(*self.rows, strict=False), range(self.length), strict=False))


def train(data, module=None, loss=cross_entropy, n_workers=2, epochs=2, optimizer=adamw, n_examples=None, **settings):
    module = make_net() if module is None else module
    trainer = Trainer(module, loss, optimizer=optimizer, engine="serial", n_workers=n_workers, **settings)
    return trainer.fit(data, data if n_examples is None else None, epochs=epochs, n_examples=n_examples)


def test_arrays_tensors_data_sets_and_loaders_give_the_same_fit(rows):
    expected = train(rows).module
    arrays = rows[0].numpy(), rows[1].numpy()
    assert same_bits(expected, train(arrays).module)
    assert same_bits(expected, train(torch_data.TensorDataset(*rows)).module)
    assert same_bits(expected, train(Pairs(rows)).module)
    loader = torch_data.DataLoader(Pairs(rows), batch_size=32, shuffle=True)
    assert same_bits(expected, train(loader, batch_size=5).module)


def test_the_settings_of_a_loader_are_respected(rows):
    calls = []

    def collate(examples):
        calls.append(len(examples))
        return torch_data.default_collate(examples)

    loader = torch_data.DataLoader(Pairs(rows), batch_size=100, drop_last=True, collate_fn=collate)
    net = train(loader, n_workers=1, epochs=1, optimizer=sgd).module
    # the first is the check of the module, and the last eleven are the validation
    assert calls[1:11] == [100] * 10
    assert sum(calls[11:]) == N_ROWS
    in_order = train(rows, n_workers=1, epochs=1, optimizer=sgd, batch_size=100, shuffle=False, drop_last=True).module
    assert same_bits(in_order, net)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"sampler": torch_data.WeightedRandomSampler([1.0] * N_ROWS, 10)}, "WeightedRandomSampler"),
        ({"sampler": torch_data.SubsetRandomSampler(range(10))}, "SubsetRandomSampler"),
        ({"batch_sampler": torch_data.BatchSampler(range(10), 2, False)}, ""),
        ({"batch_size": None}, "batch size"),
    ],
)
def test_samplers_that_cannot_be_divided_are_refused_by_name(rows, settings, name):
    with pytest.raises(InvalidArgumentError, match=f"{name}.*cannot be divided"):
        train(torch_data.DataLoader(Pairs(rows), **settings))


def test_tensors_pass_through_a_function_of_the_user(rows):
    def double(examples):
        X, y = torch_data.default_collate(examples)
        return 2.0 * X, y

    class Doubled(torch_data.TensorDataset):
        def __getitem__(self, index):
            X, y = super().__getitem__(index)
            return 2.0 * X, y

    expected = train((2.0 * rows[0], rows[1])).module
    loader = torch_data.DataLoader(torch_data.TensorDataset(*rows), batch_size=32, shuffle=True, collate_fn=double)
    assert same_bits(expected, train(loader).module)
    assert same_bits(expected, train(Doubled(*rows)).module)


def test_an_iterable_data_set_without_a_length_validates(rows):
    trainer = Trainer(make_net(), cross_entropy, optimizer=adamw, engine="serial", n_workers=2)
    trainer.fit(rows, Stream(rows, N_ROWS), epochs=1)
    assert trainer.validation_losses_ == pytest.approx([trainer.validation_loss(rows)])


def test_a_sampler_with_replacement_is_refused(rows):
    sampler = torch_data.RandomSampler(Pairs(rows), replacement=True)
    with pytest.raises(InvalidArgumentError, match="replacement"):
        train(torch_data.DataLoader(Pairs(rows), sampler=sampler))


def test_an_iterable_data_set_is_divided_among_the_workers(rows):
    stream = Stream(rows, N_ROWS)
    found = train(stream, n_examples=N_ROWS)
    assert sum(worker["examples"] for entry in found.history_ for worker in entry["workers"]) == 2 * N_ROWS
    # once per task, with the epoch that it reads; the check of the module reads epoch 0
    assert set(stream.epochs) == {0, 1}
    in_order = train(rows, n_workers=1, shuffle=False).module
    assert same_bits(in_order, train(Stream(rows, N_ROWS), n_workers=1, n_examples=N_ROWS).module)


def test_an_iterable_data_set_that_ends_early_is_an_error(rows):
    with pytest.raises(ValueError, match=r"ended after .* of the .* examples"):
        train(Stream(rows, 700), n_examples=N_ROWS)
    with pytest.raises(InvalidArgumentError, match="n_examples"):
        train(Stream(rows, N_ROWS))


def test_a_parsgd_data_set_is_streamed(rows):
    X, y = rows[0].numpy(), rows[1].numpy().astype(np.float32)
    module = torch.nn.Sequential(torch.nn.Linear(20, 1), torch.nn.Flatten(0))
    found = train(open_dataset(X, target=y), module, torch.nn.BCEWithLogitsLoss(), epochs=12)
    assert found.validation_losses_[-1] < 0.4


class TwoInputs(torch.nn.Module):
    """Two inputs, two outputs, one tied and one frozen parameter, two types of numbers."""

    def __init__(self):
        super().__init__()
        self.left, self.right = torch.nn.Linear(10, 8), torch.nn.Linear(10, 8)
        self.right.weight = self.left.weight
        self.head = torch.nn.Linear(8, 2).double()
        self.frozen = torch.nn.Parameter(torch.ones(8), requires_grad=False)

    def forward(self, left, right):
        hidden = torch.relu(self.left(left) + self.right(right)) * self.frozen
        return self.head(hidden.double()), hidden.mean(1)


def test_several_inputs_and_outputs_tied_and_frozen_parameters_and_mixed_types(rows):
    X, y = rows
    examples = [((X[i, :10], X[i, 10:]), y[i]) for i in range(300)]

    def loss(output, target):
        return torch.nn.functional.cross_entropy(output[0], target) + 0.01 * output[1].square().mean()

    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = TwoInputs()
    before = FlatLayout.of(module)
    found = train(examples, module, loss, epochs=6).module
    assert found.right.weight is found.left.weight
    assert torch.equal(found.frozen, torch.ones(8))
    assert "frozen" not in [slot.name for slot in before.slots]
    assert found.head.weight.dtype == torch.float64
    # the tied weight is there once
    assert before.n_parameters == 8 * 10 + 8 + 8 + 8 * 2 + 2


def test_mappings_are_keywords_and_a_module_may_return_its_loss(rows):
    class WithLoss(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(20, 2)

        def forward(self, inputs, labels):
            return {"loss": torch.nn.functional.cross_entropy(self.linear(inputs), labels)}

    examples = [{"inputs": x, "labels": label} for x, label in zip(*rows, strict=False)]
    found = train(examples, WithLoss(), None, epochs=6, optimizer=sgd)
    assert found.validation_losses_[-1] < 0.4


def test_weights_of_examples_count_them_several_times(rows):
    X, y = rows[0][:200], rows[1][:200]
    weights = torch.ones(200)
    weights[:50] = 3.0
    several = torch.cat([torch.arange(200), torch.arange(50), torch.arange(50)])
    per_example = torch.nn.CrossEntropyLoss(reduction="none")
    settings = {"n_workers": 1, "epochs": 20, "optimizer": sgd, "shuffle": False, "batch_size": 300}
    weighted = train((X, y, weights), torch.nn.Linear(20, 2), per_example, **settings)
    repeated = train((X[several], y[several]), torch.nn.Linear(20, 2), cross_entropy, **settings)
    # a linear model is convex, so both are near the same minimum; full batches make the same steps from one start
    start = torch.nn.Linear(20, 2)
    for found in (weighted, repeated):
        found.module.load_state_dict(start.state_dict())
    weighted.fit((X, y, weights), epochs=5)
    repeated.fit((X[several], y[several]), epochs=5)
    with torch.no_grad():
        assert torch.allclose(weighted.module.weight, repeated.module.weight, atol=1e-6)


def test_parts_of_a_module_in_training_mode_keep_their_modes(rows):
    net = make_net()
    net[1].eval()
    assert torch.equal(train(rows, net).module[1].running_mean, torch.zeros(32))
    # a module in evaluation mode is trained whole
    assert not torch.equal(train(rows, make_net().eval()).module[1].running_mean, torch.zeros(32))


class Words(torch.nn.Module):
    """The mean of embeddings with sparse gradients."""

    def __init__(self):
        super().__init__()
        self.table, self.head = torch.nn.Embedding(50, 8, sparse=True), torch.nn.Linear(8, 2)

    def forward(self, words):
        return self.head(self.table(words).mean(1))


@pytest.mark.parametrize("algorithm", ["local", "minibatch"])
def test_sparse_gradients(algorithm):
    words = torch.randint(0, 50, (500, 7), generator=torch.Generator().manual_seed(0))
    examples = words, (words[:, 0] > 25).long()
    losses = train(examples, Words(), optimizer=sgd, algorithm=algorithm, epochs=4).validation_losses_
    assert losses[-1] < losses[0]


def test_recurrent_modules_on_processes(rows):
    class Recurrent(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.head = torch.nn.GRU(4, 8, batch_first=True), torch.nn.Linear(8, 2)

        def forward(self, x):
            return self.head(self.gru(x.view(len(x), 5, 4))[0][:, -1])

    module = Recurrent()
    both = [copy.deepcopy(module), copy.deepcopy(module)]
    for net, engine in zip(both, ("serial", "processes"), strict=True):
        Trainer(net, cross_entropy, optimizer=adamw, engine=engine, n_workers=2).fit(rows)
    assert same_bits(*both)


def test_bfloat16_parameters_keep_their_type(rows):
    module = torch.nn.Linear(20, 2).bfloat16()
    examples = rows[0].bfloat16(), rows[1]
    found = train(examples, module, epochs=4, optimizer=sgd)
    assert found.module.weight.dtype == torch.bfloat16
    assert found.validation_losses_[-1] < 0.5


def test_autocast_trains_in_float32_parameters(rows):
    found = train(rows, autocast="bfloat16", epochs=4)
    assert found.module[0].weight.dtype == torch.float32
    assert found.validation_losses_[-1] < 0.4


def test_the_module_is_an_ordinary_module_after_the_fit(rows, tmp_path):
    found = train(rows).module
    torch.save(found.state_dict(), tmp_path / "net.pt")
    other = make_net()
    other.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    assert same_bits(found, other)
    assert not found.training
    assert all(parameter.grad is None for parameter in found.parameters())
    # a second fit continues from the trained parameters
    again = Trainer(found, cross_entropy, optimizer=adamw, engine="serial", n_workers=2).fit(rows, rows, epochs=2)
    assert again.validation_losses_[-1] < 0.2


def test_patience_keeps_the_best_epoch(rows):
    trainer = train(rows, epochs=40, patience=3, optimizer=lambda params: torch.optim.Adam(params, lr=0.05))
    losses = trainer.validation_losses_
    assert len(losses) < 40
    best = min(losses)
    assert losses[-3:] == [loss for loss in losses[-3:] if loss >= best]
    assert trainer.validation_loss(rows) == pytest.approx(best)


def test_a_callback_sees_the_module_after_every_epoch_and_may_stop(rows):
    seen = []

    def watch(trainer):
        seen.append((trainer.n_epochs_, trainer.validation_losses_[-1]))
        return len(seen) == 3

    found = train(rows, epochs=9, on_epoch=watch, algorithm=LocalSGD(sync_every=1.0))
    assert [epochs for epochs, _ in seen] == [1, 2, 3]
    assert [loss for _, loss in seen] == found.validation_losses_


def test_the_global_random_states_are_left_alone(rows):
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = torch.rand(1), np.random.rand()  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    train(rows)
    assert (torch.rand(1), np.random.rand()) == expected  # noqa: NPY002


def weighted_fit(rows, weights, **settings):
    per_example = torch.nn.CrossEntropyLoss(reduction="none")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = torch.nn.Linear(20, 2)
    data = rows[0][:64], rows[1][:64], weights
    trainer = Trainer(module, per_example, optimizer=sgd, engine="serial", **settings)
    return trainer.fit(data, epochs=3)


def test_weights_count_over_a_whole_step(rows):
    weights = torch.rand(64, generator=torch.Generator().manual_seed(0)) + 9.0 * (torch.arange(64) % 2)
    whole = weighted_fit(rows, weights, n_workers=1, batch_size=64).module
    for settings in ({"n_workers": 1, "accumulate": 2}, {"n_workers": 2, "algorithm": "minibatch"}):
        part = weighted_fit(rows, weights, batch_size=32, **settings).module
        with torch.no_grad():
            assert torch.allclose(whole.weight, part.weight, atol=1e-6), settings


def test_the_weighted_validation_loss_does_not_depend_on_the_batches(rows):
    weights = torch.rand(64, generator=torch.Generator().manual_seed(0)) + 9.0 * (torch.arange(64) % 2)
    trainer = weighted_fit(rows, weights, n_workers=1, batch_size=64)
    losses = []
    for trainer.batch_size in (64, 32, 1):
        losses.append(trainer.validation_loss((rows[0][:64], rows[1][:64], weights)))
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6)


def test_batches_without_any_weight_are_left_out(rows):
    weights = torch.cat([torch.zeros(32), torch.ones(32)])
    found = weighted_fit(rows, weights, n_workers=1, batch_size=32, shuffle=False)
    only = weighted_fit((rows[0][32:64], rows[1][32:64]), torch.ones(32), n_workers=1, batch_size=32, shuffle=False)
    assert torch.equal(found.module.weight, only.module.weight)


def test_a_loss_module_moves_to_the_device(rows):
    loss = torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]))
    assert train(rows, loss=loss, epochs=4).validation_losses_[-1] < 0.5
