"""A teacher that was trained elsewhere: a file of weights for one of our networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from softprior.training import files, models, state_dicts


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A frozen teacher from a ``state_dict``: whose it is, and which bytes.

    It sees the student's batches, normalised as the student sees them.

    Attributes:
        file: ``.safetensors``, or as ``torch.save`` writes it (read with ``weights_only=True``:
            nothing in it is executed); also a checkpoint that has the network in it.
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
        weights = state_dicts.network_in(path, state_dicts.read(path), wanted, self.model)
        _check_shapes(path, weights, wanted, self.model, num_classes)
        _check_values(path, weights, wanted)
        model.load_state_dict({**wanted, **weights})
        return model


def _check_shapes(
    path: Path,
    weights: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    network: str,
    num_classes: int,
) -> None:
    wrong = [name for name in weights if weights[name].shape != wanted[name].shape]
    if not wrong:
        return
    name = wrong[0]
    found, fits = tuple(weights[name].shape), tuple(wanted[name].shape)
    text = f"{name!r} has shape {found}, network {network!r} for {num_classes} classes wants {fits}"
    if len(wrong) > 1:
        text += f"; {len(wrong) - 1} more differ"
    sizes = {tuple(weights[n].shape[:1]) for n in wrong}
    if len(sizes) == 1 and all(
        wanted[n].shape[:1] == (num_classes,) and weights[n].shape[1:] == wanted[n].shape[1:]
        for n in wrong
    ):
        classes = found[0]
        raise ValueError(
            f"{path} was trained for {classes} classes, and the data has {num_classes}: {text}"
        )
    raise ValueError(f"{path}: {text}")


def _check_values(path: Path, weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    for name, values in weights.items():
        if values.layout != torch.strided or values.is_quantized or values.is_meta:
            raise ValueError(f"{path}: {name!r} is not stored as plain numbers, one for each place")
        if values.is_floating_point() != wanted[name].is_floating_point() or values.is_complex():
            raise ValueError(
                f"{path}: {name!r} holds {values.dtype} numbers, wanted {wanted[name].dtype}"
            )
        if values.is_floating_point() and not values.float().isfinite().all():
            raise ValueError(f"{path}: {name!r} is not finite: the network that it is of diverged")


def _hash(path: Path) -> str:
    try:
        return files.sha256(path)
    except OSError as error:
        raise ValueError(f"teacher {path} cannot be read: {error.strerror}") from error
