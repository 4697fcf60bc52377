"""Bad input gets one clear error, before a worker starts where that can be known."""

import signal
import subprocess
import sys
import threading
from itertools import permutations

import pytest
import torch
from torch_modules import adamw, cross_entropy, make_net, sgd

from parsgd import Hogwild, LocalSGD
from parsgd.errors import DivergedError, IncompatiblePartsError, InvalidArgumentError, Outcome
from parsgd.torch import Trainer


def fit(rows, module=None, loss=cross_entropy, **settings):
    module = make_net() if module is None else module
    settings = {"optimizer": adamw, "engine": "serial", "n_workers": 2, **settings}
    return Trainer(module, loss, **settings).fit(rows)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"module": torch.nn.Linear}, "'module' .* not a class"),
        ({"loss": 3}, "'loss'"),
        ({"optimizer": sgd([torch.zeros(1, requires_grad=True)])}, "'optimizer' .* lambda params"),
        ({"scheduler": "cosine"}, "'scheduler'"),
        ({"batch_size": 0}, "'batch_size'"),
        ({"n_workers": 0}, "'n_workers'"),
        ({"accumulate": 1.5}, "'accumulate'"),
        ({"clip_norm": -1.0}, "'clip_norm'"),
        ({"autocast": "int8"}, "'autocast'"),
        ({"device": "cuda:99"}, "'device' .* device='cpu'"),
        ({"optimizer_state": "merge"}, "'optimizer_state'"),
        ({"scheduler_interval": "batch"}, "'scheduler_interval'"),
        ({"shuffle": "yes"}, "'shuffle'"),
        ({"random_state": -1}, "'random_state'"),
        ({"algorithm": "dilocco"}, "Did you mean 'diloco'"),
        ({"engine": "cluster"}, "'engine'"),
        ({"n_workers": 2000}, "2000 workers and 1003 examples"),
    ],
)
def test_invalid_parameters_are_named(rows, settings, words):
    with pytest.raises(InvalidArgumentError, match=words):
        fit(rows, **settings)


def test_failures_of_the_first_batch_come_before_any_worker(rows):
    started = threading.active_count()
    wide = torch.nn.Linear(21, 2)
    with pytest.raises(InvalidArgumentError, match=r"first batch, \(float32 \(16, 20\), int64 \(16,\)\)"):
        fit(rows, wide, engine="threads")
    with pytest.raises(InvalidArgumentError, match="scalar tensor, got shape"):
        fit(rows, loss=torch.nn.CrossEntropyLoss(reduction="none"))
    with pytest.raises(InvalidArgumentError, match="must be a scalar tensor, got float"):
        fit(rows, loss=lambda output, target: cross_entropy(output, target).item())
    with pytest.raises(InvalidArgumentError, match="does not depend on any trained parameter"):
        fit(rows, loss=lambda output, target: cross_entropy(output.detach(), target))
    with pytest.raises(InvalidArgumentError, match="every batch must be"):
        fit(list(rows[0]))
    assert threading.active_count() == started


def test_unused_parameters_are_named_unless_allowed(rows):
    class Spare(torch.nn.Linear):
        def __init__(self):
            super().__init__(20, 2)
            self.spare = torch.nn.Linear(3, 3)

    with pytest.raises(InvalidArgumentError, match=r"spare\.weight, spare\.bias.*allow_unused=True"):
        fit(rows, Spare())
    fit(rows, Spare(), allow_unused=True)


def test_a_module_without_parameters_or_with_unusual_ones_is_refused(rows):
    with pytest.raises(IncompatiblePartsError, match="no parameter that requires a gradient"):
        fit(rows, torch.nn.Flatten())
    with pytest.raises(IncompatiblePartsError, match="Call the module once"):
        fit(rows, torch.nn.LazyLinear(2))
    module = make_net()
    module.phase = torch.nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    with pytest.raises(IncompatiblePartsError, match="'phase' of the module is complex"):
        fit(rows, module)


def test_a_table_that_changes_is_refused(rows):
    class Counts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(20, 2)
            self.register_buffer("table", torch.zeros(4, dtype=torch.int64))

        def forward(self, x):
            self.table += 1
            return self.linear(x)

    with pytest.raises(InvalidArgumentError, match="'table'"):
        fit(rows, Counts())


def test_threads_refuse_a_module_that_draws_random_numbers(rows):
    with pytest.raises(IncompatiblePartsError, match=r"engine='threads' has one generator"):
        fit(rows, engine="threads")
    fit(rows, make_net(dropout=0.0), engine="threads")


