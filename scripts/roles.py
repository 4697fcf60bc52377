"""For the reference pages: what docstrings have of Sphinx's language becomes Markdown; names that come late are found.

mkdocstrings loads it (``mkdocs.yml``); the package does not.
"""

import ast
import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|mod|meth|data|attr|exc):`(~?)([\w.]+)`")
_EXAMPLE = re.compile(r"^>>> .*?(?=\n\n|\Z)", re.DOTALL | re.MULTILINE)


def plain(text: str) -> str:
    """Roles are code, their last name alone after ``~``; ``::`` is a colon; examples outside sections are fenced."""
    text = _ROLE.sub(lambda m: f"`{m[2].rpartition('.')[2] if m[1] else m[2]}`", text).replace("``", "`")
    text = re.sub(r"::$", ":", re.sub(r"^::\n", "", text, flags=re.MULTILINE), flags=re.MULTILINE)
    if not re.search(r"^Examples\n-+$", text, re.MULTILINE):
        text = _EXAMPLE.sub(lambda m: f"```pycon\n{m[0].rstrip()}\n```", text)
    return text


class Roles(griffe.Extension):
    """Changes each docstring once, when it is read."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = plain(obj.docstring.value)

    def on_package(self, *, pkg: Any, **_: Any) -> None:
        """The package's own names are looked up when they are used, which who only reads it cannot know."""
        if pkg.name != "parsgd":
            return
        for table, whole in (("_MODULE_OF", False), ("_MODULES", True)):
            for name, home in ast.literal_eval(str(pkg[table].value)).items():
                if name not in pkg.members:
                    path = f"parsgd.{home}" if whole else f"parsgd.{home}.{name}"
                    pkg.set_member(name, griffe.Alias(name, path))
