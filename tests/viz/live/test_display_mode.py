"""What ``verbose`` shows, and where: a view on a terminal, lines in a pipe, nothing where nobody reads."""

import io
import os
import pty
import re
import subprocess
import sys
import threading
import time

import pytest
from rich.console import Console

import parsgd
from parsgd.errors import InvalidArgumentError
from parsgd.testing.problems import labels, unit_rows
from parsgd.training.reporting.progress import Progress, ProgressTracker, WorkerProgress
from parsgd.viz.live import display_mode, log_view, progress_text, terminal_view
from parsgd.viz.live.log_view import LogView
from parsgd.viz.live.notebook_view import in_notebook, view_text
from parsgd.viz.live.terminal_view import LiveView, view_of

X = unit_rows(200, 4)
Y = labels(X)
SMALL = {"max_iter": 3, "tol": None, "random_state": 0, "n_jobs": 2, "algorithm": "local"}
KILLED = "its process (pid 5677) was killed by signal 9 (out of memory is the usual cause)"
CREW = (
    WorkerProgress(0, 15_085_000, 15_085_000, 3_546_690.0, 0.5),
    WorkerProgress(1, 15_085_000, 150_850, 354_669.0, 0.5, 2, KILLED),
    WorkerProgress(2, 150_800, 15_085, 0.0, 0.0, 1, KILLED, lost=True),
)
NEWS = Progress(25_085_000, 45_085_000, 0.234, 12.0, (), epochs=300, rounds=12, workers=CREW)
DONE = Progress(45_085_000, 45_085_000, 0.134, 22.0, (), epochs=300, rounds=22, workers=CREW, done=True)


def terminal(width=80):
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)


def shown(told, width=80):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(view_of(told))
    return console.file.getvalue().splitlines()


# -- the view ---------------------------------------------------------------------------------------------------


def test_the_view_has_a_line_a_worker():
    seen = shown(NEWS)
    assert "56%" in seen[0]
    assert "epoch 166.9 of at most 300" in seen[0]
    assert seen[1].split("   ") == ["loss 0.234", "2,090,417 examples/s", "at most 9.6 s left", "12 rounds"]
    assert [line.split()[0] for line in seen[2:6]] == ["worker", "0", "1", "2"]
    assert seen[3].rstrip().endswith("0.500  running")
    assert "replaced 2 times" in seen[4]
    assert "lost" in seen[5]
    assert seen[6].startswith("workers 2, 1: its process (pid 5677) was killed by signal 9")


@pytest.mark.parametrize("width", [80, 100, 200])
def test_nothing_is_cut_off_at_usual_widths(width):
    assert not any("…" in line for line in shown(NEWS, width))


@pytest.mark.parametrize("width", [20, 40, 60])
def test_on_a_narrow_terminal_no_line_is_longer_than_it(width):
    assert all(len(line) <= width for line in shown(NEWS, width))


def test_many_workers_are_summed_up():
    crew = tuple(WorkerProgress(n, 0, rate=100.0 + n, lost_tasks=n % 2, lost=n == 3) for n in range(40))
    seen = shown(Progress(10, 20, 0.5, 1.0, (), workers=crew))
    assert "40 workers: 39 running, 19 of them replaced, 1 lost" in "\n".join(seen)
    assert len(seen) < 10


def test_before_there_is_a_loss_or_a_speed_nothing_is_made_up():
    crew = (WorkerProgress(0, 0), WorkerProgress(1, 0))
    seen = "\n".join(shown(Progress(0, 20, float("nan"), 0.0, (0, 0), workers=crew)))
    assert "nan" not in seen
    assert "inf" not in seen


# -- on a terminal -------------------------------------------------------------------------------------------------


def test_the_terminal_is_given_back():
    console = terminal()
    view = LiveView(console)
    view(NEWS)
    assert "\x1b[?25l" in console.file.getvalue()  # no cursor
    view.close()
    view.close()
    assert console.file.getvalue().endswith("\x1b[?25h")


