"""``parsgd train-torch``: train a PyTorch module that a Python file builds, and save its parameters."""

from __future__ import annotations

import runpy
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from parsgd.cli.cli_errors import UsageError
from parsgd.cli.console import Console
from parsgd.cli.option_groups import CheckpointOptions
from parsgd.cli.option_values import check_folder
from parsgd.cli.options import ALGORITHMS, ENGINES, AsJson, option, parallel_option, training_option
from parsgd.utils.atomic_io import write_atomically

if TYPE_CHECKING:
    from parsgd.torch import Trainer

EXAMPLES = ("parsgd train-torch net.py:build --data rows.npz --workers 2 --out net.pt",)
_RESULT = "a Trainer and the training data, or these and the validation data"


def train_torch(
    build: Annotated[str, typer.Argument(metavar="FILE.py:FUNCTION", help=f"A function that returns {_RESULT}.")],
    out: Annotated[Path, option("File for the parameters, written by torch.save.", "--out", "-o", metavar="FILE")],
    checkpoints: CheckpointOptions,
    data: Annotated[list[str] | None, option("A string passed to the function; may be repeated.", "--data")] = None,
    epochs: Annotated[int, training_option("Passes over the data.")] = 1,
    workers: Annotated[int | None, parallel_option("Number of workers. Default: the trainer's.")] = None,
    algorithm: Annotated[str | None, parallel_option("local, diloco, minibatch, ...", among=ALGORITHMS[1:])] = None,
    engine: Annotated[str | None, parallel_option("serial, threads, processes, dask or ray.", among=ENGINES)] = None,
    as_json: AsJson = False,
) -> None:
    """Train a PyTorch module on several workers, and save its parameters.

    The command runs FILE.py and calls FUNCTION with the strings of --data.  The function returns a parsgd.torch.Trainer
    and the training data, and may add validation data.  Options of the command replace those of the trainer.

    torch.load reads the file; module.load_state_dict accepts the result.  Ctrl-C keeps the module so far.
    """
    from parsgd.training.reporting.progress import observe_progress
    from parsgd.utils import interrupts

    console = Console(as_json)
    check_folder(out, "--out")
    trainer, *examples = _call(build, data or [])
    given = {"n_workers": workers, "algorithm": algorithm, "engine": engine, **checkpoints.parameters()}
    trainer.set_params(**{name: value for name, value in given.items() if value is not None})
    import torch

    began = time.perf_counter()
    with interrupts.returning() as hold, console.show_progress() as show, observe_progress(show):
        trainer.fit(*examples, epochs=epochs, **checkpoints.fit_arguments())
        seconds = time.perf_counter() - began
        with write_atomically(out) as temporary:
            torch.save(trainer.module.state_dict(), temporary)
    losses = trainer.validation_losses_
    console.print(f"{out}: the parameters after {trainer.n_epochs_} epochs, {seconds:.1f} s", style="bold")
    if losses:
        console.print(f"validation loss {losses[-1]:.4g}")
    console.print_json(
        {
            "out": str(out),
            "epochs": trainer.n_epochs_,
            "seconds": seconds,
            "loss": trainer.history_[-1]["loss"],
            "validation_losses": losses,
            "outcome": None if trainer.outcome_ is None else trainer.outcome_.name,
        }
    )
    if hold.presses:
        raise KeyboardInterrupt


def _call(build: str, data: list[str]) -> tuple[Trainer, Any, Any]:
    """Run the file and call its function; return the trainer, the training data, and validation data or None."""
    file, colon, name = build.rpartition(":")
    if not colon or not name.isidentifier() or not file.endswith(".py"):
        raise UsageError(f"FILE.py:FUNCTION must name a file and a function, such as net.py:build. Got {build!r}.")
    if not Path(file).is_file():
        raise UsageError(f"There is no file {file!r}.")
    function = runpy.run_path(file).get(name)
    if not callable(function):
        raise UsageError(f"{file} has no function {name!r}.")
    from parsgd.torch import Trainer

    found = function(*data)
    if not isinstance(found, tuple) or len(found) not in (2, 3) or not isinstance(found[0], Trainer):
        raise UsageError(f"{build} must return {_RESULT}. Got {type(found).__name__}.")
    trainer, train, *validation = found
    return trainer, train, validation[0] if validation else None
