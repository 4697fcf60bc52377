"""For the reference pages: what docstrings have of Sphinx's language becomes Markdown.

mkdocstrings loads it (``mkdocs.yml``); the package does not.
"""

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
