"""Categorical and text columns: one-hot, or hashed into a fixed number of features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from parsgd.data.columns.arrow_values import bad_value, spelled, texts_in
from parsgd.errors import InvalidArgumentError, check_count, choose

MISSING, OTHER = "(missing)", "(other)"
_N_FEATURES = 2**18


@dataclass(frozen=True)
class OneHot:
    """A categorical column, one-hot encoded: one 0/1 feature per category of a fixed ``vocabulary``.

    Parameters
    ----------
    name : str
    vocabulary : list of str, optional
        The categories, as texts. None: all categories found in one scan of all rows, in alphabetical order.
    other : {"ignore", "error", "indicator"}, default="ignore"
        Encoding of a category outside the vocabulary: 0 in all features, an error, or a separate feature.
    missing : None, "ignore", "indicator" or "seen", default=None
        Encoding of a missing value; None: an error that names file and row. ``"seen"``: ``"indicator"`` if a value is
        missing in the rows from which the vocabulary is learned, otherwise ``"ignore"``.
    max_categories : int, optional
        Maximum number of features of a learned vocabulary. If there are more categories, the most frequent ones are
        kept, and ``other`` becomes ``"indicator"``.

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
    max_categories: int | None = None

    def __post_init__(self) -> None:
        _one_name(self.name, "OneHot")
        choose(self.other, ("ignore", "error", "indicator"), "other", "OneHot")
        if self.missing != "seen" or self.vocabulary is not None:
            _check_missing(self.missing, "OneHot")
        check_count(self.max_categories, "max_categories", "OneHot")
        if self.vocabulary is not None:
            texts = tuple(spelled(text) for text in self.vocabulary)
            if len(set(texts)) < len(texts):
                raise InvalidArgumentError(f"OneHot({self.name!r}): the vocabulary names a category twice.")
            object.__setattr__(self, "vocabulary", texts)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,) if self.name else ()

    @property
    def lacks(self) -> str:
        """Rows needed to learn the vocabulary: ``nothing`` or ``all``."""
        return "all" if self.vocabulary is None else "nothing"

    @property
    def width(self) -> int:
        return len(self.vocabulary or ()) + (self.other == "indicator") + (self.missing == "indicator")

    @property
    def outputs(self) -> list[str]:
        more = [OTHER] * (self.other == "indicator") + [MISSING] * (self.missing == "indicator")
        return [f"{self.name}={category}" for category in (*self.vocabulary, *more)]

    def encode(self, batch: Any, dtype: Any) -> sparse.csr_matrix:
        """Encode a batch as ``(n_rows, width)`` with at most one 1 per row."""
        codes, texts = texts_in(batch.column(self.name), self.name)
        places = {text: i for i, text in enumerate(self.vocabulary)}
        outside = len(places) if self.other == "indicator" else -1
        number = np.array([places.get(text, outside) for text in texts] or [-1], dtype=np.int64)
        found = number[codes]
        found[codes < 0] = _missing_place(self, codes, self.width - 1)
        if self.other == "error" and np.any((found < 0) & (codes >= 0)):
            row = int(np.argmax((found < 0) & (codes >= 0)))
            raise bad_value(
                self.name,
                row,
                f"holds {texts[codes[row]]!r}, which is not in the vocabulary",
                "Add it, or use OneHot(other='ignore') or 'indicator'.",
            )
        return _ones(found, self.width, dtype)


