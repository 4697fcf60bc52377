"""For the reference pages: Sphinx's roles in docstrings (``:class:`~parsgd.Local```) become code in Markdown.

mkdocstrings loads it (``mkdocs.yml``); the package does not.
"""

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|mod|meth|data|attr|exc):`(~?)([\w.]+)`")


def plain(text: str) -> str:
    """``:func:`~a.b.c``` is ``c`` in code, ``:func:`a.b.c``` all of it."""
    return _ROLE.sub(lambda m: f"`{m[2].rpartition('.')[2] if m[1] else m[2]}`", text).replace("``", "`")


class Roles(griffe.Extension):
    """Changes each docstring once, when it is read."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = plain(obj.docstring.value)
