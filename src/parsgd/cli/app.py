"""The command ``parsgd``: its commands, its version, and how errors end it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from parsgd.cli import command, output
from parsgd.cli.cli_errors import INTERRUPTED, CliExit, report_errors
from parsgd.cli.commands import bench, compile, export, fit, info, plan, predict, report, simulate
from parsgd.cli.commands.fit import TYPED
from parsgd.cli.signals import TERMINATED, handled
from parsgd.utils.streams import MessageStream

# Commands that write files, and do not end with the terminal in which they run.
_WRITING = ("fit", "predict", "report", "export")


class ErrorReportingGroup(TyperGroup):
    """Ends every command with a message on standard error and an exit code instead of a traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # a page about a run tells what was typed
        ctx.meta[TYPED] = tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with handled(writes=any(name in _WRITING for name in ctx.meta[TYPED][:1])) as received:
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
    help="Train linear models and networks by parallel stochastic gradient descent, and use them.",
    epilog="Begin with: parsgd fit iris --out iris.parsgd\n\n"
    "Exit codes: 0 done, 1 failed, 2 a mistake in what was typed, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM).",
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
def start(version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False) -> None:
    """Train linear models and networks by parallel stochastic gradient descent, and use them."""
    if version:
        import parsgd

        output.write(f"parsgd {parsgd.__version__}\n")
        raise typer.Exit()
