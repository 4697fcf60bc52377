"""The command class: option groups, ``--config``, examples in the help, and hints for unknown options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand

from parsgd.cli import config, output
from parsgd.cli.options.option_groups import expand_groups

# Names of these options in other tools.
_ALIASES = {
    "--jobs": "--workers",
    "--n-jobs": "--workers",
    "--threads": "--workers",
    "--num-workers": "--workers",
    "--epochs": "--max-iter",
    "--iterations": "--max-iter",
    "--lr": "--eta0",
    "--label": "--target",
    "--y": "--target",
    "--output": "--out",
    "--test-size": "--test-fraction",
    "--random-state": "--seed",
    "--layers": "--hidden",
    "--hidden-layer-sizes": "--hidden",
    "--estimator": "--model",
    "--l2": "--alpha",
    "--scale": "--standardize",
}


class Command(TyperCommand):
    """A command with ``--config`` and ``--print-config``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            name = getattr(error, "option_name", None)
            known = {opt for param in self.params for opt in param.opts}
            if name in _ALIASES and _ALIASES[name] in known:
                error.possibilities = [_ALIASES[name]]
            raise

    def invoke(self, ctx: Any) -> Any:
        if ctx.params.get("print_config"):
            output.write(config.to_toml(ctx.info_name, self.params, ctx.params))
            return None
        return super().invoke(ctx)


def add(app: typer.Typer, function: Callable, *examples: str) -> None:
    """Make ``function`` a command of the app; ``examples`` follow its help, and the tests run them."""
    epilog = "\n\n".join(("Examples:", *examples))
    # the terminal wraps the lines of each paragraph
    paragraphs = inspect.cleandoc(function.__doc__).split("\n\n")
    help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    app.command(cls=Command, help=help, epilog=epilog)(expand_groups(function, config.ConfigOptions))
