"""Checkpoints: what a killed run needs in order to go on to the very same bits.

A checkpoint is a folder ``<epoch>-<step>`` with ``tensors.safetensors`` and ``state.json``; the
JSON holds the recipe's digest and the SHA-256 of the tensors. It is written to a hidden folder,
flushed, and renamed; the last two are kept. Nothing is pickled.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from softprior.training.files import flush, read_json, sha256, write, write_tensors

FORMAT = 1
KEPT = 2


def save(
    folder: Path, digest: str, tensors: Mapping[str, Any], state: Mapping[str, Any], step: int
) -> None:
    """Write a checkpoint: there whole or not at all; the oldest beyond the last two go.

    ``tensors`` may be nested by name; its leaves are tensors, or None.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{state['epoch']:05d}-{step:07d}"
    if target.exists():
        return
    hidden = Path(tempfile.mkdtemp(prefix=".", dir=folder))
    try:
        file = hidden / "tensors.safetensors"
        write_tensors(file, _flat(tensors))
        content = {
            "format": FORMAT,
            "recipe": digest,
            "sha256": sha256(file),
            "step": step,
            "state": dict(state),
        }
        write(hidden / "state.json", json.dumps(content))
        flush(hidden)
        hidden.rename(target)
        flush(folder)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    for old in _newest_first(folder)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


class RefusedError(ValueError):
    """A checkpoint that must not be used, and that nothing older can stand in for."""


def load(folder: Path, digest: str) -> tuple[dict[str, Any], dict[str, Any], int] | None:
    """The newest whole checkpoint as (tensors, state, step); None where there is none.

    A truncated or altered one is passed over, with a warning, for the one before it: both lead
    to the same bits. One of another recipe or from a newer version is refused.
    """
    for path in _newest_first(folder):
        try:
            content = read_json(path / "state.json")
            written, recipe, stated = content["format"], content["recipe"], content["sha256"]
            found = None if written > FORMAT else sha256(path / "tensors.safetensors")
        except (OSError, ValueError, KeyError, TypeError) as error:
            warnings.warn(f"checkpoint {path} is passed over: {error!r}", stacklevel=2)
            continue
        if written > FORMAT:
            raise RefusedError(
                f"{path} was written by a newer softprior (format {written}, this one reads up to "
                f"{FORMAT}): upgrade, or delete the folder to start again"
            )
        if recipe != digest:
            raise RefusedError(
                f"{path} belongs to recipe {recipe}, not to {digest}: delete the folder to start "
                "again"
            )
        if found != stated:
            warnings.warn(
                f"checkpoint {path} is passed over: its hash is not its own", stacklevel=2
            )
            continue
        tensors = safetensors.torch.load_file(path / "tensors.safetensors")
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
    found = [p for p in folder.glob("*") if re.fullmatch(r"\d{5,}-\d{7,}", p.name)]
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
