"""Messages, tables and progress of a command, on a terminal or as plain lines."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console as RichConsole
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from parsgd.cli import output
from parsgd.utils.streams import MessageStream
from parsgd.viz import number_format

if TYPE_CHECKING:
    from parsgd.training.reporting.progress import Progress

# Interval between progress lines if standard output is not a terminal.
_LINE_SECONDS = 2.0
_PLAIN_WIDTH = 120


class Console:
    """The output of messages: standard output, or standard error if the data go to standard output.

    With ``quiet`` it prints progress and notes only, on standard error; the results are JSON on standard output.
    """

    def __init__(self, quiet: bool = False, to_stderr: bool = False):
        stream = MessageStream("stderr" if to_stderr or quiet else "stdout")
        width = None if stream.isatty() else _PLAIN_WIDTH
        self.console: RichConsole = RichConsole(file=stream, highlight=False, width=width)
        self.quiet = quiet

    def print(self, text: str = "", style: str | None = None) -> None:
        """Print one line unless quiet."""
        if not self.quiet:
            self.print_always(text, style)

    def print_note(self, text: str) -> None:
        """Print a warning, also if quiet."""
        self.print_always(f"Note: {text}", "yellow")

    def print_always(self, text: str, style: str | None = None) -> None:
        """Print one line, also if quiet."""
        self.console.print(escape(text), style=style, soft_wrap=True)

    def print_notes(self, lines: Iterable[str]) -> None:
        """Print short facts, one per line, unless quiet."""
        for line in lines:
            self.print(f"  {line}", style="dim")

    def print_facts(self, facts: Mapping[str, Any]) -> None:
        """Print facts by name, one per line, unless quiet; None and empty ones are left out."""
        for name, value in facts.items():
            if value not in (None, ""):
                self.print(f"{name + ':':12}{value}")

    def print_table(self, title: str, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
        """Print a table unless quiet."""
        if self.quiet:
            return
        table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
        for name in header:
            table.add_column(escape(name), justify="right")
        for row in rows:
            table.add_row(*(escape(str(value)) for value in row))
        self.console.print(table)

    def print_plot(self, draw: Callable[[int, bool], str]) -> None:
        """Print the text of ``draw(width, colors)``; ``colors`` is True if the terminal has colors."""
        colors = self.console.color_system is not None
        text = draw(self.console.width, colors)
        self.console.print(Text.from_ansi(text) if colors else Text(text), soft_wrap=True)

    @contextlib.contextmanager
    def show_progress(self) -> Iterator[Callable[[Progress], None]]:
        """Show progress inside the block; yield the observer of the fits."""
        # these import NumPy
        from parsgd.viz.live import display_mode
        from parsgd.viz.live.log_view import LogView
        from parsgd.viz.live.terminal_view import LiveView

        mode = display_mode.display_mode(self.console.is_terminal)
        if mode == "0":
            yield lambda progress: None
        elif mode == "live":
            # the summary repeats the table of workers
            with contextlib.closing(LiveView(self.console, keep_table=False)) as view:
                yield view
        else:
            yield LogView(self.print_always, seconds=_LINE_SECONDS)

    def print_json(self, report: dict[str, Any]) -> None:
        """Print strict JSON on standard output if quiet; NaN and infinity become null."""
        if self.quiet:
            output.write(json.dumps(number_format.without_nan(report), indent=2, allow_nan=False) + "\n")
