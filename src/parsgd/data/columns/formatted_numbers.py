"""Notes on columns of formatted numbers, such as ``12 %`` or ``1,234``, that are encoded as categories."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from parsgd.data.columns.arrow_values import texts_in
from parsgd.data.columns.categories import HashedCategories, OneHot
from parsgd.data.columns.column_kinds import Kind
from parsgd.data.columns.numeric import flat
from parsgd.data.contracts import ArrowTable

# Rows of a table in which hashed categories are looked at.
HEAD_ROWS = 1000
# A number with a decimal comma, digit groups, a percent sign or a currency.
_NUMBER = re.compile(r"[-+]?[$€£]?\s?\d{1,3}([., ]\d{3})*([.,]\d+)?\s?%?|[-+]?\d+,\d+")
_FORMAT = re.compile(r"[,%$€£ ]|\d\.\d{3}\.")


def formatted_number(texts: Sequence[str]) -> str | None:
    """Return a formatted number if all of several distinct texts are numbers, some of them formatted.

    >>> formatted_number(["3", "12 %"]), formatted_number(["3", "12"]), formatted_number(["3 %", "none"])
    ('12 %', None, None)
    """
    odd = [text for text in texts if _FORMAT.search(text)]
    return odd[0] if odd and len(texts) > 1 and all(map(_NUMBER.fullmatch, texts)) else None


def notes_on_numbers(kinds: Iterable[Kind], head: ArrowTable | None = None) -> list[str]:
    """Return a note for each categorical column of formatted numbers.

    The categories are the vocabulary of a :class:`OneHot`, and the values of ``head``, some rows, for hashed columns.
    """
    notes: list[str] = []
    for kind in kinds:
        categories: dict[str, Sequence[str]] = {}
        if isinstance(kind, OneHot):
            categories = {kind.name: kind.vocabulary or ()}
        elif isinstance(kind, HashedCategories) and head is not None:
            categories = {name: _texts(head, name) for name in kind.names if name in head.schema.names}
        for name, texts in categories.items():
            found = formatted_number(texts)
            if found is not None:
                notes.append(
                    f"{name}: encoded as categories, but looks like numbers with a decimal comma, digit groups, a"
                    f" currency or %, such as {found!r}; decimal=',' (--decimal ,) reads decimal commas, other formats"
                    " must be changed in the file"
                )
    return notes


def _texts(table: ArrowTable, name: str) -> list[str]:
    return [text for text in texts_in(flat(table.column(name)), name)[1] if text]
