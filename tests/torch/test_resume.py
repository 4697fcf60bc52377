"""Fits of modules that are interrupted, and that lose workers."""

import os
import signal

import numpy as np
import pytest
import torch
from torch_modules import adamw, cross_entropy, make_net, same_bits

from parsgd import AsyncDiLoCo, Checkpoint, DiLoCo, LocalSGD, MiniBatch, Rennala, Ringleader, Ringmaster, Simulated
from parsgd.errors import CheckpointError, InvalidArgumentError
from parsgd.torch import Trainer


class Stop(Exception):
    """Ends a fit as an error would."""


def cosine(optimizer):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)


def trainer(algorithm, engine="serial", **settings):
    return Trainer(make_net(), cross_entropy, optimizer=adamw, scheduler=cosine, scheduler_interval="step",
                   algorithm=algorithm, engine=engine, n_workers=3, **settings)  # fmt: skip


def stop_after(epochs):
    calls = []

    def call(_):
        calls.append(1)
        if len(calls) == epochs:
            raise Stop

    return call


@pytest.mark.parametrize(
    ("algorithm", "engine"),
    [
        (LocalSGD(sync_every=4), "serial"),
        (LocalSGD(sync_every=4), "processes"),
        (DiLoCo(sync_every=5), "serial"),
        (MiniBatch(), "serial"),
        (AsyncDiLoCo(sync_every=5), "serial"),
        (Rennala(3), "serial"),
        (Ringmaster(), "serial"),
        (Ringleader(), "serial"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_resumed_fit_has_the_bits_of_one_that_was_not_interrupted(rows, tmp_path, algorithm, engine):
    # dropout: the states of the random generators are resumed, too
    whole = trainer(algorithm, engine).fit(rows, rows, epochs=4)
    kept = Checkpoint(tmp_path / "fit", seconds=0)
    with pytest.raises(Stop):
        trainer(algorithm, engine, checkpoint=kept, on_epoch=stop_after(2)).fit(rows, rows, epochs=4)
    resumed = trainer(algorithm, engine, checkpoint=kept)
    resumed.fit(rows, rows, epochs=4, resume=True)
    assert resumed.resumed_from_ > 0
    assert same_bits(whole.module, resumed.module)
    assert whole.validation_losses_ == resumed.validation_losses_


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"optimizer": lambda params: torch.optim.SGD(params, lr=0.01)}, "optimizer is"),
        ({"optimizer": lambda params: torch.optim.AdamW(params, lr=1.0)}, "optimizer is"),
        ({"scheduler": lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 3)}, "scheduler is"),
        ({"clip_norm": 1.0}, "clip_norm is"),
    ],
)
def test_another_fit_does_not_resume(rows, tmp_path, changed, words):
    kept = Checkpoint(tmp_path / "fit", seconds=0)
    with pytest.raises(Stop):
        trainer("local", checkpoint=kept, on_epoch=stop_after(1)).fit(rows, epochs=3)
    other = trainer("local", checkpoint=kept).set_params(**changed)
    with pytest.raises(CheckpointError, match=words):
        other.fit(rows, epochs=3, resume=True)


def test_other_data_do_not_resume(rows, tmp_path):
    kept = Checkpoint(tmp_path / "fit", seconds=0)
    with pytest.raises(Stop):
        trainer("local", checkpoint=kept, on_epoch=stop_after(1)).fit(rows, epochs=3)
    with pytest.raises(CheckpointError, match="values of the first rows differ"):
        trainer("local", checkpoint=kept).fit((rows[0] + 1.0, rows[1]), epochs=3, resume=True)
    with pytest.raises(CheckpointError, match="shuffle is"):
        trainer("local", checkpoint=kept, shuffle=False).fit(rows, epochs=3, resume=True)


def test_random_rows_resume(rows, tmp_path):
    class Noisy(torch.utils.data.TensorDataset):
        def __getitem__(self, index):
            X, y = super().__getitem__(index)
            return X + 0.01 * float(np.random.standard_normal()), y  # noqa: NPY002

    kept = Checkpoint(tmp_path / "fit", seconds=0)
    with pytest.raises(Stop):
        trainer("local", checkpoint=kept, on_epoch=stop_after(1)).fit(Noisy(*rows), epochs=3)
    resumed = trainer("local", checkpoint=kept).fit(Noisy(*rows), epochs=3, resume=True)
    assert same_bits(resumed.module, trainer("local").fit(Noisy(*rows), epochs=3).module)


def test_resume_without_a_folder_is_refused(rows):
    with pytest.raises(InvalidArgumentError, match="checkpoint='folder'"):
        trainer("local").fit(rows, resume=True)


@pytest.mark.parametrize("at", [0.01, 2.4, 3.19], ids=["begin", "middle", "end"])
def test_a_worker_that_dies_costs_its_share_of_the_round(rows, at):
    # a round of 5 steps takes 1.6 s at 100 rows per second
    found = trainer(LocalSGD(sync_every=5), Simulated(rate=100.0, failures={1: at})).fit(rows, rows, epochs=4)
    lost = [entry["lost"] for entry in found.history_ if entry["lost"]]
    assert len(lost) == 1
    assert len(lost[0]) == 1
    assert found.validation_losses_[-1] < 0.5
    assert sum(worker["examples"] for entry in found.history_ for worker in entry["workers"]) >= 4 * len(rows[0])


def test_a_replacement_trains_the_module_in_its_first_modes(rows):
    # the callback leaves the trained module in evaluation mode, before a worker is replaced
    net = make_net()
    net[1].eval()
    found = Trainer(net, cross_entropy, optimizer=adamw, algorithm=LocalSGD(sync_every=5), n_workers=3,
                    engine=Simulated(rate=100.0, failures={1: 9.0}), on_epoch=lambda trainer: None)  # fmt: skip
    found.fit(rows, rows, epochs=4)
    assert sum(len(entry["lost"]) for entry in found.history_) == 1
    assert torch.equal(found.module[1].running_mean, torch.zeros(32))


def test_threads_and_generators_are_left_as_they_were(rows):
    threads, states = torch.get_num_threads(), torch.get_rng_state()
    for algorithm in (LocalSGD(sync_every=5), MiniBatch()):
        trainer(algorithm).fit(rows, rows, epochs=1)
        assert torch.get_num_threads() == threads
        assert torch.equal(torch.get_rng_state(), states)


def kill_worker_once(folder):
    """A loss that kills its process the first time that it is called there, once in all."""

    def loss(output, target):
        marker = folder / "killed"
        if os.getpid() != driver:
            try:
                marker.touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return torch.nn.functional.cross_entropy(output, target)

    driver = os.getpid()
    return loss


def test_a_killed_process_costs_its_share(rows, tmp_path):
    found = Trainer(make_net(), kill_worker_once(tmp_path), optimizer=adamw, algorithm=LocalSGD(sync_every=4),
                    engine="processes", n_workers=2).fit(rows, rows, epochs=4)  # fmt: skip
    assert sum(len(entry["lost"]) for entry in found.history_) == 1
    assert found.validation_losses_[-1] < 0.5
