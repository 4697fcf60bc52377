"""What the command says while it works and when it is done: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rich import box
from rich.console import Console as RichConsole
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from parsgd.cli import output
from parsgd.training.progress import Progress as Told
from parsgd.utils.streams import MessageStream
from parsgd.viz.live import display_mode
from parsgd.viz.live.log_view import Lines
from parsgd.viz.live.terminal_view import LiveView

# Off a terminal, a line of progress this often.
_LINE_SECONDS = 2.0
_PLAIN_WIDTH = 120


class Console:
    """Where messages go: standard output, or standard error if that is taken by data.

    With ``quiet`` results are left to JSON on standard output: of the messages there are only progress and notes, on
    standard error.
    """

    def __init__(self, quiet: bool = False, to_stderr: bool = False):
        stream = MessageStream("stderr" if to_stderr or quiet else "stdout")
        width = None if stream.isatty() else _PLAIN_WIDTH
        self.console = RichConsole(file=stream, highlight=False, width=width)
        self.quiet = quiet

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
    def progress(self) -> Iterator[Callable[[Told], None]]:
        """Something to tell the progress of fits."""
        how = display_mode.way(self.console.is_terminal)
        if how == "0":
            yield lambda told: None
            return
        # the workers have a table of their own when all is done
        live = how == "live"
        view = LiveView(self.console, keeps_table=False) if live else Lines(self.tell, seconds=_LINE_SECONDS)
        try:
            yield view
        finally:
            view.close()


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

    output.write(json.dumps(strict(report), indent=2, allow_nan=False) + "\n")
