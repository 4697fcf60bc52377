"""A command of the command line: its options in groups, its configuration, its examples, and the nearest option."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand

from parsgd.cli import config, output
from parsgd.cli.options.option_groups import grouped

# What other tools call our options.
_ALSO = {
    "--jobs": "--workers", "--n-jobs": "--workers", "--threads": "--workers", "--num-workers": "--workers",
    "--epochs": "--max-iter", "--iterations": "--max-iter", "--lr": "--eta0", "--label": "--target", "--y": "--target",
    "--output": "--out", "--test-size": "--test-fraction", "--random-state": "--seed", "--layers": "--hidden",
    "--hidden-layer-sizes": "--hidden", "--estimator": "--model", "--l2": "--alpha", "--scale": "--standardize",
}  # fmt: skip


class Command(TyperCommand):
    """A command with ``--config`` and ``--print-config``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            name = getattr(error, "option_name", None)
            known = {opt for param in self.params for opt in param.opts}
            if name in _ALSO and _ALSO[name] in known:
                error.possibilities = [_ALSO[name]]
            raise

    def invoke(self, ctx: Any) -> Any:
        if ctx.params.get("print_config"):
            output.write(config.to_toml(ctx.info_name, self.params, ctx.params))
            return None
        return super().invoke(ctx)


def add(app: typer.Typer, function: Callable, *examples: str) -> None:
    """Make ``function`` a command of the app; the examples are shown below its help, and the tests run them."""
    epilog = "\n\n".join(("Examples:", *examples))
    # of a paragraph's lines the terminal makes its own
    paragraphs = inspect.cleandoc(function.__doc__).split("\n\n")
    help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    app.command(cls=Command, help=help, epilog=epilog)(grouped(function, config.ConfigOptions))
