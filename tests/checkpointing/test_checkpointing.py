"""Checkpoints: what is written and what stays, what is refused before work starts, what is a warning later."""

import contextlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import parsgd
from parsgd import Checkpoint, LocalSGD, SGDClassifier, Simulated
from parsgd.checkpointing import file_format, fit_fingerprint
from parsgd.checkpointing.store import CheckpointStore, opened
from parsgd.core import EngineDefaults, MergeResult
from parsgd.engines.serial import Serial
from parsgd.errors import (
    CheckpointError,
    CheckpointWarning,
    InvalidArgumentError,
    MissingDependencyError,
    ModelFileError,
    Outcome,
)
from parsgd.estimators import auto_select
from parsgd.testing.problems import labels, unit_rows

X = unit_rows(120, 5)
Y = labels(X)


def make(folder=None, **more):
    """An estimator with 20 rounds, of which each is kept."""
    kept = None if folder is None else more.pop("kept", Checkpoint(folder, seconds=0))
    defaults = dict(
        loss="log_loss", algorithm=LocalSGD(sync_every=0.25), n_jobs=2, max_iter=5, tol=None, random_state=0
    )
    return SGDClassifier(**{**defaults, "checkpoint": kept, **more})


class Broken(Exception):
    pass


class Breaks(EngineDefaults):
    """A serial engine on which something is done in each round before it is worked on; by default it breaks off."""

    name, capabilities = "breaks", frozenset()

    def __init__(self, number, act=None):
        self.number, self.act = number, act

    def open(self, work, shards, pulse):
        crew = Serial().open(work, shards, pulse)
        receive, seen = crew.receive, [0]

        def receiving(at_least):
            seen[0] += 1
            if seen[0] == self.number + 1:
                if self.act is None:
                    raise Broken
                self.act()
            return receive(at_least)

        crew.receive = receiving
        return crew


class Untouched(EngineDefaults):
    """An engine that must not be opened."""

    name, capabilities = "untouched", frozenset()

    def open(self, work, shards, pulse):
        pytest.fail("a worker was started")


def broken_off(folder, number=7, **more):
    with pytest.raises(Broken):
        make(folder, engine=Breaks(number), **more).fit(X, Y)
    return CheckpointStore(folder)


# -- what is written -------------------------------------------------------------------------------------------------


def test_the_last_two_stay_and_nothing_else(tmp_path):
    make(tmp_path / "a" / "b").fit(X, Y)
    names = sorted(os.listdir(tmp_path / "a" / "b"))
    assert names == ["round-00000019.parsgd-checkpoint", "round-00000020.parsgd-checkpoint"]


@pytest.mark.parametrize("keep", [1, 3])
def test_as_many_stay_as_were_asked_for(keep, tmp_path):
    make(tmp_path, kept=Checkpoint(tmp_path, seconds=0, keep=keep)).fit(X, Y)
    assert CheckpointStore(tmp_path).rounds() == list(range(21 - keep, 21))


def test_with_time_to_spare_the_beginning_and_the_end_are_kept(tmp_path):
    make(tmp_path, checkpoint=str(tmp_path)).fit(X, Y)
    assert CheckpointStore(tmp_path).rounds() == [0, 20]


def test_when_a_worker_fails_the_last_round_is_kept(tmp_path):
    folder = broken_off(tmp_path, 7, kept=Checkpoint(tmp_path, seconds=np.inf))
    assert folder.rounds() == [0, 7]


def test_a_name_a_path_and_settings_are_all_taken(tmp_path):
    for kept in (str(tmp_path / "a"), tmp_path / "b", Checkpoint(tmp_path / "c")):
        make(checkpoint=kept).fit(X, Y)
    assert all(CheckpointStore(tmp_path / name).rounds() == [0, 20] for name in "abc")


def test_checkpoints_change_no_bit_of_a_fit_with_several_workers(tmp_path):
    assert np.array_equal(make(tmp_path).fit(X, Y).coef_, make().fit(X, Y).coef_)


