"""Hugging Face ``datasets`` in memory: the real library where it is installed, else a stand-in."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


class Image:
    """Features, by as much of them as is asked for."""

    storage = IMAGE


class ClassLabel:
    storage = pa.int64()

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)


class Value:
    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.storage = getattr(pa, dtype)()


class Dataset:
    """A table; with the format "arrow", rows of it are tables of what is stored."""

    def __init__(self, table: Any, features: Mapping[str, Any]) -> None:
        self.table = table
        self.features = features

    @classmethod
    def from_dict(cls, columns: Mapping[str, Any], features: Mapping[str, Any]) -> Dataset:
        arrays = {name: pa.array(columns[name], kind.storage) for name, kind in features.items()}
        return cls(pa.table(arrays), features)

    def with_format(self, kind: str, columns: list[str]) -> Dataset:
        assert kind == "arrow"
        return Dataset(self.table.select(columns), self.features)

    def select_columns(self, names: list[str]) -> Dataset:
        return Dataset(self.table.select(names), {name: self.features[name] for name in names})

    def to_iterable_dataset(self) -> IterableDataset:
        return IterableDataset()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, rows: slice | list[int]) -> Any:
        return self.table[rows] if isinstance(rows, slice) else self.table.take(rows)


class IterableDataset:
    pass


class DatasetDict(dict[str, Dataset]):
    pass


class IterableDatasetDict(dict[str, IterableDataset]):
    pass


def library(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module ``datasets``."""
    if importlib.util.find_spec("datasets") is not None:
        return importlib.import_module("datasets")
    module: Any = ModuleType("datasets")
    for kind in (Image, ClassLabel, Value, Dataset, IterableDataset, DatasetDict):
        setattr(module, kind.__name__, kind)
    module.IterableDatasetDict = IterableDatasetDict
    module.Features = dict
    monkeypatch.setitem(sys.modules, "datasets", module)
    return module