def test_algorithms_that_need_shared_arrays_are_refused(rows):
    with pytest.raises(IncompatiblePartsError, match="shared_steps"):
        fit(rows, algorithm=Hogwild(), engine="threads")
    with pytest.raises(IncompatiblePartsError, match="features"):
        fit(rows, algorithm=LocalSGD(rule="coordinate"))


def test_a_module_that_cannot_be_pickled_is_named(rows):
    module = make_net(dropout=0.0)
    module.lock = threading.Lock()
    with pytest.raises((IncompatiblePartsError, InvalidArgumentError, TypeError), match=r"lock"):
        fit(rows, module, engine="processes")


def test_data_that_are_not_finite_are_refused(rows):
    for value in (float("nan"), float("inf")):
        with pytest.raises(InvalidArgumentError, match="Remove NaN and infinite values"):
            fit((torch.full_like(rows[0], value), rows[1]))


def test_a_diverging_fit_names_the_epoch(rows):
    with pytest.raises(DivergedError, match=r"diverged in epoch \d+.*clip_norm"):
        fit(rows, torch.nn.Linear(20, 2), optimizer=lambda params: torch.optim.SGD(params, lr=1e38), batch_size=8)


def test_empty_data_and_unequal_lengths_are_refused(rows):
    with pytest.raises(InvalidArgumentError, match="no examples"):
        fit((rows[0][:0], rows[1][:0]))
    with pytest.raises(InvalidArgumentError, match=r"same length. Got \[1003, 1002\]"):
        fit((rows[0], rows[1][:-1]))
    with pytest.raises(InvalidArgumentError, match="encode classes as integers"):
        fit((rows[0], ["a"] * len(rows[0])))
    with pytest.raises(InvalidArgumentError, match="'train' data must be"):
        fit(7)
    with pytest.raises(InvalidArgumentError, match="Pass a tuple of arrays"):
        fit(list(rows))


@pytest.mark.slow
@pytest.mark.parametrize("order", list(permutations(["torch", "parsgd", "numba", "sklearn"])), ids=" ".join)
def test_libraries_can_be_imported_in_any_order(order):
    lines = [f"import {name}" for name in order]
    lines += ["import numpy as np, torch, parsgd", "x = np.random.default_rng(0).random((200, 5))"]
    lines += ["parsgd.SGDClassifier(n_jobs=2, max_iter=2, tol=None).fit(x, x[:, 0] > 0.5)"]
    lines += ["torch.nn.Linear(5, 5)(torch.rand(64, 5)).sum().backward(); print('done')"]
    found = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=240)
    assert found.stdout.strip() == "done", found.stderr


def test_importing_parsgd_does_not_import_torch():
    code = (
        "import sys, parsgd; parsgd.SGDClassifier, parsgd.DiLoCo, parsgd.MLPClassifier; print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optimizer": lambda params: torch.optim.SGD(params, lr=0.1, nesterov=True)}, "Nesterov momentum requires"),
        ({"optimizer": lambda params: 3}, "must make a torch.optim.Optimizer"),
        ({"optimizer": torch.optim.LBFGS}, "LBFGS needs closure"),
        ({"scheduler": torch.optim.lr_scheduler.ReduceLROnPlateau}, "ReduceLROnPlateau needs metrics"),
        ({"scheduler": torch.optim.lr_scheduler.StepLR}, "step_size"),
    ],
)
def test_optimizers_and_schedules_are_tried_before_any_worker(rows, settings, words):
    with pytest.raises(InvalidArgumentError, match=words):
        fit(rows, **settings)


def test_a_last_batch_of_one_example_is_refused_if_the_module_cannot_train_on_it(rows):
    # two workers with 33 rows each
    few = rows[0][:66], rows[1][:66]
    with pytest.raises(InvalidArgumentError, match="drop_last=True"):
        fit(few)
    fit(few, drop_last=True)
    fit(few, make_net(batch_norm=False))


def test_ctrl_c_keeps_the_module_so_far(rows):
    def press(trainer):
        signal.raise_signal(signal.SIGINT)

    net = make_net()
    before = net[0].weight.detach().clone()
    trainer = Trainer(net, cross_entropy, optimizer=adamw, engine="serial", n_workers=2, on_epoch=press)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(rows, epochs=50)
    assert trainer.outcome_ is Outcome.INTERRUPTED
    assert trainer.n_epochs_ < 50
    assert not torch.equal(before, trainer.module[0].weight)
