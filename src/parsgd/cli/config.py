"""Options from a TOML file, and the options of a run as one.

A table for each command has its options by their long names, ``max-iter = 20``; what is typed counts more.  A list is
a repeatable option's values, or stands for what has commas between; ``[fit.set]`` holds names and values of ``--set``.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from parsgd.cli.cli_errors import UsageError, did_you_mean

# What a configuration does not hold: where it came from.
_APART = ("config", "print-config", "help")


def take(context: typer.Context, path: Path | None) -> Path | None:
    """The callback of ``--config``: what the file says becomes what is taken where nothing is typed."""
    if path is not None:
        commands = context.parent.command.commands
        table = read(path, context.info_name, list(commands))
        context.default_map = defaults(table, context.command.params, f"{path}: [{context.info_name}]")
    return path


@dataclass(frozen=True)
class ConfigOptions:
    """The two options that every command has."""

    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="Take options from the table of this command in the file.",
            callback=take,
            is_eager=True,
        ),
    ] = None
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print all options as such a file, and do nothing else.")
    ] = False


def read(path: Path, command: str, commands: Sequence[str]) -> dict[str, Any]:
    """The table of ``command`` in the file; refuses a file with a table that is no command's."""
    try:
        whole = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--config {path}: cannot be read: {error.strerror or error}. Check the name.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path}: is not TOML: {error}.") from error
    for name, value in whole.items():
        if not isinstance(value, dict):
            raise UsageError(f"{path}: {name} is in no table; write [{command}] above it.")
        if name not in commands:
            raise UsageError(f"{path}: [{name}] is no command.{did_you_mean(name, commands)}")
    if command not in whole:
        raise UsageError(
            f"{path}: has no table [{command}]; it has {', '.join(f'[{name}]' for name in whole) or 'none'}."
        )
    return whole[command]


def defaults(table: Mapping[str, Any], params: Sequence[Any], where: str) -> dict[str, Any]:
    """What the table says as it would be typed, by the parameters' names."""
    known = {key_of(param): param for param in params if key_of(param) not in _APART}
    found = {}
    for name, value in table.items():
        key = name.replace("_", "-")
        if key not in known:
            raise UsageError(f"{where} has no {name!r}.{did_you_mean(key, known)} It takes {', '.join(known)}.")
        found[known[key].name] = _typed(value, known[key], f"{where} {name}")
    return found


def key_of(param: Any) -> str:
    """What a parameter is called in the file: ``max-iter``."""
    if param.param_type_name == "argument":
        return param.name.replace("_", "-")
    return max(param.opts, key=len).lstrip("-")


def _typed(value: Any, param: Any, where: str) -> Any:
    many = getattr(param, "multiple", False) or param.nargs == -1
    if isinstance(value, dict) and key_of(param) == "set":
        return [f"{name}={_word(item, where)}" for name, item in value.items()]
    if isinstance(value, list):
        words = [_word(item, where) for item in value]
        return words if many else ",".join(words)
    if getattr(param, "is_flag", False):
        if not isinstance(value, bool):
            raise UsageError(f"{where}: true or false was expected; got {value!r}.")
        return value
    return [_word(value, where)] if many else _word(value, where)


def _word(value: Any, where: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list):
        return json.dumps(value)
    raise UsageError(f"{where}: a text, a number, true or false was expected; got {value!r}.")


def to_toml(command: str, params: Sequence[Any], values: Mapping[str, Any]) -> str:
    """The table of a run: all that was given or is so when nothing is given.

    >>> to_toml("fit", [], {})
    '[fit]\\n'
    """
    lines = [f"[{command}]"]
    for param in params:
        value = values.get(param.name)
        if key_of(param) not in _APART and value not in (None, [], ()):
            lines.append(f"{key_of(param)} = {_literal(value)}")
    return "\n".join(lines) + "\n"


def _literal(value: Any) -> str:
    """
    >>> _literal([True, 3, 1e-05, "a \\"b\\"", Path("c")])
    '[true, 3, 1e-05, "a \\\\"b\\\\"", "c"]'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_literal, value))}]"
    # a JSON string is a TOML string, but for this one character
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
