"""The live view, the plain lines, and the words around numbers."""

import io

from rich.console import Console as RichConsole

from parsgd.cli.console import Console
from parsgd.training.reporting.progress import Progress
from parsgd.viz import number_format
from parsgd.viz.live import log_view
from parsgd.viz.live.progress_text import line

HALF_WAY = Progress(examples=5000, planned=10_000, loss=0.25, seconds=2.0, worker_examples=(2500, 2500), epochs=10)
DONE = Progress(
    examples=10_000, planned=10_000, loss=0.125, seconds=4.0, worker_examples=(5000, 5000), done=True, epochs=10
)


def terminal(width=120):
    console = Console()
    console.console = RichConsole(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    return console


def test_on_a_terminal_there_is_a_view_that_fits_and_ends():
    console = terminal(width=80)
    with console.show_progress() as observer:
        observer(HALF_WAY)
        observer(DONE)
    shown = console.console.file.getvalue()
    assert "epoch 5.0 of at most 10" in shown
    assert "loss 0.125   2,500 examples/s   4 s in total" in shown
    assert "…" not in shown
    assert "\x1b[?25h" in shown  # the cursor is given back


def test_elsewhere_lines_are_few_and_plain(capsys, monkeypatch):
    clock = iter([0.0, 0.5, 1.0, 2.5, 2.5, 3.0])
    monkeypatch.setattr(log_view.time, "monotonic", lambda: next(clock))
    with Console().show_progress() as observer:
        for told in (HALF_WAY, HALF_WAY, HALF_WAY, DONE):
            observer(told)
    said = capsys.readouterr().out.splitlines()
    assert said == [line(HALF_WAY), line(DONE)]


def test_beside_json_there_are_progress_and_notes_on_standard_error(capsys):
    console = Console(quiet=True)
    console.print("x")
    console.print_notes(["y"])
    console.print_table("t", ["a"], [[1]])
    with console.show_progress() as observer:
        observer(DONE)
    console.print_note("z")
    assert capsys.readouterr() == ("", f"{line(DONE)}\nNote: z\n")


def test_names_with_brackets_are_no_markup(capsys):
    console = Console()
    console.print("column [red]x[/red] and [/]")
    console.print_table("t", ["[bold]"], [["[/x]"]])
    out = capsys.readouterr().out
    for text in ("[red]x[/red]", "[/]", "[bold]", "[/x]"):
        assert text in out


def test_a_message_survives_a_terminal_that_lacks_its_letters(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    Console().print("R² of Köln")
    stream.flush()
    assert stream.buffer.getvalue() == rb"R\xb2 of K\xf6ln" + b"\n"


def test_scores_have_names_and_digits_that_suit_them():
    assert number_format.scores({"r2": 0.5, "rmse": 68895.73}) == "R² 0.5000, RMSE 68,895.7"
    assert number_format.scores({"accuracy": 1.0, "rows_of_unknown_class": 1234}).endswith("(counted as wrong) 1,234")
    assert number_format.scores({"r2": float("nan")}) == "R² nan"
