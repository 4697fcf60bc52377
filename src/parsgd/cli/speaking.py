"""What the command says while it works and when it is done: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from parsgd.progress import Progress as Told

# Off a terminal, a line of progress this often.
_LINE_SECONDS = 2.0
_PLAIN_WIDTH = 120


class _Console(Console):
    def on_broken_pipe(self) -> None:
        # whoever listened has had enough; the work goes on, or a long fit would be lost to `| head`
        with contextlib.suppress(SystemExit):
            super().on_broken_pipe()


class Voice:
    """Where messages go: standard output, or standard error if that is taken by data.

    With ``quiet`` results are left to JSON on standard output: of the messages there are only progress and notes, on
    standard error.
    """

    def __init__(self, quiet: bool = False, to_stderr: bool = False):
        stream = sys.stderr if to_stderr or quiet else sys.stdout
        width = None if stream.isatty() else _PLAIN_WIDTH
        self.console = _Console(file=stream, highlight=False, width=width)
        self.quiet = quiet
        # texts may hold characters that an old terminal's encoding lacks; better a question mark than no message
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")

    def say(self, text: str = "", style: str | None = None) -> None:
        """One line."""
        if not self.quiet:
            self.tell(text, style)

    def note(self, text: str) -> None:
        """One line that is said beside JSON, too: a warning."""
        self.tell(f"Note: {text}", "yellow")

    def tell(self, text: str, style: str | None = None) -> None:
        """One line, whether quiet or not."""
        self.console.print(escape(text), style=style, soft_wrap=True)

    def points(self, lines: Iterable[str]) -> None:
        """Several short facts, one a line."""
        for line in lines:
            self.say(f"  {line}", style="dim")

    def table(self, title: str, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
        """Numbers in columns."""
        if self.quiet:
            return
        table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
        for name in header:
            table.add_column(escape(name), justify="right")
        for row in rows:
            table.add_row(*(escape(str(value)) for value in row))
        self.console.print(table)

    def plot(self, draw: Callable[[int, bool], str]) -> None:
        """What ``draw(width, colours)`` gives, coloured where the terminal has colours."""
        colours = self.console.color_system is not None
        text = draw(self.console.width, colours)
        self.console.print(Text.from_ansi(text) if colours else Text(text), soft_wrap=True)

    @contextlib.contextmanager
    def progress(self, epochs: int) -> Iterator[Callable[[Told], None]]:
        """Something to tell the progress of a fit of at most so many epochs."""
        if self.console.is_terminal:
            with _bar(self.console) as bar:
                task = bar.add_task("", total=None, text="")

                def observer(told: Told) -> None:
                    bar.update(task, total=told.planned, completed=told.examples, text=brief(told, epochs))

                yield observer
        else:
            yield Lines(self, epochs)


def _bar(console: Console) -> Progress:
    return Progress(BarColumn(bar_width=16), TextColumn("{task.fields[text]}"), console=console)


class Lines:
    """Progress as plain lines: one every few seconds."""

    def __init__(self, voice: Voice, epochs: int):
        self.voice, self.epochs = voice, epochs
        self.said = time.monotonic()

    def __call__(self, told: Told) -> None:
        if told.done or time.monotonic() - self.said >= _LINE_SECONDS:
            self.said = time.monotonic()
            self.voice.tell(line(told, self.epochs))


def line(told: Told, epochs: int) -> str:
    """Where a fit stands.

    >>> line(Told(500, 2000, 0.25, 1.0, (500,)), 4)
    'epoch 1.0 of at most 4, loss 0.25, 500 examples/s, at most 3 s left'
    """
    rate = told.examples / max(told.seconds, 1e-9)
    epoch = told.examples * epochs / max(told.planned, 1)
    left = "" if told.done else f", at most {duration((told.planned - told.examples) / max(rate, 1e-9))} left"
    return f"epoch {epoch:.1f} of at most {epochs}, loss {told.loss:.4g}, {rate:,.0f} examples/s{left}"


def brief(told: Told, epochs: int) -> str:
    """The same in few enough letters for a bar on a narrow terminal.

    >>> brief(Told(500, 2000, 0.25, 1.0, (500,)), 4)
    'epoch 1.0/4  loss 0.25  500 examples/s  < 3 s left'
    """
    said = line(told, epochs).replace(", at most ", "  < ").replace(", loss", "  loss")
    return said.replace(" of at most ", "/").replace(", ", "  ")


def duration(seconds: float) -> str:
    """Seconds in words that fit their size.

    >>> duration(0.0421), duration(75), duration(7260)
    ('0.042 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"


_NAMES = {
    "accuracy": "accuracy",
    "log_loss": "log-loss",
    "rows_of_unknown_class": "rows of a class unknown to the model (counted as wrong)",
    "r2": "R²",
    "rmse": "RMSE",
    "inliers": "share taken as inliers",
}


def scores_in_words(scores: dict[str, float]) -> str:
    """Scores in one line.

    >>> scores_in_words({"accuracy": 0.975, "log_loss": 0.1})
    'accuracy 0.9750, log-loss 0.1000'
    """
    return ", ".join(f"{_NAMES[key]} {_short(value)}" for key, value in scores.items())


def _short(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.6g}"


def print_json(report: dict[str, Any]) -> None:
    """Strict JSON on standard output: a number that does not exist is null."""

    def strict(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strict(item) for key, item in value.items()}
        if isinstance(value, list):
            return [strict(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    sys.stdout.write(json.dumps(strict(report), indent=2, allow_nan=False) + "\n")
