"""Read options from a TOML file, and print the options of a run as TOML.

Each command has a table with its options by long name, such as ``max-iter = 20``; the command line has precedence.
A list gives the values of a repeatable option, or the parts of a comma-separated one.  ``[fit.set]`` holds the
names and values of ``--set``.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from typer.core import TyperArgument, TyperOption

from parsgd.cli.cli_errors import UsageError
from parsgd.errors import did_you_mean

Parameter: TypeAlias = TyperArgument | TyperOption
# Options that a configuration file does not contain.
_EXCLUDED = ("config", "print-config", "help")


def use_as_defaults(context: typer.Context, path: Path | None) -> Path | None:
    """Use the values in the file as defaults of the command's options (callback of ``--config``)."""
    if path is not None:
        commands = context.parent.command.commands
        table = read(path, context.info_name, list(commands))
        context.default_map = defaults(table, context.command.params, f"{path}: [{context.info_name}]")
    return path


@dataclass(frozen=True)
class ConfigOptions:
    """The options ``--config`` and ``--print-config`` of every command."""

    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="Read options from this command's table in the file.",
            callback=use_as_defaults,
            is_eager=True,
        ),
    ] = None
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print all options as a --config file, and exit.")
    ] = False


def read(path: Path, command: str, commands: Sequence[str]) -> dict[str, Any]:
    """Return the table of ``command``; raise UsageError if any table is not named after a command."""
    try:
        whole = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--config {path}: cannot be read: {error.strerror or error}. Check the name.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path}: is not valid TOML: {error}.") from error
    for name, value in whole.items():
        if not isinstance(value, dict):
            raise UsageError(f"{path}: {name} is outside a table; write [{command}] above it.")
        if name not in commands:
            raise UsageError(f"{path}: [{name}] is not a command.{did_you_mean(name, commands)}")
    if command not in whole:
        raise UsageError(
            f"{path}: has no table [{command}]; it has {', '.join(f'[{name}]' for name in whole) or 'none'}."
        )
    return whole[command]


def defaults(table: Mapping[str, Any], params: Sequence[Parameter], where: str) -> dict[str, Any]:
    """Return the table's values as command-line text, by parameter name."""
    known = {key_of(param): param for param in params if key_of(param) not in _EXCLUDED}
    found = {}
    for name, value in table.items():
        key = name.replace("_", "-")
        if key not in known:
            raise UsageError(f"{where}: unknown option {name!r}.{did_you_mean(key, known)} Known: {', '.join(known)}.")
        found[known[key].name] = _to_arguments(value, known[key], f"{where} {name}")
    return found


def key_of(param: Parameter) -> str:
    """Return the name of a parameter in the file, such as ``max-iter``."""
    if isinstance(param, TyperArgument):
        return param.name.replace("_", "-")
    return max(param.opts, key=len).lstrip("-")


def _to_arguments(value: Any, param: Parameter, where: str) -> str | bool | list[str]:
    is_option = isinstance(param, TyperOption)
    repeatable = param.nargs == -1 or (is_option and param.multiple)
    if isinstance(value, dict) and key_of(param) == "set":
        return [f"{name}={_to_text(item, where)}" for name, item in value.items()]
    if isinstance(value, list):
        texts = [_to_text(item, where) for item in value]
        return texts if repeatable else ",".join(texts)
    if is_option and param.is_flag:
        if not isinstance(value, bool):
            raise UsageError(f"{where}: expected true or false; got {value!r}.")
        return value
    return [_to_text(value, where)] if repeatable else _to_text(value, where)


def _to_text(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float | list):
        return json.dumps(value)
    raise UsageError(f"{where}: expected text, a number, true or false; got {value!r}.")


def to_toml(command: str, params: Sequence[Parameter], values: Mapping[str, Any]) -> str:
    """Return the options of a run as a TOML table: given values and defaults.

    >>> to_toml("fit", [], {})
    '[fit]\\n'
    """
    lines = [f"[{command}]"]
    for param in params:
        value = values.get(param.name)
        if key_of(param) not in _EXCLUDED and value not in (None, [], ()):
            lines.append(f"{key_of(param)} = {_literal(value)}")
    return "\n".join(lines) + "\n"


def _literal(value: Any) -> str:
    """
    >>> _literal([True, 3, "a \\"b\\"", Path("c")]), _literal(1e-05)
    ('[true, 3, "a \\\\"b\\\\"", "c"]', '1e-05')
    """
    if isinstance(value, float):
        return repr(value)
    # JSON is valid TOML except for this character
    return json.dumps(value, ensure_ascii=False, default=str).replace("\x7f", "\\u007f")
