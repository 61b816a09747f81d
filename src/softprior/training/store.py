"""Finished runs on disk: a folder named by the recipe's digest is a run that finished.

A run is written to a hidden folder of its own, flushed, and renamed at the end: whatever dies
on the way leaves nothing that looks finished. The SHA-256 of its files is checked before anything
in them is believed. Predictions are stored, not numbers: a diagnostic written tomorrow runs on
every run of today. Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from softprior.training import files, integrity
from softprior.training.files import write
from softprior.training.locks import hidden_folder, sweep, take_away
from softprior.training.recipe import FORMAT, OldFormatError, Recipe
from softprior.training.resolve import resolve
from softprior.training.run import FILES, TENSORS, DamagedError, Run, damage, open_run

_ASIDE = ".damaged-"  # in the name of a damaged run whose place a new one has taken


class Store:
    """A folder of runs.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Store(folder).get(Recipe()) is None
    True
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._right: set[str] = set()  # states of runs that are those of their names
        self._warned: set[tuple[str, str]] = set()

    def get(self, recipe: Recipe) -> Run | None:
        """The finished run of this recipe; None, with a warning, if damaged or unreadable."""
        recipe = self.resolved(recipe)
        try:
            return self.open(recipe)
        except DamagedError as error:
            self._warn(recipe.digest, f"is damaged and will be made again: {error.why}")
        except OSError as error:
            self._warn(recipe.digest, f"cannot be read: {error.filename}: {error.strerror}")
        return None

    def open(self, recipe: Recipe) -> Run | None:
        """The finished run of this recipe; None where there is none.

        Raises:
            DamagedError: its files are not those that were written, or are another recipe's.
            OSError: it is there and cannot be read.
        """
        recipe = self.resolved(recipe)
        path = self.root / recipe.digest
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        state = integrity.state(path, FILES).digest
        if damage(path) or state not in self._right:
            try:
                self._opened(path)
            except DamagedError:
                raise
            except ValueError as error:  # of whatever version: it has no business under this name
                raise DamagedError(path, str(error)) from error
            self._right.add(state)
        return Run(recipe, path)

    def check_readable(self, recipe: Recipe) -> None:
        """Raise OSError where its run is there and cannot be read: it must not be made again."""
        with contextlib.suppress(DamagedError):
            self.open(recipe)

    def runs(self) -> Iterator[Run]:
        """Every finished run of this version's format, in the order of their digests.

        What is damaged, unreadable, from a newer version or no run is left out with a warning
        each; runs of an earlier version with one for all.
        """
        old = 0
        for path in self._folders():
            try:
                yield self._opened(path)
            except OldFormatError:
                old += 1
            except DamagedError as error:
                self._warn(path.name, f"is damaged and left out: {error.why}")
            except OSError as error:
                why = f"{error.filename}: {error.strerror}"
                self._warn(path.name, f"cannot be read and is left out: {why}")
            except ValueError as error:
                self._warn(path.name, f"is left out: {error}")
        if old:
            warnings.warn(
                f"{self.root} holds {old} run{'s' * (old > 1)} of an earlier version than this "
                f"(format {FORMAT}): left alone, and trained anew where asked for",
                stacklevel=2,
            )

    def verify(self) -> tuple[int, dict[Path, str]]:
        """Read every byte of every run: how many are whole, and what is wrong with the others."""
        whole, wrong = 0, {}
        for path in self._folders():
            try:
                damage(path, every_byte=True)
                self._opened(path)
                whole += 1
            except OldFormatError:
                continue
            except OSError as error:
                wrong[path] = f"{error.filename}: {error.strerror}"
            except ValueError as error:
                wrong[path] = str(error)
        return whole, wrong

    def _opened(self, path: Path) -> Run:
        run = open_run(path)
        if run.recipe.digest != path.name:
            raise DamagedError(path, f"it is the run of recipe {run.recipe.digest}")
        return run

    def _folders(self) -> list[Path]:
        """All that may be finished runs."""
        try:
            with os.scandir(self.root) as entries:
                names = sorted(entry.name for entry in entries if entry.is_dir())
        except FileNotFoundError:
            return []
        return [self.root / name for name in names if name[0] != "." and _ASIDE not in name]

    def _warn(self, name: str, what: str) -> None:
        """Warn of a run once, however often it is asked for, until its files change."""
        path = self.root / name
        key = (what, integrity.state(path, FILES).digest)
        if key not in self._warned:
            self._warned.add(key)
            warnings.warn(f"run {path} {what}", stacklevel=3)

    def resolved(self, recipe: Recipe) -> Recipe:
        """The recipe with its data's fingerprint; the data is looked at only where it lacks one."""
        at: object = recipe
        while isinstance(at, Recipe):
            if at.data is None:
                return resolve(recipe, self.root)
            at = at.teacher
        return recipe

    def of_other_source(self, recipe: Recipe) -> Run | None:
        """A run that differs from the recipe in the source of what is somebody's own alone."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # listing the runs warns of damaged ones
            alike = (run for run in self.runs() if run.recipe.but_for_source(recipe))
            return next(alike, None)

    def put(
        self,
        recipe: Recipe,
        *,
        tensors: Mapping[str, Mapping[str, Tensor]],
        history: list[dict[str, float]],
        outcome: Mapping[str, Any],
        provenance: Mapping[str, Any],
    ) -> Run:
        """Write a run so that it is there whole or not at all.

        ``tensors`` maps a file name to the tensors in it. Where another process finished the
        same run first, that one stays.
        """
        with hidden_folder(self.root, recipe.digest) as folder:
            write(folder / "recipe.json", _json(recipe.to_dict()))
            write(folder / "history.jsonl", _lines(history))
            write(folder / "outcome.json", _json(outcome))
            write(folder / "provenance.json", _json({"digest": recipe.digest, **provenance}))
            for name in TENSORS:
                content = {key: t.detach().cpu().contiguous() for key, t in tensors[name].items()}
                files.write_tensors(folder / f"{name}.safetensors", content)
            integrity.seal(folder)
            path = self._place(folder, recipe.digest)
        take_away(self.partial(recipe))
        return Run(recipe, path)

    def _place(self, folder: Path, digest: str) -> Path:
        """Give a whole folder its name; a damaged run there is set aside, a whole one stays."""
        path = self.root / digest
        if os.path.lexists(path) and damage(path):
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                path.rename(path.with_name(f"{digest}{_ASIDE}{secrets.token_hex(4)}"))
        try:
            folder.rename(path)
        except OSError:
            if not path.is_dir():
                raise
        files.flush(self.root)
        return path

    def write_history(self, recipe: Recipe, history: list[dict[str, float]]) -> None:
        """Write the history of a run that is not finished, beside its checkpoints."""
        folder = self.partial(recipe)
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process has finished the run
            files.replace_text(folder / "history.jsonl", _lines(history))

    def adopt(self, path: Path) -> Run:
        """A finished run from anywhere, copied into this store if it is not there.

        Its own files are copied, nothing else that lies beside them, and never what a link in
        their place points to.
        """
        run = open_run(path)
        if (here := self.get(run.recipe)) is not None:
            return here
        try:
            with hidden_folder(self.root, run.recipe.digest) as folder:
                for name in (*FILES, integrity.LIST):
                    files.copy(path / name, folder / name)
                if why := integrity.damage(folder, FILES):
                    raise DamagedError(path, why)
                files.flush(folder)
                return Run(run.recipe, self._place(folder, run.recipe.digest))
        except files.NotAFileError as error:
            raise ValueError(
                f"{error.filename} is {error.strerror}: nothing that lies elsewhere is taken into "
                "a store; copy the run with what its links point to (cp -rL)"
            ) from error

    def partial(self, recipe: Recipe) -> Path:
        """Where the checkpoints of a run that is not finished lie."""
        recipe = self.resolved(recipe)
        return self.root / f".{recipe.digest}.checkpoints"

    def sweep(self) -> None:
        """Remove what processes that no longer live left half-written, or beside a finished run."""
        sweep(self.root)
        for partial in self.root.glob(".*.checkpoints"):
            finished = self.root / partial.stem.removeprefix(".")
            if finished.is_dir() and not damage(finished):
                take_away(partial)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def _lines(history: list[dict[str, float]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in history)