def test_partial_fit_keeps_none(tmp_path):
    make(tmp_path / "none").partial_fit(X, Y, classes=[0, 1])
    assert not (tmp_path / "none").exists()


def test_a_plan_keeps_none(tmp_path):
    X, y = unit_rows(600, 5), labels(unit_rows(600, 5))
    parsgd.plan(make(tmp_path / "none"), X, y, 2, seconds=2.0)
    assert not (tmp_path / "none").exists()


def test_a_model_file_does_not_tell_where_they_were_kept(tmp_path):
    model = make(tmp_path / "kept").fit(X, Y)
    parsgd.save(model, tmp_path / "m.parsgd")
    assert parsgd.load(tmp_path / "m.parsgd").checkpoint is None


def test_what_is_read_is_what_was_written(tmp_path):
    folder = broken_off(tmp_path)
    whole = folder.file(folder.rounds()[-1]).read_bytes()
    kept = file_format.from_bytes(whole)
    assert b"".join(file_format.to_parts(kept)) == whole
    assert kept.snapshot.round == folder.rounds()[-1]
    assert kept.snapshot.state.flags.writeable


@given(at=st.integers(0, 10**6), byte=st.integers(0, 255), cut=st.booleans())
@settings(max_examples=5 * settings.default.max_examples)
def test_a_damaged_file_is_told_as_such(at, byte, cut, tmp_path_factory):
    if not WHOLE:
        folder = broken_off(tmp_path_factory.mktemp("whole"))
        WHOLE.append(folder.file(folder.rounds()[-1]).read_bytes())
    whole = WHOLE[0]
    at %= len(whole)
    other = whole[:at] if cut else whole[:at] + bytes([byte]) + whole[at + 1 :]
    if other == whole:
        return
    with contextlib.suppress(ModelFileError):
        assert b"".join(file_format.to_parts(file_format.from_bytes(other))) == whole


WHOLE: list[bytes] = []


# -- going on --------------------------------------------------------------------------------------------------------


def test_where_there_is_nothing_to_go_on_from_the_fit_begins_and_says_so(tmp_path, capsys):
    model = make(tmp_path, verbose=1).fit(X, Y, resume=True)
    assert model.resumed_from_ is None
    assert "no checkpoint to resume; the fit starts" in capsys.readouterr().out
    model = make(tmp_path, verbose=1).fit(X, Y, resume=True)
    assert model.resumed_from_ == 20
    assert "resumes from round 20" in capsys.readouterr().out
    assert not hasattr(model.set_params(checkpoint=None).fit(X, Y), "resumed_from_")


def test_a_fit_that_has_ended_is_not_made_again(tmp_path):
    first = make(tmp_path).fit(X, Y)
    again = make(tmp_path, engine=Untouched()).fit(X, Y, resume=True)
    assert np.array_equal(first.coef_, again.coef_)
    assert (again.outcome_, again.history_) == (first.outcome_, first.history_)
    again.coef_ += 1.0


def test_a_fit_that_has_converged_has_converged(tmp_path):
    first = make(tmp_path, tol=0.1, max_iter=50, n_iter_no_change=1).fit(X, Y)
    assert first.outcome_ is Outcome.CONVERGED
    again = make(tmp_path, tol=0.1, max_iter=99, n_iter_no_change=1, engine=Untouched()).fit(X, Y, resume=True)
    assert again.outcome_ is Outcome.CONVERGED
    assert again.n_iter_ == first.n_iter_


def test_what_one_average_made_cannot_go_on(tmp_path):
    make(tmp_path, algorithm="simuparallel").fit(X, Y)
    with pytest.raises(CheckpointError, match=r"ended after 5 passes.*'simuparallel' cannot resume"):
        make(tmp_path, algorithm="simuparallel", max_iter=9, engine=Untouched()).fit(X, Y, resume=True)


