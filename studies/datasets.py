"""Real data for studies and benchmarks, read from a folder that is given on the command line.

Each function returns ``X_train, X_test, y_train, y_test``, float32, dense or CSR, ready for SGD.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.datasets import load_svmlight_file
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import OneHotEncoder, StandardScaler, normalize


def narrow(X: sparse.csr_matrix) -> sparse.csr_matrix:
    """The same matrix with 32-bit indices: scikit-learn's SGD refuses the 64-bit ones that svmlight files give."""
    X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    return X


Split = tuple[object, object, np.ndarray, np.ndarray]


def split(X, y, stratify: bool = True) -> Split:
    """A fifth of the rows for testing, the same ones every time."""
    return train_test_split(X, y, test_size=0.2, random_state=0, stratify=y if stratify else None)


def covtype(folder: Path, classes: bool = False) -> Split:
    """UCI Covertype: 54 columns; class 2 against the rest, or all seven classes."""
    frame = pd.read_parquet(folder / "covtype.parquet")
    y = frame.pop("Cover_Type").to_numpy().astype(int)
    numbers = [name for name in frame if pd.api.types.is_numeric_dtype(frame[name]) and frame[name].nunique() > 60]
    categories = [name for name in frame if name not in numbers]
    ones = OneHotEncoder(sparse_output=False, dtype=np.float32).fit_transform(frame[categories].astype(str))
    X = np.hstack([frame[numbers].to_numpy(np.float32), ones])
    X_train, X_test, y_train, y_test = split(X, y if classes else (y == 2).astype(int))
    scaler = StandardScaler().fit(X_train)
    return scaler.transform(X_train), scaler.transform(X_test), y_train, y_test


def adult(folder: Path) -> Split:
    """UCI Adult: 123 binary features, its own test set."""
    parts = [
        load_svmlight_file(str(folder / f"adult.{part}.svm.bz2"), n_features=123, zero_based=True, dtype=np.float32)
        for part in ("train", "test")
    ]
    (X_train, y_train), (X_test, y_test) = parts
    return narrow(X_train), narrow(X_test), (y_train > 0).astype(int), (y_test > 0).astype(int)


def enron_spam(folder: Path) -> Split:
    """Enron-Spam: words hashed to 2^18 binary columns, rows of unit length (as in Zinkevich et al. 2010)."""
    frame = pd.read_parquet(folder / "enron_spam.parquet").drop_duplicates("text")
    hashing = HashingVectorizer(n_features=2**18, alternate_sign=False, binary=True, dtype=np.float32)
    X = hashing.transform(frame["text"])
    return split(X, frame["spam"].to_numpy().astype(int))


def nycflights(folder: Path) -> Split:
    """Flights out of New York in 2013: arrival delay in standard deviations; one-hot, thousands of columns."""
    X, minutes = flights(folder)
    return split(X, (minutes - minutes.mean()) / minutes.std(), stratify=False)


def nycflights_late(folder: Path) -> Split:
    """The same flights: more than 15 minutes late at arrival, or not."""
    X, minutes = flights(folder)
    return split(X, (minutes > 15).astype(int))


def flights(folder: Path) -> tuple[sparse.csr_matrix, np.ndarray]:
    """One-hot and standardised columns of the flights that arrived, and their delay at arrival in minutes."""
    frame = pd.read_parquet(folder / "nycflights13.parquet").dropna(subset=["arr_delay"])
    names = ["carrier", "flight", "tailnum", "origin", "dest", "month", "day", "hour"]
    ones = OneHotEncoder(dtype=np.float32, handle_unknown="ignore").fit_transform(frame[names].astype(str))
    numbers = StandardScaler().fit_transform(frame[["dep_delay", "distance", "air_time"]].fillna(0.0))
    X = sparse.csr_matrix(sparse.hstack([sparse.csr_matrix(numbers.astype(np.float32)), ones]))
    return X, frame["arr_delay"].to_numpy(np.float64)


def news20(folder: Path) -> Split:
    """20 Newsgroups: 62,061 columns, rows of unit length."""
    X, y = load_svmlight_file(str(folder / "news20.svm.bz2"), dtype=np.float32)
    return split(narrow(normalize(X)), np.unique(y, return_inverse=True)[1])


def fashion_mnist(folder: Path) -> Split:
    """Fashion-MNIST: 784 grey values between 0 and 1, ten classes, its own test set."""
    with np.load(folder / "fashion_mnist.npz") as parts:
        X_train, X_test = (parts[name].astype(np.float32) / 255.0 for name in ("X_train", "X_test"))
        return X_train, X_test, parts["y_train"].astype(int), parts["y_test"].astype(int)


def california_housing(folder: Path) -> Split:
    """California housing: median house values in standard deviations; 8 numbers, the distance to the sea one-hot."""
    frame = pd.read_csv(folder / "california_housing.csv.xz")
    y = frame.pop("median_house_value").to_numpy(np.float64)
    categories = frame.select_dtypes(exclude="number").columns
    ones = OneHotEncoder(sparse_output=False, dtype=np.float32).fit_transform(frame[categories].astype(str))
    numbers = frame.drop(columns=categories)
    X = np.hstack([numbers.fillna(numbers.median()).to_numpy(np.float32), ones])
    X_train, X_test, y_train, y_test = split(X, (y - y.mean()) / y.std(), stratify=False)
    scaler = StandardScaler().fit(X_train)
    return scaler.transform(X_train), scaler.transform(X_test), y_train, y_test