def test_it_is_drawn_ten_times_a_second_however_much_news_there_is(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(terminal_view.time, "monotonic", lambda: clock[0])
    drawn = []
    monkeypatch.setattr(terminal_view, "view_of", lambda told, table: drawn.append(told) or "")
    view = LiveView(terminal())
    for _ in range(1000):
        view(NEWS)
        clock[0] += 0.001
    view(DONE)
    assert 9 <= len(drawn) <= 11
    assert drawn[-1] is DONE


SCRIPT = """
import sys, parsgd
from parsgd.testing.problems import labels, unit_rows
X = unit_rows(200, 4)
model = parsgd.SGDClassifier(max_iter=3, tol=None, n_jobs=2, algorithm="local", random_state=0, verbose=1)
if sys.argv[1] == "fails":
    class Fails:
        def setup(self, estimator, context): pass
        def on_fit_task_begin(self, estimator, context): pass
        def on_fit_task_end(self, estimator, context): raise RuntimeError("broken")
        def teardown(self, estimator, context): pass
    model.set_callbacks(Fails())
model.fit(X, labels(X))
"""


def on_a_terminal(*arguments, **environment):
    """What a script writes to a terminal of its own, and how it ends."""
    ours, theirs = pty.openpty()
    settings = {**os.environ, "COLUMNS": "80", "LINES": "24", "TERM": "xterm", **environment}
    script = [sys.executable, "-c", SCRIPT, *arguments]
    process = subprocess.Popen(script, stdout=theirs, stderr=subprocess.PIPE, env=settings, text=True)
    os.close(theirs)
    written = []

    def read():
        # a terminal whose other end is closed is an error here
        try:
            while part := os.read(ours, 65536):
                written.append(part)
        except OSError:
            pass

    reader = threading.Thread(target=read)
    reader.start()
    errors = process.communicate(timeout=240)[1]
    reader.join()
    os.close(ours)
    return b"".join(written).decode(), errors, process.returncode


def test_a_fit_on_a_terminal_draws_the_view():
    seen, errors, code = on_a_terminal("ends")
    assert code == 0, errors
    assert "━" in seen
    assert "weight" in seen
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l")


def test_a_fit_that_fails_gives_the_terminal_back():
    seen, errors, code = on_a_terminal("fails")
    assert code == 1
    assert "broken" in errors
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "drawn", "said"),
    [({"TERM": "dumb"}, False, True), ({"PARSGD_PROGRESS": "lines"}, False, True), ({"CI": "true"}, False, False)],
    ids=str,
)
def test_what_the_environment_says(environment, drawn, said):
    seen, errors, code = on_a_terminal("ends", **environment)
    assert code == 0, errors
    assert ("━" in seen) is drawn
    assert ("examples/s" in seen) is said


# -- where it goes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "service", "terminal", "expected"),
    [
        ("", "", True, "live"),
        ("", "", False, "lines"),
        ("", "true", True, "0"),
        ("", "true", False, "0"),
        ("", "false", False, "lines"),
        ("0", "", True, "0"),
        ("lines", "true", True, "lines"),
        ("live", "1", False, "live"),
        (" Lines ", "", True, "lines"),
    ],
)
def test_the_way_of_showing(monkeypatch, asked, service, terminal, expected):
    monkeypatch.setenv("PARSGD_PROGRESS", asked)
    monkeypatch.setenv("CI", service)
    monkeypatch.setenv("TERM", "xterm")
    assert display_mode.display_mode(terminal) == expected


def test_another_way_is_refused_before_the_fit(monkeypatch):
    monkeypatch.setenv("PARSGD_PROGRESS", "loud")
    model = parsgd.SGDClassifier(verbose=1, **SMALL)
    with pytest.raises(InvalidArgumentError, match=r"PARSGD_PROGRESS must be 0, lines or live, or unset\. Got 'loud'"):
        model.fit(X, Y)
    assert not hasattr(model, "coef_")


def test_two_fits_at_a_time_do_not_share_the_terminal(monkeypatch):
    monkeypatch.setenv("PARSGD_PROGRESS", "live")
    made = []
    monkeypatch.setattr("parsgd.viz.live.terminal_view.LiveView", lambda: made.append("live") or LiveView(terminal()))
    monkeypatch.setattr(display_mode, "LogView", lambda: made.append("lines") or LogView(lambda text: None))
    with display_mode.shown(1), display_mode.shown(1):
        pass
    with display_mode.shown(1):
        pass
    assert made == ["live", "lines", "live"]


