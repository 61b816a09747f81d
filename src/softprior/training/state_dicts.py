"""State dicts in files from elsewhere: read, and a network found in them, however wrapped."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

# Parts of names that torch.compile, FSDP and activation checkpointing leave, anywhere in them.
_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# What lies beside a network in checkpoints: some part of its names is one of these.
_BESIDE = re.compile(
    r"optim.*|.*scheduler.*|.*scaler.*|rng.*|callbacks|loops|criterion|loss(_.*)?|metrics?(_.*)?"
    r"|n_averaged|_extra_state"
)
# Another network of the same kind: it is not the one that is meant where there are two.
_AVERAGED = re.compile(r"(.*_)?(ema|teacher|averaged?|shadow|swa)(_.*)?")
_DEEPEST = 8  # of dictionaries in dictionaries
_SHOWN = 3


def read(path: Path) -> dict[str, Tensor]:
    """Every tensor in a file by its name; of a dictionary in a dictionary ``outer.inner``.

    Raises:
        ValueError: there is none, or it holds more than tensors and plain values.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of files of its earlier versions
            if path.suffix.lower() == ".safetensors":
                content: Any = safetensors.torch.load_file(path)
            else:
                content = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # whatever the parsers of a stranger's file stumble over
        why = _reason(str(error), zipfile.is_zipfile(path))
        raise ValueError(f"teacher {path} cannot be read as weights: {why}") from error
    found: dict[str, Tensor] = {}
    waiting: list[tuple[tuple[str, ...], Mapping[Any, Any]]] = []
    if isinstance(content, Mapping):
        waiting.append(((), content))
    while waiting:
        outer, mapping = waiting.pop(0)
        for key, value in mapping.items():
            names = (*outer, str(key))
            if isinstance(value, Tensor):
                found[".".join(names)] = value
            elif isinstance(value, Mapping) and len(names) < _DEEPEST:
                waiting.append((names, value))
    if not found:
        raise ValueError(f"teacher {path} holds no state_dict: wanted tensors by name")
    return found


def _reason(text: str, is_archive: bool) -> str:
    """In our words: torch's are a page, and advise to run what is in the file."""
    if "TorchScript" in text:
        return (
            "it is a TorchScript program, which is not run; save its weights alone, with "
            "torch.save(torch.jit.load(FILE).state_dict(), OTHER)"
        )
    named = re.search(r"GLOBAL ([\w.]+)", text)
    if named or is_archive:
        return (
            f"it holds Python objects{f' ({named[1]})' if named else ''}, such as a whole network, "
            "and loading these may run anything; save the tensors alone, with "
            "torch.save(model.state_dict(), FILE)"
        )
    return (
        "it is not a whole file as torch.save or safetensors writes it; wanted what "
        "torch.save(model.state_dict(), FILE) writes"
    )


def network_in(
    path: Path, tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], network: str
) -> dict[str, Tensor]:
    """The tensors of a network, by its own names, out of all that are in a file.

    Wrappers put names before its names, in any order: each place at which all of them are is
    tried. An average or a teacher of the same kind beside it is not it. A warning says what is left
    out.

    Raises:
        ValueError: it is not there, with names of both sides; or there are several.
    """
    tensors = _unwrapped(tensors)
    needed = [name for name in wanted if not name.endswith("num_batches_tracked")]
    places = _places(tensors, needed)
    whole = [place for place, n in places.items() if n == len(needed)]
    for others in (_AVERAGED, _BESIDE):
        whole = [place for place in whole if not _any_part(others, place)] or whole
    if not whole:
        best = max(places, key=lambda place: places[place], default="")
        raise ValueError(_misfit(path, tensors, needed, wanted, network, best))
    place = whole[0]
    for other_place in whole[1:]:
        if not all(_equal(tensors[place + n], tensors[other_place + n]) for n in needed):
            raise ValueError(
                f"{path} holds network {network!r} more than once, as {_listed(whole)}: save the "
                "one that is meant, alone"
            )
    inside = {n.removeprefix(place): t for n, t in tensors.items() if n.startswith(place)}
    more = [name for name in inside if name not in wanted]
    if unknown := [name for name in more if not _is_beside(name)]:
        raise ValueError(f"{path} has {_listed(unknown)}, which network {network!r} has not")
    left = [n for n in tensors if not n.startswith(place)] + [place + name for name in more]
    if left := [name for name in left if not _any_part(_BESIDE, name)]:
        warnings.warn(
            f"teacher {path}: of all that is in it network {network!r} is taken"
            f"{f' from {place[:-1]!r}' if place else ''}; left out: {_listed(left)}",
            stacklevel=3,
        )
    return {name: tensor for name, tensor in inside.items() if name in wanted}


def _any_part(pattern: re.Pattern[str], name: str) -> bool:
    return any(map(pattern.fullmatch, name.split(".")))


def _is_beside(name: str) -> bool:
    """Whether it is no part of the network that it lies in, by the first part of its name."""
    first = name.split(".")[0]
    return _any_part(_BESIDE, first) or _any_part(_AVERAGED, first)


def _equal(one: Tensor, other: Tensor) -> bool:
    alike = (one.shape, one.dtype, one.layout) == (other.shape, other.dtype, other.layout)
    return alike and one.layout == torch.strided and torch.equal(one, other)


def _unwrapped(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    names = {n: ".".join(part for part in n.split(".") if part not in _WRAPPERS) for n in tensors}
    if len(set(names.values())) < len(names):  # wrapped and not, side by side
        return tensors
    return {names[name]: tensor for name, tensor in tensors.items()}


def _places(tensors: Iterable[str], needed: Sequence[str]) -> dict[str, int]:
    """How many of the needed names are there, by what stands before them."""
    places: dict[str, int] = {}
    known = set(needed)
    for name in tensors:
        parts = name.split(".")
        for k in range(len(parts)):
            if ".".join(parts[k:]) in known:
                place = "".join(f"{part}." for part in parts[:k])
                places[place] = places.get(place, 0) + 1
    return places


def _misfit(
    path: Path,
    tensors: Mapping[str, Tensor],
    needed: Sequence[str],
    wanted: Mapping[str, Tensor],
    network: str,
    place: str,
) -> str:
    """Names of both sides, at the place where most of them are."""
    inside = [n.removeprefix(place) for n in tensors if n.startswith(place)]
    missing = [name for name in needed if name not in inside]
    more = [name for name in inside if name not in wanted and not _is_beside(name)]
    text = f"{path} has no {_listed(missing)}, which network {network!r} needs"
    if more:
        text += f"; it has {_listed(more)}, which network {network!r} has not"
    return f"{text}: name the network that the weights are of (--teacher_model)"


def _listed(names: Sequence[str]) -> str:
    """A few of them, in ASCII: a stranger chose them."""
    shown = ", ".join(ascii(name[:60]) for name in names[:_SHOWN])
    return shown + f" and {len(names) - _SHOWN} more" * (len(names) > _SHOWN)
