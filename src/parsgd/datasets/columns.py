"""Kinds of columns: what users declare of a table, and how each kind becomes features.

A kind is a few names and numbers.  What it must learn from the data (a mean, a vocabulary) is a field like any other:
it may be given, and it is filled in by :mod:`parsgd.datasets.learning` where it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from parsgd.datasets.numeric import row_major
from parsgd.datasets.values import bad_value, numbers_in, texts_in
from parsgd.errors import InvalidArgument, check_count, choose

MISSING, OTHER = "(missing)", "(other)"
_N_FEATURES = 2**18


def _names(given: str | Iterable[str], who: str) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given)
    if not all(isinstance(name, str) for name in names):
        raise InvalidArgument(f"{who} takes a column's name or a list of names. Got {given!r} instead.")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InvalidArgument(f"{who} names the column {twice[0]!r} twice; name it once.")
    return names


@dataclass(frozen=True)
class Numbers:
    """Columns of numbers, one feature each: ``(x - center) / divisor``, where a missing ``x`` is ``fill``.

    Parameters
    ----------
    names : str or list of str, default=()
        None named: all columns of numbers that no other kind names.  Dates and moments, where they are named, count in
        days since 1970, durations in seconds; True is 1.
    missing : None, a number or "mean", default=None
        What a missing value counts as.  None: it is an error that names file and row.
    scale : None, "standard" or "unit", default=None
        ``"standard"``: mean 0 and standard deviation 1; ``"unit"``: the smallest value becomes 0, the largest 1.
        Learned, as the mean is, from a sample of the rows (:func:`parsgd.open_dataset` says which).
    fill, center, divisor : tuple of float, optional
        What was learned, one number a column.

    Examples
    --------
    >>> import pyarrow as pa
    >>> batch = pa.record_batch({"age": [20.0, None], "rooms": [1, 3]})
    >>> Numbers(["age", "rooms"], missing=30).encode(batch, "float32")
    array([[20.,  1.],
           [30.,  3.]], dtype=float32)
    """

    names: Any = ()
    missing: Any = None
    scale: str | None = None
    fill: tuple[float, ...] | None = None
    center: tuple[float, ...] | None = None
    divisor: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", _names(self.names, "Numbers"))
        number = isinstance(self.missing, (int, float, np.number)) and not isinstance(self.missing, bool)
        if not (self.missing is None or self.missing == "mean" or number and np.isfinite(self.missing)):
            raise InvalidArgument(f"Numbers(missing=) must be None, a number or 'mean'. Got {self.missing!r} instead.")
        if self.scale is not None:
            choose(self.scale, ("standard", "unit"), "scale", "Numbers")
        if number and self.names and self.fill is None:
            object.__setattr__(self, "fill", (float(self.missing),) * len(self.names))
        for field in ("fill", "center", "divisor"):
            given = getattr(self, field)
            if given is not None and self.names and len(given) != len(self.names):
                raise InvalidArgument(f"Numbers({field}=) has {len(given)} numbers for {len(self.names)} columns.")

    @property
    def lacks(self) -> str:
        """What must be seen to learn what is not given: ``nothing`` or a ``sample`` of the rows."""
        mean = self.missing == "mean" and self.fill is None
        return "sample" if mean or self.scale is not None and self.divisor is None else "nothing"

    @property
    def width(self) -> int:
        return len(self.names)

    @property
    def outputs(self) -> list[str]:
        return list(self.names)

    def encode(self, batch: Any, dtype: Any) -> np.ndarray:
        """``(n_rows, width)``, row after row."""
        with np.errstate(over="ignore", invalid="ignore"):
            columns = [self._column(batch.column(name), name, i) for i, name in enumerate(self.names)]
            out = row_major(columns, batch.num_rows, dtype)
            # a sum finds them in less time than a look at each
            finite = bool(np.isfinite(out.sum())) or bool(np.isfinite(out).all())
        if not finite:
            self._refuse(out)
        return out

    def _refuse(self, out: np.ndarray) -> None:
        row, i = np.argwhere(~np.isfinite(out))[0]
        what, remedy = f"is {out[row, i]}, not a finite number", "Correct it."
        if np.isnan(out[row, i]):
            what = "is missing"
            remedy = "Correct it, or declare what it counts as: Numbers([...], missing=0.0) or missing='mean'."
        raise bad_value(self.names[i], int(row), what, remedy)

    def _column(self, column: Any, name: str, i: int) -> np.ndarray:
        values = numbers_in(column, name)
        if self.fill is not None and (column.null_count or values.dtype.kind == "f"):
            gaps = np.isnan(values)
            values = np.where(gaps, self.fill[i], values) if gaps.any() else values
        if self.divisor is not None:
            values = (values.astype(np.float64) - self.center[i]) / self.divisor[i]
        return values


@dataclass(frozen=True)
class OneHot:
    """A column of categories, a feature of 0 and 1 for each of a fixed ``vocabulary``.

    Parameters
    ----------
    name : str
    vocabulary : list of str, optional
        The categories, as texts.  None: all that are there, found in one scan of all rows, in alphabetical order.
    other : {"ignore", "error", "own"}, default="ignore"
        What a category outside the vocabulary is: 0 in all features, an error, or a feature of its own.
    missing : None, "ignore" or "own", default=None
        The same for a missing value; None: it is an error that names file and row.

    Examples
    --------
    >>> import pyarrow as pa
    >>> OneHot("city", vocabulary=["Bath", "Lyon"]).encode(pa.record_batch({"city": ["Lyon", "Rome"]}), "f4").toarray()
    array([[0., 1.],
           [0., 0.]], dtype=float32)
    """

    name: str = ""
    vocabulary: tuple[str, ...] | None = None
    other: str = "ignore"
    missing: str | None = None

    def __post_init__(self) -> None:
        _one_name(self.name, "OneHot")
        choose(self.other, ("ignore", "error", "own"), "other", "OneHot")
        _check_missing(self.missing, "OneHot")
        if self.vocabulary is not None:
            texts = tuple(str(text) for text in self.vocabulary)
            if len(set(texts)) < len(texts):
                raise InvalidArgument(f"OneHot({self.name!r}): the vocabulary names a category twice.")
            object.__setattr__(self, "vocabulary", texts)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,) if self.name else ()

    @property
    def lacks(self) -> str:
        """``nothing``, or ``all`` rows must be seen."""
        return "all" if self.vocabulary is None else "nothing"

    @property
    def width(self) -> int:
        return len(self.vocabulary or ()) + (self.other == "own") + (self.missing == "own")

    @property
    def outputs(self) -> list[str]:
        more = [OTHER] * (self.other == "own") + [MISSING] * (self.missing == "own")
        return [f"{self.name}={category}" for category in (*self.vocabulary, *more)]

    def encode(self, batch: Any, dtype: Any) -> sparse.csr_matrix:
        """``(n_rows, width)``, at most one 1 a row."""
        codes, texts = texts_in(batch.column(self.name), self.name)
        places = {text: i for i, text in enumerate(self.vocabulary)}
        outside = len(places) if self.other == "own" else -1
        number = np.array([places.get(text, outside) for text in texts] or [-1], dtype=np.int64)
        found = number[codes]
        found[codes < 0] = _missing_place(self, codes, self.width - 1)
        if self.other == "error" and np.any((found < 0) & (codes >= 0)):
            row = int(np.argmax((found < 0) & (codes >= 0)))
            raise bad_value(
                self.name, row, f"holds {texts[codes[row]]!r}, which is not in the vocabulary",
                "Add it, or say OneHot(other='ignore') or 'own'.",
            )  # fmt: skip
        return _ones(found, self.width, dtype)


@dataclass(frozen=True)
class Hashed:
    """Columns of categories, hashed: ``hash(name=category) mod n_features`` is the number of the feature that is 1.

    All columns share the features.  Nothing is learned, any category can come; two may fall on one feature.

    Parameters
    ----------
    names : str or list of str
    n_features : int, default=2**18
    seed : int, default=0
        Of the hash (MurmurHash3, 32 bits).
    missing : None, "ignore" or "own", default=None
        What a missing value is: an error, no feature, or a category of its own.

    Examples
    --------
    >>> import pyarrow as pa
    >>> x = Hashed(["from", "to"], n_features=16).encode(pa.record_batch({"from": ["JFK"], "to": ["LAX"]}), "float32")
    >>> x.shape, float(x.sum())
    ((1, 16), 2.0)
    """

    names: Any = ()
    n_features: int = _N_FEATURES
    seed: int = 0
    missing: str | None = None

    lacks = "nothing"

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", _names(self.names, "Hashed"))
        _check_missing(self.missing, "Hashed")
        check_count(self.n_features, "n_features", "Hashed", optional=False)

    @property
    def width(self) -> int:
        return self.n_features

    @property
    def outputs(self) -> list[str]:
        return [f"hash {number} of {', '.join(self.names)}" for number in range(self.n_features)]

    def encode(self, batch: Any, dtype: Any) -> sparse.csr_matrix:
        """``(n_rows, width)``, a 1 for each column; more where two fall together."""
        from sklearn.utils import murmurhash3_32

        found = np.empty((batch.num_rows, len(self.names)), dtype=np.int64)
        for i, name in enumerate(self.names):
            codes, texts = texts_in(batch.column(name), name)
            _missing_place(self, codes, 0, name)
            hashes = [murmurhash3_32(f"{name}={text}", self.seed, positive=True) for text in (*texts, MISSING)]
            found[:, i] = (np.array(hashes, dtype=np.int64) % self.n_features)[codes]
            if self.missing == "ignore":
                found[codes < 0, i] = -1
        return _ones(found, self.width, dtype)


@dataclass(frozen=True)
class Text:
    """A column of running text: its words, hashed and counted by scikit-learn's ``HashingVectorizer``.

    Parameters
    ----------
    name : str
    n_features : int, default=2**18
    ngram_range : (int, int), default=(1, 1)
    lowercase : bool, default=True
    alternate_sign : bool, default=True
        Whether words that fall on one feature may cancel each other.
    norm : "l2", "l1" or None, default="l2"
    missing : None or "ignore", default=None
        Whether a missing text is an error, or has no words.

    Examples
    --------
    >>> import pyarrow as pa
    >>> Text("mail", n_features=64).encode(pa.record_batch({"mail": ["cheap cheap watches"]}), "float32").nnz
    2
    """

    name: str = ""
    n_features: int = _N_FEATURES
    ngram_range: tuple[int, int] = (1, 1)
    lowercase: bool = True
    alternate_sign: bool = True
    norm: str | None = "l2"
    missing: str | None = None

    lacks = "nothing"

    def __post_init__(self) -> None:
        _one_name(self.name, "Text")
        check_count(self.n_features, "n_features", "Text", optional=False)
        object.__setattr__(self, "ngram_range", tuple(self.ngram_range))
        if self.missing not in (None, "ignore"):
            raise InvalidArgument(f"Text(missing=) must be None or 'ignore'. Got {self.missing!r} instead.")

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,) if self.name else ()

    @property
    def width(self) -> int:
        return self.n_features

    @property
    def outputs(self) -> list[str]:
        return [f"hash {number} of {self.name}" for number in range(self.n_features)]

    def encode(self, batch: Any, dtype: Any) -> sparse.csr_matrix:
        """``(n_rows, width)``."""
        from sklearn.feature_extraction.text import HashingVectorizer

        codes, texts = texts_in(batch.column(self.name), self.name)
        _missing_place(self, codes, 0)
        hashing = HashingVectorizer(
            n_features=self.n_features, ngram_range=self.ngram_range, lowercase=self.lowercase,
            alternate_sign=self.alternate_sign, norm=self.norm, dtype=np.dtype(dtype),
        )  # fmt: skip
        return hashing.transform([texts[code] if code >= 0 else "" for code in codes])


KINDS = (Numbers, OneHot, Hashed, Text)
Kind = Numbers | OneHot | Hashed | Text


def _one_name(name: Any, who: str) -> None:
    if not isinstance(name, str):
        raise InvalidArgument(f"{who} takes the name of one column. Got {name!r} instead; declare one {who} for each.")


def _check_missing(missing: Any, who: str) -> None:
    if missing not in (None, "ignore", "own"):
        raise InvalidArgument(f"{who}(missing=) must be None, 'ignore' or 'own'. Got {missing!r} instead.")


def _missing_place(kind: Any, codes: np.ndarray, own: int, name: str | None = None) -> int:
    """Where a missing value goes, -1 for nowhere; raises where it was not declared."""
    if kind.missing is None and np.any(codes < 0):
        own_words = "" if isinstance(kind, Text) else " or missing='own'"
        raise bad_value(
            name or kind.names[0], int(np.argmax(codes < 0)), "is missing",
            f"Correct it, or declare {type(kind).__name__}(..., missing='ignore'){own_words}.",
        )  # fmt: skip
    return own if kind.missing == "own" else -1


def _ones(places: Sequence[int] | np.ndarray, width: int, dtype: Any) -> sparse.csr_matrix:
    """CSR rows with a 1 at each place ``(n_rows,)`` or ``(n_rows, n)``; places below 0 are none."""
    places = places.reshape(len(places), -1)
    known = places >= 0
    indptr = np.concatenate([[0], np.cumsum(known.sum(axis=1))]).astype(np.int32)
    data = np.ones(indptr[-1], dtype=dtype)
    x = sparse.csr_matrix((data, places[known].astype(np.int32), indptr), shape=(len(places), width))
    x.sum_duplicates()
    return x
