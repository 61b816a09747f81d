"""Data sets of images: a name or a path becomes tensors, in three parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from softprior import checks
from softprior.training.images import hub
from softprior.training.images.decode import Job, decoded
from softprior.training.images.finding import NAMES, check, find
from softprior.training.images.fingerprinting import fingerprint
from softprior.training.images.moments import NORMALISATIONS, mean_and_std
from softprior.training.images.noise import Kind, noisy
from softprior.training.images.own import FOLDER, OwnData
from softprior.training.images.source import Source
from softprior.training.images.splits import generator, stratified
from softprior.training.images.subset import Subset, drawn, parse, take, without_copies

__all__ = [
    "NAMES",
    "NORMALISATIONS",
    "Dataset",
    "Images",
    "OwnData",
    "Subset",
    "check",
    "classes",
    "drawn",
    "fingerprint",
    "generator",
    "load",
    "notes",
    "parse",
    "shape",
    "stratified",
]


class Images(NamedTuple):
    """One part of a data set, decoded: in memory, or mapped from a temporary file."""

    pixels: Tensor  # uint8 (n, H, W, C), C = 1 or 3
    labels: Tensor  # int64 (n,), as trained on
    clean: Tensor  # int64 (n,), before label noise


class Dataset(NamedTuple):
    """Three parts that share no sample; the first two are drawn from the official training part.

    Label noise is in both of them, as held-out samples come from the same source; the test part
    is clean. That of a subset is the official one of its classes and then all images of them that
    the subset leaves out: ``official`` says how many come before these.
    """

    train: Images
    validation: Images
    test: Images
    classes: tuple[str, ...]
    mean: Tensor  # float32 (C,), of pixels in 0..255: inputs are (pixels - mean) / std
    std: Tensor
    description: str  # one line for the user: what was loaded
    official: int
    size: tuple[int, int]  # (height, width) of what a network sees of each image

    @property
    def told(self) -> str:
        """The same line."""
        return self.description


def described() -> dict[str, str]:
    """What each name stands for, in a line."""
    hubs = {name: f"{r.name} on the Hugging Face Hub" for name, r in hub.REPOSITORIES.items()}
    return {"digits": "scikit-learn's handwritten digits, 8 × 8, embedded", **hubs}


def classes(
    name_or_path: str | Path, subset: str | None = None, cache: Path | None = None
) -> tuple[str, ...]:
    """The classes of a data set: its labels are read, its images are not."""
    return _source(name_or_path, subset, cache).classes


def notes(path: str | Path) -> tuple[str, ...]:
    """What of a path is left out or made otherwise, a line each; none for a name."""
    return () if str(path) in NAMES else _source(path, None, None).notes


def class_counts(name_or_path: str | Path, subset: str | None = None) -> tuple[int, ...]:
    """Training images of each class, validation included; no image is read."""
    source = _source(name_or_path, subset, None)
    return tuple(source.train.labels.bincount(minlength=len(source.classes)).tolist())


def check_split(name_or_path: str | Path, subset: str | None, validation: float) -> None:
    """Raise ValueError where a subset, or validation, wants more than there is of a class."""
    source = _source(name_or_path, subset, None)
    _, kept = stratified(source.train.labels, validation, generator("validation"))
    _no_class_lost(source, kept)


def shape(
    data: str | Path | OwnData, resolution: int | None = None, cache: Path | None = None
) -> tuple[int, int, int]:
    """(channels, height, width) of the first training image; no other is decoded."""
    part = data.train.part if isinstance(data, OwnData) else _source(data, None, cache).train
    pixels, _, _ = decoded([Job(part, [0], [0])], resolution)
    height, width, channels = pixels.shape[1:]
    return channels, height, width


def smallest_class(name_or_path: str | Path, subset: str | None = None) -> int:
    """How many training images the smallest class has, validation included; no image is read."""
    return min(class_counts(name_or_path, subset))


def _source(name_or_path: str | Path, subset: str | None, cache: Path | None) -> Source:
    """What lies under a name or a path, or the part of it that a subset keeps."""
    check(name_or_path)
    source = find(str(name_or_path), cache)
    return source if subset is None else take(source, parse(subset))


def load(
    name_or_path: str | Path,
    *,
    seed: int,
    validation: float,
    split_seed: int | None = None,
    resolution: int | None = None,
    view_size: int | None = None,
    normalisation: str = "training",
    subset: str | None = None,
    label_noise: float = 0.0,
    noise_kind: Kind = "symmetric",
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Load a data set by name, or from Parquet files or an image folder.

    Decoded images that would take more than half of the memory available go to a temporary file
    instead, of which the system reads what a batch asks for; ``description`` says where they are.

    Args:
        name_or_path: one of :data:`NAMES`, or a path; ``./digits`` is a path.
        seed: of the validation part and of label noise, and of nothing else.
        validation: fraction of the training part held out, stratified by the true labels.
        split_seed: of the validation part, instead of ``seed``.
        resolution: resize the centre square of every image to this many pixels.
        view_size: pixels a side of what a network sees of an image; all of it if None.
        normalisation: "training", the mean and standard deviation of the training images, or
            constants by name: see :data:`.moments.CONSTANTS`.
        subset: such as ``classes=20,per_class=200,seed=0``: see :mod:`.subset`.
        label_noise: share of wrong labels in training and validation.
        noise_kind: "symmetric" or "pair".
        cache: folder for downloads; by default the Hub's own.
        progress: called with (images decoded, images in all).
    """
    checks.number("validation", validation, 0, 0.9, open_low=True)
    if resolution is not None and (type(resolution) is not int or resolution < 1):
        raise ValueError(f"resolution must be an integer ≥ 1, got {resolution!r}")
    source, copies = _source(name_or_path, subset, cache), 0
    if subset is not None:
        source, copies = without_copies(source)
    train, test = source.train, source.test
    official = len(test.labels) if source.official is None else source.official
    classes = len(source.classes)
    # Over the whole training part: a sample's label does not depend on who holds it.
    labels = noisy(train.labels, classes, label_noise, noise_kind, generator("noise", seed))
    split = generator("validation", seed if split_seed is None else split_seed)
    held, kept = stratified(train.labels, validation, split)
    _no_class_lost(source, kept)

    place = torch.empty(len(train.labels), dtype=torch.int64)
    place[torch.cat([kept, held])] = torch.arange(len(place))
    jobs = [
        Job(train, list(range(len(place))), place.tolist()),
        Job(
            test, list(range(len(test.labels))), [*range(len(place), len(place) + len(test.labels))]
        ),
    ]
    pixels, where, converted = decoded(jobs, resolution, progress)
    parts = torch.split(pixels, [len(kept), len(held), len(test.labels)])
    size = _view_size(view_size, parts[0])
    mean, std = mean_and_std(parts[0], normalisation)
    said = [*source.notes, converted]
    if official < len(test.labels):
        said.append(
            f"tested on {official:,} official test images and {len(test.labels) - official:,} that "
            "the subset leaves out"
        )
    if copies:
        said.append(f"{copies:,} test images are training images, byte for byte: they are left out")
    if label_noise:
        said.append(f"{noise_kind} noise on {label_noise:.4g} of training and validation labels")
    return Dataset(
        Images(parts[0], labels[kept], train.labels[kept]),
        Images(parts[1], labels[held], train.labels[held]),
        Images(parts[2], test.labels, test.labels),
        source.classes,
        mean,
        std,
        _describe(name_or_path, source, parts, where, said),
        official,
        size,
    )