def test_an_unfinished_fit_is_not_written_over(tmp_path):
    folder = broken_off(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    last = folder.rounds()[-1]
    with pytest.raises(CheckpointError, match=f"not ended; the last one is of round {last}.*resume=True"):
        make(tmp_path, engine=Untouched()).fit(X, Y)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_fit_that_has_ended_gives_way_to_another(tmp_path):
    make(tmp_path).fit(X, Y)
    make(tmp_path, kept=Checkpoint(tmp_path), alpha=0.1, max_iter=2).fit(X[:50], Y[:50])
    assert CheckpointStore(tmp_path).rounds() == [0, 8]


def test_a_search_may_use_one_folder_fit_after_fit(tmp_path):
    found = GridSearchCV(make(tmp_path, max_iter=2), {"alpha": [0.1, 0.01]}, cv=2).fit(X, Y)
    assert found.best_score_ > 0.8


def test_workers_and_algorithm_that_were_left_open_stay_as_they_were_chosen(tmp_path, monkeypatch):
    open_ = dict(n_jobs=None, algorithm="auto", max_iter=4)
    with monkeypatch.context() as other_machine:
        other_machine.setattr(auto_select, "count_workers", lambda *arguments: (3, "it has more cores"))
        with pytest.raises(Broken):
            make(tmp_path, engine=Breaks(0), **open_).fit(X, Y)
    again = make(tmp_path, **open_).fit(X, Y, resume=True)
    assert again.algorithm_.n_workers == 3
    chosen = again.algorithm_.algorithm
    assert np.array_equal(again.coef_, make(**open_ | {"n_jobs": 3, "algorithm": chosen}).fit(X, Y).coef_)


def test_an_engine_with_another_number_of_workers_is_refused(tmp_path):
    broken_off(tmp_path, n_jobs=2)
    with pytest.raises(CheckpointError, match="started with 2 workers, and engine='simulated' has exactly 5"):
        make(tmp_path, n_jobs=None, algorithm="auto", engine=Simulated(speeds=[1.0] * 5)).fit(X, Y, resume=True)


def test_a_worker_that_was_lost_is_there_again(tmp_path):
    kept = Checkpoint(tmp_path, seconds=np.inf)
    dying = make(tmp_path, kept=kept, engine=Simulated(failures={1: 1e-4}), max_iter=3).fit(X, Y)
    assert any(entry["lost"] for entry in dying.history_)
    again = make(tmp_path, kept=kept, engine=Serial(), max_iter=6).fit(X, Y, resume=True)
    assert [worker["worker"] for worker in again.history_[-1]["workers"]] == [0, 1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(alpha=0.5), "alpha is 0.5 and was 0.0001"),
        (dict(loss="hinge"), "loss is 'hinge' and was 'log_loss'"),
        (dict(n_jobs=3), "n_workers is 3 and was 2"),
        (dict(algorithm="elastic"), r"algorithm is ElasticAveraging\("),
        (dict(algorithm=LocalSGD(sync_every=0.5)), r"algorithm is LocalSGD\(.*sync_every=0.5.* and was LocalSGD\("),
        (dict(random_state=1), "random_state is 1 and was 0"),
        (dict(tol=0.1), "tol is 0.1 and was None"),
        (dict(average=True), "average is True and was False"),
        (dict(X=X[:-1], y=Y[:-1]), "number of rows is 119 and was 120"),
        (dict(X=X + 1.0), "values of the first rows differ"),
        (dict(y=1 - Y), "values of the first rows differ"),
        (dict(X=X.astype(np.float32)), "values of the first rows differ"),
        (dict(sample_weight=np.full(120, 2.0)), "values of the first rows differ"),
        (dict(X=unit_rows(120, 6)), "values of the first rows differ"),
    ],
    ids=str,
)
def test_another_fit_is_refused_and_told_what_differs(change, said, tmp_path):
    broken_off(tmp_path)
    data = {"X": X, "y": Y} | {key: change.pop(key) for key in ("X", "y", "sample_weight") if key in change}
    with pytest.raises(CheckpointError, match=said) as raised:
        make(tmp_path, engine=Untouched(), **change).fit(**data, resume=True)
    assert str(tmp_path) in str(raised.value)
    assert "start a new fit" in str(raised.value)


