"""Checkpoints: what a killed run needs in order to go on to the very same bits.

A checkpoint is a folder ``<epoch>-<step>`` with ``tensors.safetensors``, ``state.json`` and the
SHA-256 of both. It is written to a hidden folder, flushed, and renamed; the last two are kept.
Nothing is pickled.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from softprior.training import files, integrity
from softprior.training.locks import take_away

FORMAT = 2
FILES = ("state.json", "tensors.safetensors")
KEPT = 2


def save(
    folder: Path, digest: str, tensors: Mapping[str, Any], state: Mapping[str, Any], step: int
) -> None:
    """Write a checkpoint: there whole or not at all; the oldest beyond the last two go.

    ``tensors`` may be nested by name; its leaves are tensors, or None. Another process may be
    training the same run: whoever is first stays, as both write the same bits, and where the other
    has finished the run and removed its checkpoints, none is written.
    """
    target = folder / f"{state['epoch']:05d}-{step:07d}"
    if target.exists():
        if not integrity.damage(target, FILES):
            return
        take_away(target)
    hidden = folder / f".{secrets.token_hex(4)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        hidden.mkdir()
        files.write_tensors(hidden / "tensors.safetensors", _flat(tensors))
        content = {"format": FORMAT, "recipe": digest, "step": step, "state": dict(state)}
        files.write(hidden / "state.json", json.dumps(content))
        integrity.seal(hidden)
        hidden.rename(target)
        files.flush(folder)
    except (OSError, safetensors.SafetensorError):
        if hidden.exists() and not target.exists():
            raise
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    for old in _newest_first(folder)[KEPT:]:
        take_away(old)


class RefusedError(ValueError):
    """A checkpoint that must not be used, and that nothing older can stand in for."""


def load(folder: Path, digest: str) -> tuple[dict[str, Any], dict[str, Any], int] | None:
    """The newest whole checkpoint as (tensors, state, step); None where there is none.

    One of which a single bit has changed is passed over, with a warning, for the one before it, or
    a fresh start: all lead to the same bits. One of another recipe or from a newer version is
    refused. One that another process takes away while it is read has made room for a newer one.

    Raises:
        OSError: one is there and cannot be read.
    """
    while True:
        with contextlib.suppress(_TakenAwayError):
            return _newest_whole(folder, digest)


class _TakenAwayError(Exception):
    """A checkpoint is gone that was there a moment ago."""


def _newest_whole(folder: Path, digest: str) -> tuple[dict[str, Any], dict[str, Any], int] | None:
    for path in _newest_first(folder):
        try:
            if why := integrity.damage(path, FILES):
                if not path.exists():
                    raise _TakenAwayError
                warnings.warn(f"checkpoint {path} is passed over: {why}", stacklevel=3)
                continue
            content = files.read_json(path / "state.json")
            written, recipe = content["format"], content["recipe"]
            if written > FORMAT:
                raise RefusedError(
                    f"{path} was written by a newer softprior (format {written}, this one reads up "
                    f"to {FORMAT}): upgrade, or delete the folder to start again"
                )
            if recipe != digest:
                raise RefusedError(
                    f"{path} belongs to recipe {recipe}, not to {digest}: delete the folder to "
                    "start again"
                )
            tensors = safetensors.torch.load_file(path / "tensors.safetensors")
        except (OSError, safetensors.SafetensorError) as error:
            if not path.exists():
                raise _TakenAwayError from error
            raise
        return _nested(tensors), content["state"], int(content["step"])
    return None


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    """The optimizer's state by parameter number; hyper-parameters come from the recipe."""
    state = optimizer.state_dict()["state"]
    return {
        str(number): {k: v for k, v in entries.items() if isinstance(v, Tensor)}
        for number, entries in state.items()
    }


def load_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """The inverse of :func:`optimizer_tensors`."""
    full = optimizer.state_dict()
    full["state"] = {int(number): dict(entries) for number, entries in tensors.items()}
    optimizer.load_state_dict(full)


def _newest_first(folder: Path) -> list[Path]:
    try:
        found = [p for p in folder.iterdir() if re.fullmatch(r"\d{5,}-\d{7,}", p.name)]
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda p: tuple(map(int, p.name.split("-"))), reverse=True)


def _flat(tensors: Mapping[str, Any], prefix: str = "") -> dict[str, Tensor]:
    flat: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}/")
        elif value is not None:
            # A copy: safetensors refuses tensors that share memory.
            flat[prefix + name] = value.detach().to("cpu", copy=True).contiguous()
    return flat


def _nested(flat: Mapping[str, Tensor]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, name = path.split("/")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = value
    return nested
