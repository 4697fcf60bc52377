"""Parquet data: a file, a list of files, a folder, or a hive-partitioned folder; local or remote.

Opening reads only the footers: names and types of the columns, and rows per row group. Errors that the footers reveal
are raised then, not during a fit.
"""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from parsgd.data.columns.column_specs import check_names
from parsgd.data.columns.numeric import arrow, kind_of_type
from parsgd.data.contracts import Reading
from parsgd.data.formats.paths import ENDINGS, Address, file_system, find_files, is_address
from parsgd.data.formats.row_groups import ParquetFile, RowGroup, filtered, sentence
from parsgd.errors import DataFileError, InvalidArgumentError

_COUNTED_ROWS = 65_536


@dataclass(frozen=True)
class ParquetFiles:
    """The files of one dataset; ``filter`` is an Arrow expression that selects rows, or None.

    Examples
    --------
    >>> import tempfile, pathlib, pyarrow as pa, pyarrow.parquet as pq
    >>> folder = tempfile.TemporaryDirectory()
    >>> pq.write_table(pa.table({"a": [1, 2, 3], "y": [0, 1, 0]}), pathlib.Path(folder.name, "one.parquet"))
    >>> files = open_parquet(folder.name)
    >>> files.n_rows, files.schema.names
    (3, ['a', 'y'])
    >>> folder.cleanup()
    """

    path: str
    files: tuple[ParquetFile, ...]
    filter: Any = None
    metadata: Mapping[bytes, bytes] | None = None

    @property
    def n_rows(self) -> int:
        """Rows in the files, including those filtered out."""
        return sum(sum(file.group_rows) for file in self.files)

    @cached_property
    def schema(self) -> Any:
        """Columns of the first file and of the folder names, each with the common type of all files if there is one."""
        pa = arrow()
        names = dict.fromkeys([*self.files[0].types, *(name for file in self.files for name in file.partition)])
        return pa.schema([(name, self._type(name)[0]) for name in names], self.metadata)

    def pieces(self, reading: Reading) -> list[RowGroup]:
        """Make a piece of each nonempty row group.

        Raises DataFileError if a file lacks a column, or the types of a column are incompatible; names the files.
        """
        check_names(self.schema, reading.names, self.path)
        types = {name: self._checked(name) for name in reading.names}
        # the columns with another type in a file than in the dataset
        casts_of_files = [
            {name: kind for name, kind in types.items() if file.types.get(name, kind) != kind} for file in self.files
        ]
        return [
            RowGroup(file, number, n_rows, reading, casts, self.filter)
            for file, casts in zip(self.files, casts_of_files, strict=True)
            for number, n_rows in enumerate(self._counts(file))
            if n_rows
        ]

    def _counts(self, file: ParquetFile) -> Sequence[int]:
        """Count the rows of each row group; with a filter, this reads the columns of the filter."""
        if self.filter is None:
            return file.group_rows
        pa = arrow()
        groups = range(len(file.group_rows))
        try:
            batches = (filtered(file, [group], list(file.types)[:1], self.filter, _COUNTED_ROWS) for group in groups)
            return [sum(batch.num_rows for batch in found) for found in batches]
        except (pa.ArrowException, OSError) as error:
            raise DataFileError(
                f"{file.path}: filters={self.filter} cannot be applied: {sentence(error)} Its columns are"
                f" {', '.join([*file.types, *file.partition])}."
            ) from error

    def _type(self, name: str) -> tuple[Any, ParquetFile | None]:
        """Return the common type of all files; or the first type, and a file with an incompatible type."""
        found = None
        for file in self.files:
            kind = file.type_of(name)
            common = kind if found is None else common_type(found, kind)
            if common is None:
                return found, file
            found = common
        return found, None

    def _checked(self, name: str) -> Any:
        for file in self.files:
            if name not in file.types and name not in file.partition:
                raise DataFileError(
                    f"{file.path} has no column {name!r}, which {self.files[0].path} has. Write the files with the same"
                    " columns, or leave this one out."
                )
        kind, odd = self._type(name)
        if odd is not None:
            raise DataFileError(
                f"Column {name!r} holds {odd.types.get(name, 'a text')} in {odd.path} and {kind} in"
                f" {self.files[0].path}. Write the files with one type, or leave out the file or the column."
            )
        return kind