def test_what_may_change_does(tmp_path):
    broken_off(tmp_path)
    again = make(tmp_path, engine="threads", verbose=1, max_iter=7).fit(X, Y, resume=True)
    assert np.array_equal(again.coef_, make(max_iter=7).fit(X, Y).coef_)


# -- what is damaged, foreign or taken -------------------------------------------------------------------------------


def test_a_damaged_newest_one_gives_way_to_the_one_before(tmp_path):
    folder = broken_off(tmp_path)
    older, newest = folder.rounds()
    folder.file(newest).write_bytes(folder.file(newest).read_bytes()[:-5])
    expected = f"round-0+{newest}.*from the checkpoint of round {older} instead"
    with pytest.warns(CheckpointWarning, match=expected) as said:
        again = make(tmp_path).fit(X, Y, resume=True)
    assert said[0].filename == __file__
    assert again.resumed_from_ == older
    assert np.array_equal(again.coef_, make().fit(X, Y).coef_)
    assert folder.rounds() == [19, 20]


def test_a_damaged_one_is_taken_away_when_there_is_another(tmp_path):
    folder = broken_off(tmp_path)
    folder.file(10**6).write_bytes(b"damaged")
    with pytest.warns(CheckpointWarning), pytest.raises(Broken):
        make(tmp_path, engine=Breaks(2)).fit(X, Y, resume=True)
    assert folder.rounds()[-1] < 10


@pytest.mark.parametrize("resume", [True, False])
def test_where_none_is_whole_nothing_is_done(resume, tmp_path):
    folder = broken_off(tmp_path)
    for number in folder.rounds():
        folder.file(number).write_bytes(b"")
    with pytest.raises(CheckpointError, match="delete this one"):
        make(tmp_path, engine=Untouched()).fit(X, Y, resume=resume)
    assert len(folder.rounds()) == 2


def test_another_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(file_format, "FORMAT", 99)
    broken_off(tmp_path)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"has format 99.*reads format 3.*upgrade"):
        make(tmp_path).fit(X, Y, resume=True)


def test_a_checkpoint_of_version_0_1_is_refused_in_one_sentence_that_says_what_to_do(tmp_path):
    shutil.copytree(Path(__file__).parent / "version-0.1", tmp_path, dirs_exist_ok=True)
    with pytest.raises(
        CheckpointError, match=r"format 1, .* reads format 3 only: .* name another folder or delete this"
    ):
        make(tmp_path).fit(X, Y, resume=True)


def test_a_model_file_is_no_checkpoint_and_no_checkpoint_a_model_file(tmp_path):
    folder = broken_off(tmp_path)
    with pytest.raises(ModelFileError, match="holds 'checkpoint'"):
        parsgd.load(folder.file(folder.rounds()[-1]))
    parsgd.save(make().fit(X, Y), tmp_path / "m.parsgd")
    with pytest.raises(ModelFileError, match="holds 'SGDClassifier', not a checkpoint"):
        file_format.read(tmp_path / "m.parsgd")


def test_two_fits_do_not_write_to_one_folder(tmp_path):
    with opened(tmp_path), pytest.raises(CheckpointError, match=f"another fit.*process {os.getpid()}"):
        make(tmp_path, engine=Untouched()).fit(X, Y)
    make(tmp_path).fit(X, Y)
    assert not (tmp_path / ".lock").exists()


def test_a_process_that_was_killed_holds_no_folder(tmp_path):
    program = (
        "import os, pathlib, sys\nfrom parsgd.checkpointing.store import opened\n"
        "with opened(pathlib.Path(sys.argv[1])) as folder:\n    os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, tmp_path], check=False).returncode == -9
    (tmp_path / ".tmp-1-ab-round-00000003.parsgd-checkpoint").write_bytes(b"half")
    make(tmp_path).fit(X, Y)
    assert sorted(os.listdir(tmp_path)) == [CheckpointStore(tmp_path).file(number).name for number in (19, 20)]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CheckpointError, match="cannot be kept here"):
            make(folder, engine=Untouched()).fit(X, Y)