@dataclass(frozen=True)
class HashedCategories:
    """Hashed categorical columns: feature ``hash(name=category) mod n_features`` is 1.

    All columns share the features. Nothing is learned, so new categories need no refit; two categories may collide in
    one feature.

    Parameters
    ----------
    names : str or list of str
    n_features : int, default=2**18
    seed : int, default=0
        Seed of the hash (MurmurHash3, 32 bits).
    missing : None, "ignore" or "indicator", default=None
        Encoding of a missing value: an error, no feature, or a separate category.

    Examples
    --------
    >>> import pyarrow as pa
    >>> batch = pa.record_batch({"from": ["JFK"], "to": ["LAX"]})
    >>> x = HashedCategories(["from", "to"], n_features=16).encode(batch, "float32")
    >>> x.shape, float(x.sum())
    ((1, 16), 2.0)
    """

    names: Any = ()
    n_features: int = _N_FEATURES
    seed: int = 0
    missing: str | None = None

    lacks = "nothing"

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", names_given(self.names, "HashedCategories"))
        _check_missing(self.missing, "HashedCategories")
        check_count(self.n_features, "n_features", "HashedCategories", optional=False)

    @property
    def width(self) -> int:
        return self.n_features

    @property
    def outputs(self) -> list[str]:
        return [f"hash {number} of {', '.join(self.names)}" for number in range(self.n_features)]

    def encode(self, batch: Any, dtype: Any) -> sparse.csr_matrix:
        """Encode a batch as ``(n_rows, width)``: a 1 per column, summed where two columns collide."""
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
    """A text column: words, hashed and counted by scikit-learn's ``HashingVectorizer``.

    Parameters
    ----------
    name : str
    n_features : int, default=2**18
    ngram_range : (int, int), default=(1, 1)
    lowercase : bool, default=True
    alternate_sign : bool, default=True
        Random signs, so that words that collide in one feature may cancel each other.
    norm : "l2", "l1" or None, default="l2"
    missing : None or "ignore", default=None
        Encoding of a missing text: an error, or no words.

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
            raise InvalidArgumentError(f"Text(missing=) must be None or 'ignore'. Got {self.missing!r} instead.")

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
        """Encode a batch as ``(n_rows, width)``."""
        from sklearn.feature_extraction.text import HashingVectorizer

        codes, texts = texts_in(batch.column(self.name), self.name)
        _missing_place(self, codes, 0)
        hashing = HashingVectorizer(
            n_features=self.n_features,
            ngram_range=self.ngram_range,
            lowercase=self.lowercase,
            alternate_sign=self.alternate_sign,
            norm=self.norm,
            dtype=np.dtype(dtype),
        )
        if not len(codes):
            return sparse.csr_matrix((0, self.width), dtype=dtype)
        return hashing.transform([texts[code] if code >= 0 else "" for code in codes])


def names_given(given: str | Iterable[str], who: str) -> tuple[str, ...]:
    """Convert one name or several to a tuple; raise unless they are distinct texts."""
    names = (given,) if isinstance(given, str) else tuple(given)
    if not all(isinstance(name, str) for name in names):
        raise InvalidArgumentError(f"{who} takes a column's name or a list of names. Got {given!r} instead.")
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise InvalidArgumentError(f"{who} names the column {twice!r} twice; name it once.")
    return names


def _one_name(name: Any, who: str) -> None:
    if not isinstance(name, str):
        raise InvalidArgumentError(
            f"{who} takes the name of one column. Got {name!r} instead; declare one {who} for each."
        )


def _check_missing(missing: Any, who: str) -> None:
    if missing not in (None, "ignore", "indicator"):
        raise InvalidArgumentError(f"{who}(missing=) must be None, 'ignore' or 'indicator'. Got {missing!r} instead.")


def _missing_place(kind: Any, codes: np.ndarray, own: int, name: str | None = None) -> int:
    """Return the feature of a missing value, or -1 for none; raise if missing values were not declared."""
    if kind.missing is None and np.any(codes < 0):
        own_words = "" if isinstance(kind, Text) else " or missing='indicator'"
        raise bad_value(
            name or kind.names[0],
            int(np.argmax(codes < 0)),
            "is missing",
            f"Correct it, or declare {type(kind).__name__}(..., missing='ignore'){own_words}.",
        )
    return own if kind.missing == "indicator" else -1


def _ones(places: np.ndarray, width: int, dtype: Any) -> sparse.csr_matrix:
    """Build CSR rows with a 1 at each index ``(n_rows,)`` or ``(n_rows, n)``; skip negative indices."""
    places = places if places.ndim == 2 else places[:, None]
    known = places >= 0
    indptr = np.concatenate([[0], np.cumsum(known.sum(axis=1))]).astype(np.int32)
    data = np.ones(indptr[-1], dtype=dtype)
    x = sparse.csr_matrix((data, places[known].astype(np.int32), indptr), shape=(len(places), width))
    x.sum_duplicates()
    return x