def test_without_rich_there_are_lines(monkeypatch, capsys):
    monkeypatch.setenv("PARSGD_PROGRESS", "live")
    monkeypatch.setattr(display_mode.importlib.util, "find_spec", lambda name: None)
    # the first fit of a process may take more than a second, and then prints more lines
    parsgd.SGDClassifier(**SMALL).fit(X, Y)
    parsgd.SGDClassifier(verbose=1, **SMALL).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"epoch 3\.0 of at most 3, loss .* in total", lines[0])
    assert [line.split(",")[0] for line in lines[1:]] == ["-- Epoch 1", "-- Epoch 2", "-- Epoch 3"]


# -- lines ---------------------------------------------------------------------------------------------------------


def test_lines_are_a_second_apart(monkeypatch):
    clock = iter([0.0, 0.5, 1.0, 1.0, 1.5, 2.0])
    monkeypatch.setattr(log_view.time, "monotonic", lambda: next(clock))
    said = []
    tell = LogView(said.append)
    for told in (NEWS, NEWS, NEWS, DONE):
        tell(told)
    assert said == [progress_text.line(NEWS), progress_text.line(DONE)]
    assert "1 of 3 workers lost" in said[0]


def test_verbose_2_says_every_round(capsys):
    model = parsgd.SGDClassifier(verbose=2, **SMALL).fit(X, Y).fit(X, Y)
    said = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("-- Epoch")]
    rounds = len(model.history_)
    assert len(said) == 2 * (rounds + 1)
    assert [line.partition(":")[0] for line in said[:rounds]] == [f"round {n}" for n in range(rounds)]
    assert "weights 0.500 0.500" in said[0]
    assert said[rounds].endswith("in total")


# -- in a notebook -------------------------------------------------------------------------------------------------


class Handle:
    def __init__(self):
        self.outputs = []

    def update(self, data, raw):
        self.outputs.append(data["text/plain"])


def test_a_notebook_has_one_output_a_fit(monkeypatch):
    import types

    handles = []

    def show(data, raw, display_id):
        handles.append(Handle())
        handles[-1].update(data, raw)
        return handles[-1]

    shell = types.SimpleNamespace(kernel=object())
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: shell
    shows = types.ModuleType("IPython.display")
    shows.display = show
    assert not in_notebook()
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", shows)
    assert in_notebook()
    parsgd.SGDClassifier(verbose=1, **SMALL).fit(X, Y).fit(X, Y)
    assert len(handles) == 2
    assert "in total" in handles[0].outputs[-1]
    assert "weight" in view_text(NEWS)


# -- what observers are told ------------------------------------------------------------------------------------------


def test_observers_are_told_of_every_worker():
    told = []
    with parsgd.observe_progress(told.append):
        model = parsgd.SGDClassifier(**SMALL).fit(X, Y)
    last = told[-1]
    assert last.epochs == 3
    assert last.rounds == len(model.history_)
    assert [worker.steps for worker in last.workers] == [300, 300]
    assert [worker.weight for worker in last.workers] == [0.5, 0.5]
    assert all(worker.rate > 0 and not worker.lost for worker in last.workers)
    assert last.epoch == 3.0
    assert last.left == 0.0


def test_a_fit_that_goes_on_counts_its_own_speed(tmp_path):
    settings = {**SMALL, "checkpoint": tmp_path / "kept"}
    parsgd.SGDClassifier(**settings).fit(X, Y)
    told = []
    began = time.perf_counter()
    with parsgd.observe_progress(told.append):
        parsgd.SGDClassifier(**{**settings, "max_iter": 5}).fit(X, Y, resume=True)
    seconds = time.perf_counter() - began
    assert told[-1].skipped == 600
    assert told[-1].examples == 1000
    assert told[-1].rate * told[-1].seconds == pytest.approx(400)
    assert told[-1].seconds <= seconds


def test_observers_are_told_at_once_of_who_is_lost():
    told = []
    with parsgd.observe_progress(told.append):
        line = ProgressTracker(2, 100)
    line.task_failed(0, "the roof fell in", replaced=True)
    line.task_failed(1, "killed", replaced=False)
    assert [worker.lost_tasks for worker in told[0].workers] == [1, 0]
    assert [(worker.why, worker.lost) for worker in told[1].workers] == [("the roof fell in", False), ("killed", True)]


def test_who_is_not_watched_makes_no_record():
    line = ProgressTracker(2, 100)
    line.task_failed(0, "the roof fell in", replaced=True)
    line.notify(0.5)
    assert line.loss == 0.5