# -- what goes wrong while a fit runs --------------------------------------------------------------------------------


def full(monkeypatch, rounds):
    """A disk that is full in these rounds."""
    write = CheckpointStore.write

    def writing(self, number, whole, keep):
        if number in rounds:
            raise OSError(28, "No space left on device")
        write(self, number, whole, keep)

    monkeypatch.setattr(CheckpointStore, "write", writing)


def test_a_disk_that_is_full_at_the_beginning_is_an_error(tmp_path, monkeypatch):
    full(monkeypatch, {0})
    with pytest.raises(CheckpointError, match="bytes cannot be written: No space left"):
        make(tmp_path, engine=Untouched()).fit(X, Y)


def test_a_disk_that_is_full_later_is_a_warning_and_is_tried_again(tmp_path, monkeypatch):
    full(monkeypatch, {3, 4, 5, 9})
    with pytest.warns(CheckpointWarning, match="could not be written: No space left.*is of round") as caught:
        model = make(tmp_path).fit(X, Y)
    said = [str(warning.message) for warning in caught if warning.category is CheckpointWarning]
    assert [one.split("checkpoint of round ")[1][:1] for one in said] == ["3", "9"]
    assert np.array_equal(model.coef_, make().fit(X, Y).coef_)
    assert CheckpointStore(tmp_path).rounds() == [19, 20]


def test_a_disk_that_stays_full_keeps_what_it_has(tmp_path, monkeypatch):
    full(monkeypatch, set(range(6, 99)))
    with pytest.warns(CheckpointWarning) as caught:
        make(tmp_path).fit(X, Y)
    # the first time, and at the end
    assert sum(warning.category is CheckpointWarning for warning in caught) == 2
    monkeypatch.undo()
    assert np.array_equal(make(tmp_path).fit(X, Y, resume=True).coef_, make().fit(X, Y).coef_)


def test_a_folder_that_vanishes_is_a_warning(tmp_path):
    folder = tmp_path / "kept"
    with pytest.warns(CheckpointWarning, match="folder does not exist"):
        model = make(folder, engine=Breaks(4, lambda: shutil.rmtree(folder))).fit(X, Y)
    assert model.outcome_ is Outcome.MAX_EPOCHS


@dataclass(frozen=True)
class Remembers(LocalSGD):
    """An algorithm from elsewhere that remembers what it is given."""

    first: object = None
    later: object = None

    def init_memory(self, standing):
        return {"ours": super().init_memory(standing), "mine": self.first}

    def next_task(self, standing, worker):
        return super().next_task(replace(standing, memory=standing.memory["ours"]), worker)

    def merge(self, standing, reports):
        merge = super().merge(replace(standing, memory=standing.memory["ours"]), reports)
        return MergeResult(merge.state, merge.weights, {"ours": merge.memory, "mine": self.later}, merge.answer)


def test_an_algorithm_from_elsewhere_goes_on_with_what_it_remembers(tmp_path):
    algorithm = Remembers(later={"a": (1, [2.0, None]), 3: np.arange(3)})
    broken_off(tmp_path, algorithm=algorithm)
    again = make(tmp_path, algorithm=algorithm).fit(X, Y, resume=True)
    assert np.array_equal(again.coef_, make(algorithm=algorithm).fit(X, Y).coef_)


@dataclass(frozen=True)
class DealsAnew(LocalSGD):
    """Gives the first worker more rows after the first pass."""

    def merge(self, standing, reports):
        fractions = np.array([2.0, 1.0]) if standing.round + 1 < 15 else None
        return super().merge(standing, reports)._replace(shard_fractions=fractions)


def test_rows_lie_where_they_were_dealt_last(tmp_path):
    broken_off(tmp_path, 25, algorithm=DealsAnew())
    again = make(tmp_path, algorithm=DealsAnew()).fit(X, Y, resume=True)
    assert np.array_equal(again.coef_, make(algorithm=DealsAnew()).fit(X, Y).coef_)
    examples = [worker["examples"] for worker in again.history_[-1]["workers"]]
    assert examples[0] == 2 * examples[1]


