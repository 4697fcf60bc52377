"""Write a folder of Parquet files as large as wanted, in constant memory, to train on what does not fit.

Usage: python benchmarks/single/make_big.py FOLDER [--gigabytes 8] [--kind covtype] [--data DATA_FOLDER]

``--gigabytes`` counts what the features would take in memory as float32.  ``covtype`` has 54 columns of numbers, 44 of
them 0 or 1, and ``Cover_Type``; ``flights`` has ten of numbers, four of texts, and ``arr_delay``.  With ``--data``
rows are drawn from covtype.parquet and nycflights13.parquet there, with a little noise on the numbers; without, they
are made up, with columns of the same kinds.  Rows are in random order: ``--sorted`` sorts each file by its target.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP, GROUPS_A_FILE = 65_536, 8
NUMBERS = (
    "Elevation",
    "Aspect",
    "Slope",
    "Horizontal_Distance_To_Hydrology",
    "Vertical_Distance_To_Hydrology",
    "Horizontal_Distance_To_Roadways",
    "Hillshade_9am",
    "Hillshade_Noon",
    "Hillshade_3pm",
    "Horizontal_Distance_To_Fire_Points",
)
RANGES = (2000, 360, 60, 1400, 700, 7000, 254, 254, 254, 7000)
FLIGHT_NUMBERS = ("month", "day", "hour", "minute", "dep_time", "arr_time", "dep_delay", "distance", "air_time", "year")
FLIGHT_TEXTS = {"carrier": 16, "tailnum": 4043, "origin": 3, "dest": 105}
Columns = dict[str, np.ndarray]


def covtype_rows(folder: Path | None, rng: np.random.Generator) -> tuple[Columns, tuple[str, ...]]:
    """Rows to draw from, in memory, and which of their columns take noise."""
    if folder is None:
        n = 100_000
        numbers = {name: rng.integers(0, top, n).astype(np.int32) for name, top in zip(NUMBERS, RANGES, strict=True)}
        areas, soils = rng.integers(0, 4, n), rng.geometric(0.15, n).clip(1, 40) - 1
        score = numbers["Elevation"] / 500 + areas + rng.standard_normal(n)
        target = np.clip(score, 1, 7).astype(np.int32)
    else:
        table = pq.read_table(folder / "covtype.parquet")
        numbers = {name: table[name].to_numpy().astype(np.int32) for name in NUMBERS}
        areas, soils = (table[name].combine_chunks().indices.to_numpy() for name in ("Wilderness_Area", "Soil_Type"))
        target = table["Cover_Type"].to_numpy().astype(np.int32)
    areas = {f"Wilderness_Area{k + 1}": (areas == k).astype(np.int8) for k in range(4)}
    soils = {f"Soil_Type{k + 1}": (soils == k).astype(np.int8) for k in range(40)}
    return {**numbers, **areas, **soils, "Cover_Type": target}, NUMBERS


def flights_rows(folder: Path | None, rng: np.random.Generator) -> tuple[Columns, tuple[str, ...]]:
    """The same for flights out of New York."""
    noisy = ("dep_delay", "distance", "air_time")
    if folder is None:
        n = 100_000
        columns = {name: rng.integers(0, 60, n).astype(np.float64) for name in FLIGHT_NUMBERS}
        texts = {
            name: np.array([f"{name}{k}" for k in range(levels)])[rng.integers(0, levels, n)]
            for name, levels in FLIGHT_TEXTS.items()
        }
        return {**columns, **texts, "arr_delay": columns["dep_delay"] + rng.normal(0, 15, n)}, noisy
    frame = pq.read_table(folder / "nycflights13.parquet").to_pandas().dropna()
    return {name: frame[name].to_numpy() for name in (*FLIGHT_NUMBERS, *FLIGHT_TEXTS, "arr_delay")}, noisy


def drawn(columns: Columns, noisy: tuple[str, ...], n: int, rng: np.random.Generator) -> Columns:
    """``n`` rows at random; numbers that take noise differ a little from those that they were drawn from."""
    rows = rng.integers(0, len(next(iter(columns.values()))), n)
    found = {name: column[rows] for name, column in columns.items()}
    for name in noisy:
        noise = rng.integers(-2, 3, n)
        found[name] = (found[name] + noise).astype(found[name].dtype)
    return found


def write(folder: Path, make: Callable, target: str, gigabytes: float, data: Path | None, ordered: bool = False) -> int:
    """Write the files; give the number of rows."""
    rng = np.random.default_rng(0)
    columns, noisy = make(data, rng)
    n_rows = int(gigabytes * 1e9 / (4 * (len(columns) - 1)))
    folder.mkdir(parents=True, exist_ok=True)
    for number, first in enumerate(range(0, n_rows, ROW_GROUP * GROUPS_A_FILE)):
        rows = drawn(columns, noisy, min(ROW_GROUP * GROUPS_A_FILE, n_rows - first), rng)
        if ordered:
            order = np.argsort(rows[target], kind="stable")
            rows = {name: column[order] for name, column in rows.items()}
        part = folder / f"part-{number:04}.parquet"
        pq.write_table(pa.table(rows), part, row_group_size=ROW_GROUP)
        print(f"{part.name}: {first + len(rows[target]):,} of {n_rows:,} rows", flush=True)
    return n_rows


KINDS = {"covtype": (covtype_rows, "Cover_Type"), "flights": (flights_rows, "arr_delay")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gigabytes", type=float, default=8.0)
    parser.add_argument("--kind", choices=sorted(KINDS), default="covtype")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sorted", action="store_true")
    given = parser.parse_args()
    make, target = KINDS[given.kind]
    n_rows = write(given.folder, make, target, given.gigabytes, given.data, given.sorted)
    stored = sum(part.stat().st_size for part in given.folder.glob("*.parquet"))
    print(f"{n_rows:,} rows, {stored / 1e9:.2f} GB on disk")


if __name__ == "__main__":
    main()