def _view_size(asked: int | None, pixels: Tensor) -> tuple[int, int]:
    height, width = pixels.shape[1:3]
    if asked is None:
        return height, width
    if height != width:
        raise ValueError(
            f"view_size {asked} is a square, and the images have {height} × {width} pixels "
            f"(height × width): give a resolution, too, such as {min(height, width)}, which takes "
            "the centre square of each"
        )
    return asked, asked


def _no_class_lost(source: Source, kept: Tensor) -> None:
    counts = source.train.labels.bincount(minlength=len(source.classes))
    left = source.train.labels[kept].bincount(minlength=len(source.classes))
    lost = ((counts > 0) & (left == 0)).nonzero()
    if len(lost):
        c = int(lost[0])
        raise ValueError(
            f"{source.place}: class {c} ({source.classes[c]}) has {int(counts[c])} training "
            "images and validation takes them all; add images, or lower validation"
        )


def _describe(
    name: str | Path, source: Source, parts: tuple[Tensor, ...], where: str, notes: list[str]
) -> str:
    train, validation, test = (f"{len(part):,}" for part in parts)
    height, width, channels = parts[0].shape[1:]
    path = Path(name)
    shown = f"own data {path.name[:8]}" if path.parent.name == FOLDER else path.name or str(name)
    what = (
        f"{shown}: {train} training, {validation} validation and {test} test images of "
        f"{len(source.classes)} classes, {height} × {width} × {channels}, {where}, from "
        f"{source.place}"
    )
    return "; ".join([what, *filter(None, notes)])