def test_a_memory_that_cannot_be_kept_is_refused_before_work_starts(tmp_path):
    with pytest.raises(CheckpointError, match=r"snapshot.memory.mine.*algorithm's memory must be"):
        make(tmp_path, algorithm=Remembers(first=object()), engine=Untouched()).fit(X, Y)
    named = type("Named", (tuple,), {"_fields": ()})()
    with pytest.raises(CheckpointError, match=r"snapshot.memory.mine"):
        make(tmp_path, algorithm=Remembers(first=named), engine=Untouched()).fit(X, Y)


def test_a_memory_that_cannot_be_kept_later_is_a_warning(tmp_path):
    with pytest.warns(CheckpointWarning, match=r"snapshot.memory.mine.*last checkpoint is of round 0"):
        model = make(tmp_path, algorithm=Remembers(later=object())).fit(X, Y)
    assert model.n_iter_ == 5


# -- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [3, True, b"x", "", [], Checkpoint])
def test_what_is_no_checkpoint_is_refused(bad):
    with pytest.raises(InvalidArgumentError, match="'checkpoint' parameter of SGDClassifier must be"):
        make(checkpoint=bad, engine=Untouched()).fit(X, Y)
    with pytest.raises(InvalidArgumentError, match="'checkpoint' parameter of MLPRegressor must be"):
        parsgd.MLPRegressor(checkpoint=bad).fit(X, Y)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (dict(folder=3), "'folder'.*Got 3"),
        (dict(folder=""), "'folder'"),
        (dict(seconds=-1), "'seconds'.*Got -1"),
        (dict(seconds="1"), "'seconds'"),
        (dict(seconds=float("nan")), "'seconds'"),
        (dict(keep=0), "'keep'.*Got 0"),
        (dict(keep=1.5), "'keep'"),
        (dict(keep=None), "'keep'"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_used_are_refused(settings, said):
    with pytest.raises(InvalidArgumentError, match=said):
        Checkpoint(**{"folder": "kept", **settings})


def test_to_go_on_there_must_be_checkpoints():
    with pytest.raises(InvalidArgumentError, match=r"fit\(resume=True\).*checkpoint is None.*checkpoint='folder'"):
        make(engine=Untouched()).fit(X, Y, resume=True)
    with pytest.raises(InvalidArgumentError, match=r"'resume' argument.*Got 'yes'"):
        make(engine=Untouched()).fit(X, Y, resume="yes")


def test_lbfgs_keeps_none(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"lbfgs.*cannot be checkpointed"):
        parsgd.MLPClassifier(solver="lbfgs", checkpoint=tmp_path).fit(X, Y)


def test_without_safetensors_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(MissingDependencyError, match="Checkpoints need safetensors: pip install 'parsgd\\[files\\]'"):
        make(tmp_path, engine=Untouched()).fit(X, Y)


def test_it_is_a_parameter_like_others(tmp_path):
    model = clone(make(tmp_path))
    assert model.checkpoint == Checkpoint(tmp_path, seconds=0)
    assert model.set_params(checkpoint="elsewhere").get_params()["checkpoint"] == "elsewhere"
    for kind in (parsgd.SGDRegressor, parsgd.SGDOneClassSVM, parsgd.MLPClassifier, parsgd.MLPRegressor):
        assert kind().checkpoint is None


def test_a_description_is_the_same_in_another_process():
    class Mine:
        def __init__(self, a):
            self.a = a

    ours, theirs = ([Mine(1.0), (Mine(np.arange(3)),)] for _ in range(2))
    assert fit_fingerprint.described(ours) == fit_fingerprint.described(theirs)
    assert fit_fingerprint.described(Mine(1.0)) != fit_fingerprint.described(Mine(2.0))
    assert "0x" not in fit_fingerprint.described([object(), Mine(object()), len, Mine])
