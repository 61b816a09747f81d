"""A data set that somebody has in memory, as a data set on disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from softprior.training import files
from softprior.training.images import own_kinds, parquet, parquet_writer
from softprior.training.images.fingerprinting import Digest, of_source, versions
from softprior.training.images.own_part import OwnPart
from softprior.training.images.source import Part, numbered, source

FOLDER = ".data"  # in a store: what was written of data sets from memory


@dataclass(frozen=True, eq=False, repr=False)
class OwnData:
    """Images and labels in memory; two are equal if their fingerprints are."""

    name: str
    train: OwnPart
    test: OwnPart | None  # without it, a fifth of the training part becomes the test part
    classes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        data: Any,
        test: Any = None,
        *,
        classes: Sequence[str] | None = None,
        name: str = "own data",
    ) -> OwnData:
        """Take a data set as it is; images are uint8, labels are integers (best from 0 on).

        * ``(images, labels)``: NumPy arrays (n, H, W) or (n, H, W, C), or torch tensors (n, H, W)
          or (n, C, H, W), with C 1 or 3;
        * a torch ``Dataset`` of (image, label), the image from PIL or as above without n: every
          item is read once now, and again when the data set is written;
        * a ``Dataset`` of Hugging Face, whose encoded images are kept, or a ``DatasetDict``;
        * ``{"train": ..., "test": ...}`` of these.

        Args:
            data: the training part, or both.
            test: the test part; without one a stratified fifth, the same for every seed, is it.
            classes: names of the classes; by default those of a ClassLabel, or the numbers.
            name: what messages call it.

        Raises:
            TypeError, ValueError: what is wrong, where, and what to write instead.
        """
        given, held = own_kinds.parts(data, test)
        train = own_kinds.read(given, f"{name}, train")
        tested = None if held is None else own_kinds.read(held, f"{name}, test")
        names = _names(train, tested, classes, name)
        source(train.part, tested and tested.part, names, name, [])  # checks them
        if names is None:
            notes: list[str] = []
            first, second, names = numbered(train.part, tested and tested.part, notes)
            train = train._replace(part=first)
            tested = tested and second and tested._replace(part=second)
            for note in notes:
                warnings.warn(f"{name}: {note}", stacklevel=2)
        return cls(name, train, tested, names)

    @cached_property
    def fingerprint(self) -> str:
        """What :func:`.fingerprint` says of the folder that :meth:`write` makes."""
        test = None if self.test is None else _hashed(self.test)
        found = source(_hashed(self.train), test, self.classes, self.name, [])
        return of_source(found, versions(parquet))

    def write(self, root: Path) -> Path:
        """The folder ``root/<fingerprint>`` of Parquet files; written unless it is there.

        It is written beside its place and renamed, so that it is whole whenever it is there,
        however many processes write it.

        Raises:
            ValueError: the images are not those that the fingerprint is of.
        """
        folder = root / self.fingerprint
        if folder.is_dir():
            return folder
        partial = root / f".{self.fingerprint}.{uuid.uuid4().hex}.partial"
        partial.mkdir(parents=True)
        try:
            for name, part in (("train", self.train), ("test", self.test)):
                if part is not None:
                    parquet_writer.write(partial / f"{name}.parquet", part.part, self.classes)
            if of_source(parquet.read(partial), versions(parquet)) != self.fingerprint:
                raise ValueError(
                    f"{self.name}: the images changed since they were first read; take random "
                    "transforms out of the Dataset (the recipe augments), and leave arrays as "
                    "they are, or pass a copy"
                )
            _flush(partial)
            try:
                os.rename(partial, folder)
            except OSError:
                if not folder.is_dir():  # else another process was faster: the content is equal
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        _flush(root)
        return folder

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, OwnData):
            return NotImplemented
        return self is other or self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        test = "no" if self.test is None else f"{len(self.test.part.labels):,}"
        return (
            f"OwnData({self.name!r}: {len(self.train.part.labels):,} training and {test} test "
            f"images of {len(self.classes)} classes)"
        )


def _names(
    train: OwnPart, test: OwnPart | None, classes: Sequence[str] | None, name: str
) -> tuple[str, ...] | None:
    """Those given, or those that came with the parts."""
    if classes is not None:
        names = tuple(classes)
        if isinstance(classes, str) or not all(isinstance(item, str) for item in names):
            raise TypeError(f"classes must be names, such as ['cat', 'dog'], got {classes!r}")
        if len(set(names)) < len(names):
            raise ValueError(f"classes has a name twice: {', '.join(names)}; give each its own")
        return names
    if test is not None and test.classes != train.classes:
        raise ValueError(
            f"{name}: the parts do not agree on the names of the classes; pass classes=[...] if "
            "the labels mean the same in both"
        )
    return train.classes


def _hashed(own: OwnPart) -> Part:
    """The part with digests in place of images, where they are known."""
    digests = own.digests
    if digests is None:
        return own.part
    return own.part._replace(read=lambda rows: (Digest(digests[row]) for row in rows))


def _flush(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some systems open no folders
        files.flush(folder)
