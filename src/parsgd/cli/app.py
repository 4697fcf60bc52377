"""The command ``parsgd``: subcommands, ``--version`` and exit codes."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from parsgd.cli import command, output
from parsgd.cli.cli_errors import INTERRUPTED, CliExit, report_errors
from parsgd.cli.commands import bench, compile, export, fit, info, plan, predict, report, simulate
from parsgd.cli.commands.fit import ARGUMENTS
from parsgd.cli.signals import TERMINATED, handle_signals
from parsgd.utils.streams import MessageStream

# These commands write files; they keep running after their terminal is closed.
_WRITE_FILES = ("fit", "predict", "report", "export")


class ErrorReportingGroup(TyperGroup):
    """A command group that turns expected errors into a message on standard error and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # the report page shows the command line
        ctx.meta[ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with handle_signals(writes=any(name in _WRITE_FILES for name in ctx.meta[ARGUMENTS][:1])) as received:
            try:
                with report_errors():
                    return super().invoke(ctx)
            except CliExit as end:
                interrupted = end.code == INTERRUPTED
                print(f"{end}" if interrupted else f"Error: {end}", file=MessageStream("stderr"))
                raise typer.Exit(TERMINATED if interrupted and received.terminated else end.code) from end


app = typer.Typer(
    cls=ErrorReportingGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train linear models and networks by parallel stochastic gradient descent, and predict with them.",
    epilog="First command: parsgd fit iris --out iris.parsgd\n\n"
    "Exit codes: 0 success, 1 failure, 2 invalid command line, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM).",
)
command.add(app, fit.fit, *fit.EXAMPLES)
command.add(app, predict.predict, *predict.PREDICT_EXAMPLES)
command.add(app, predict.evaluate, *predict.EVALUATE_EXAMPLES)
command.add(app, plan.plan, *plan.EXAMPLES)
command.add(app, simulate.simulate, *simulate.EXAMPLES)
command.add(app, report.report, *report.EXAMPLES)
command.add(app, export.export, *export.EXAMPLES)
command.add(app, bench.bench, *bench.EXAMPLES)
command.add(app, info.info, *info.EXAMPLES)
command.add(app, compile.compile, *compile.EXAMPLES)


@app.callback(invoke_without_command=True)
def start(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Train linear models and networks by parallel stochastic gradient descent, and predict with them."""
    if version:
        import parsgd

        output.write(f"parsgd {parsgd.__version__}\n")
        raise typer.Exit()