def open_parquet(path: Any, *, filters: Any = None, storage_options: Mapping[str, Any] | None = None) -> ParquetFiles:
    """Find the files and read their footers.

    ``filters`` select rows: a pyarrow Expression, or a list of (column, operator, value). Files and row groups without
    such rows are not read. Folders named ``column=value`` add a column.

    Raises DataFileError if there is no file, or a file cannot be read; names it. Raises MissingDependencyError if
    pyarrow, or for an address fsspec, is not installed.
    """
    arrow()
    import pyarrow.dataset as pads

    paths = [os.fspath(one) for one in path] if isinstance(path, (list, tuple)) else [os.fspath(path)]
    shown = paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more" if paths else "an empty list"
    options = dict(storage_options or {})
    expression = _expression(filters)
    files: list[ParquetFile] = []
    metadata = None
    for one in paths:
        system, inside, keys = _partitioned(one, options)
        try:
            partitioning = pads.partitioning(arrow().schema(keys), flavor="hive")
            base = inside[1] if keys else None
            found = pads.dataset(
                inside[0], format="parquet", partitioning=partitioning, partition_base_dir=base, filesystem=system
            )
        except FileNotFoundError as error:
            raise DataFileError(f"{one}: there is no such file or folder.") from error
        except (arrow().ArrowException, OSError) as error:
            raise DataFileError(f"{one} cannot be read as Parquet: {sentence(error)}") from error
        try:
            fragments = list(found.get_fragments(filter=expression))
        except arrow().ArrowException as error:
            raise DataFileError(f"{shown}: filters={filters} cannot be applied: {sentence(error)}") from error
        metadata = metadata or found.schema.metadata
        own = (_opened(fragment, system, options) for fragment in fragments)
        files += sorted(own, key=lambda file: file.path)
    if not files:
        raise DataFileError(f"{shown} has no Parquet files{'' if filters is None else f' that {filters} leaves'}.")
    return ParquetFiles(shown, tuple(files), expression, metadata)


def _partitioned(path: str, options: Mapping[str, Any]) -> tuple[Any, tuple[list[str], str], list[tuple[str, Any]]]:
    """Return the fsspec file system (None for local paths), the files and their folder, and the folder-name columns.

    Only folders below the opened path add columns. Their values are integers if none has leading zeros, otherwise
    texts.
    """
    pa = arrow()
    system, base = file_system(path, options) if is_address(path) else (None, path)
    folder = system.isdir(base) if system is not None else os.path.isdir(base)
    found = find_files(path, options)
    kept = [address for address in found if ENDINGS.get(address.format) == "parquet"] or found
    files = [file_system(address.path, options)[1] if system is not None else address.path for address in kept]
    values: dict[str, set[str]] = {}
    for file in files if folder else ():
        inside = os.path.relpath(file, base) if system is None else file[len(base) :]
        for part in inside.replace(os.sep, "/").split("/")[:-1]:
            name, equals, value = part.partition("=")
            if equals:
                values.setdefault(name, set()).add(urllib.parse.unquote(value))
    keys = [(name, pa.int64() if all(map(_is_whole, seen)) else pa.string()) for name, seen in values.items()]
    return system, (files, base), keys


def _is_whole(text: str) -> bool:
    """Return True if a text is an integer as Python writes it.

    >>> [_is_whole(text) for text in ("7", "-7", "07", "7.0")]
    [True, True, False, False]
    """
    return text.lstrip("-").isascii() and text.lstrip("-").isdigit() and str(int(text)) == text


def _opened(fragment: Any, system: Any, options: Mapping[str, Any]) -> ParquetFile:
    import pyarrow.dataset as pads

    path = fragment.path if system is None else system.unstrip_protocol(fragment.path)
    try:
        stamp = Address(path, options).stamp()
        counts = tuple(fragment.metadata.row_group(group.id).num_rows for group in fragment.row_groups)
        types = {field.name: field.type for field in fragment.physical_schema}
    except (arrow().ArrowException, OSError) as error:
        message = f"{path} cannot be read as Parquet: {sentence(error)} Write it again, or leave it out."
        raise DataFileError(message) from error
    partition = pads.get_partition_keys(fragment.partition_expression)
    return ParquetFile(path, options, partition, types, counts, stamp)


def _expression(filters: Any) -> Any:
    import pyarrow.dataset as pads
    import pyarrow.parquet as pq

    if filters is None or isinstance(filters, pads.Expression):
        return filters
    try:
        return pq.filters_to_expression(list(filters))
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"filters= must be a pyarrow Expression or a list of (column, operator, value). Got {filters!r}: {error}."
        ) from error


def common_type(one: Any, other: Any) -> Any:
    """Return the Arrow type to which both can be cast, or None: numbers with numbers, texts with texts.

    >>> import pyarrow as pa
    >>> common_type(pa.int32(), pa.float64()), common_type(pa.bool_(), pa.int8()), common_type(pa.int8(), pa.string())
    (DataType(double), DataType(int8), None)
    """
    pa = arrow()
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    kinds = {kind_of_type(one), kind_of_type(other)}
    if kinds == {"text"}:
        return pa.large_string()
    if kinds == {"number"}:
        for flag, number in ((one, other), (other, one)):
            if pa.types.is_boolean(flag):
                return number
        return _unified(one, other) or pa.float64()
    return None if "text" in kinds else _unified(one, other)


def _unified(one: Any, other: Any) -> Any:
    pa = arrow()
    try:
        schemas = [pa.schema([("", kind)]) for kind in (one, other)]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None
