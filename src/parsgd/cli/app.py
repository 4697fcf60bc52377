"""The command ``parsgd``: subcommands, option groups, ``--config``, ``--version`` and exit codes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from parsgd.cli import config, output
from parsgd.cli.cli_errors import INTERRUPTED, exit_of
from parsgd.cli.commands import bench, compile, export, fit, info, plan, predict, report, simulate, train_torch
from parsgd.cli.commands.fit import ARGUMENTS
from parsgd.cli.option_groups import expand_groups
from parsgd.cli.signals import TERMINATED, handle_signals
from parsgd.utils.streams import MessageStream

# These commands write files; they keep running after their terminal is closed.
_WRITE_FILES = ("fit", "predict", "report", "export")


class ErrorReportingGroup(TyperGroup):
    """A command group that turns expected errors into a message on standard error and an exit code."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        # the report page shows the command line
        ctx.meta[ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: typer.Context) -> Any:
        with handle_signals(writes=any(name in _WRITE_FILES for name in ctx.meta[ARGUMENTS][:1])) as received:
            try:
                return super().invoke(ctx)
            except BaseException as error:
                end = exit_of(error)
                if end is None:
                    raise
                interrupted = end.code == INTERRUPTED
                print(f"{end}" if interrupted else f"Error: {end}", file=MessageStream("stderr"))
                raise typer.Exit(TERMINATED if interrupted and received.terminated else end.code) from error


# Names of options in other tools.
_ALIASES = {
    "--workers": ("--jobs", "--n-jobs", "--threads", "--num-workers"),
    "--max-iter": ("--epochs", "--iterations"),
    "--eta0": ("--lr",),
    "--target": ("--label", "--y"),
    "--out": ("--output",),
    "--test-fraction": ("--test-size",),
    "--seed": ("--random-state",),
    "--hidden": ("--layers", "--hidden-layer-sizes"),
    "--model": ("--estimator",),
    "--alpha": ("--l2",),
    "--standardize": ("--scale",),
}


class Command(TyperCommand):
    """A command with ``--config`` and ``--print-config``."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            name, known = getattr(error, "option_name", None), {opt for param in self.params for opt in param.opts}
            meant = [option for option, names in _ALIASES.items() if name in names and option in known]
            if meant:
                error.possibilities = meant
            raise

    def invoke(self, ctx: typer.Context) -> Any:
        if ctx.params.get("print_config"):
            output.write(config.to_toml(ctx.info_name, self.params, ctx.params))
            return None
        return super().invoke(ctx)


def _add(function: Callable[..., Any], *examples: str) -> None:
    """Make ``function`` a command of the app; ``examples`` follow its help, and the tests run them."""
    epilog = "\n\n".join(("Examples:", *examples))
    # the terminal wraps the lines of each paragraph
    paragraphs = inspect.cleandoc(function.__doc__).split("\n\n")
    help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    app.command(cls=Command, help=help, epilog=epilog)(expand_groups(function, config.ConfigOptions))


app: typer.Typer = typer.Typer(
    cls=ErrorReportingGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train linear models and networks by parallel stochastic gradient descent, and predict with them.",
    epilog="First command: parsgd fit iris --out iris.parsgd\n\n"
    "Exit codes: 0 success, 1 failure, 2 invalid command line, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM).",
)
_add(fit.fit, *fit.EXAMPLES)
_add(predict.predict, *predict.PREDICT_EXAMPLES)
_add(predict.evaluate, *predict.EVALUATE_EXAMPLES)
_add(train_torch.train_torch, *train_torch.EXAMPLES)
_add(plan.plan, *plan.EXAMPLES)
_add(simulate.simulate, *simulate.EXAMPLES)
_add(report.report, *report.EXAMPLES)
_add(export.export, *export.EXAMPLES)
_add(bench.bench, *bench.EXAMPLES)
_add(info.info, *info.EXAMPLES)
_add(compile.compile, *compile.EXAMPLES)


@app.callback(invoke_without_command=True)
def start(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Train linear models and networks by parallel stochastic gradient descent, and predict with them."""
    if version:
        import parsgd

        output.write(f"parsgd {parsgd.__version__}\n")
        raise typer.Exit()
