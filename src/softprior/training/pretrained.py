"""A teacher that was trained elsewhere: a file of weights for one of our networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from softprior.training import files, models

_WRAPPERS = ("module.", "_orig_mod.", "model.")  # of DataParallel, torch.compile, Lightning
_NESTS = ("state_dict", "model_state_dict", "model", "net")


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A frozen teacher from a ``state_dict``: whose it is, and which bytes.

    It sees the student's batches, normalised as the student sees them.

    Attributes:
        file: ``.safetensors``, or ``.pt``, ``.pth``, ``.bin`` as ``torch.save`` writes them
            (read with ``weights_only=True``: nothing in it is executed).
        model: the network's name; ``softprior list`` shows them.
        sha256: of the file, so that other bytes are another recipe.
    """

    file: str
    model: str
    sha256: str

    def __post_init__(self) -> None:
        models.check(self.model)

    @classmethod
    def of(cls, file: str | Path, model: str) -> Pretrained:
        """The file as it is now."""
        return cls(file=str(file), model=model, sha256=_hash(Path(file)))

    def network(self, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """The network with these weights, on the CPU.

        Raises:
            ValueError: the file has changed, cannot be read, or its weights are another network's.
        """
        path = Path(self.file)
        if (now := _hash(path)) != self.sha256:
            raise ValueError(
                f"{path} has changed: its SHA-256 is {now[:16]}…, the recipe says "
                f"{self.sha256[:16]}…"
            )
        model = models.build(self.model, shape, num_classes, seed=0)
        wanted = model.state_dict()
        weights = _bare(_read(path), wanted)
        for name in sorted(wanted.keys() | weights.keys()):
            if name not in weights:
                raise ValueError(f"{path} has no {name!r}, which network {self.model!r} needs")
            if name not in wanted:
                raise ValueError(f"{path} has {name!r}, which network {self.model!r} has not")
            if weights[name].shape != wanted[name].shape:
                raise ValueError(
                    f"{path}: {name!r} has shape {tuple(weights[name].shape)}, network "
                    f"{self.model!r} for {num_classes} classes wants {tuple(wanted[name].shape)}"
                )
        model.load_state_dict(weights)
        return model


def _hash(path: Path) -> str:
    try:
        return files.sha256(path)
    except OSError as error:
        raise ValueError(f"teacher {path} cannot be read: {error.strerror}") from error


def _read(path: Path) -> dict[str, Tensor]:
    """The state_dict in a file, or inside a training script's checkpoint."""
    try:
        if path.suffix == ".safetensors":
            content: Any = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the parsers of a stranger's file stumble over
        said = (str(error).splitlines() or [""])[0]
        raise ValueError(f"teacher {path} cannot be read as weights: {said}") from error
    for nest in _NESTS:
        if isinstance(content, Mapping) and isinstance(content.get(nest), Mapping):
            content = content[nest]
    if not isinstance(content, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise ValueError(f"teacher {path} holds no state_dict: wanted tensors by name")
    return dict(content)


def _bare(weights: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefixes that wrappers leave on every name."""
    for prefix in _WRAPPERS:
        if all(name.startswith(prefix) for name in weights) and not weights.keys() & wanted.keys():
            weights = {name[len(prefix) :]: value for name, value in weights.items()}
    return weights
