"""Public data sets on the Hugging Face Hub, each at a pinned revision."""

from __future__ import annotations

import importlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from softprior.training.images import arrow
from softprior.training.images.source import Part, Source, source

# Raised whenever equal data give other pixels or another order: the fingerprint then changes, too.
# Of a path the images that a rule concerns are known, and theirs alone are others; these are not
# fetched for their fingerprint. 2: they are turned as their EXIF says.
VERSION = 2


class Repository(NamedTuple):
    """Where a data set lives and what its columns are called; ``test`` is its labelled test part.

    A revision is the full hash of a commit: what is there cannot change any more.
    """

    name: str
    revision: str
    image: str
    label: str
    test: str


REPOSITORIES = {
    "cifar10": Repository(
        "uoft-cs/cifar10", "0b2714987fa478483af9968de7c934580d0bb9a2", "img", "label", "test"
    ),
    "cifar100": Repository(
        "uoft-cs/cifar100", "aadb3af77e9048adbea6b47c21a81e47dd092ae5", "img", "fine_label", "test"
    ),
    "cub200": Repository(
        "bentrevett/caltech-ucsd-birds-200-2011",
        "1ef09e021b0b65b40337f6f285909656f407f6e0",
        *("image", "label", "test"),
    ),
    "tiny-imagenet": Repository(
        "zh-plus/tiny-imagenet",
        "5a77092c28e51558c5586e9c5eb71a7e17a5e43f",
        *("image", "label", "valid"),
    ),
}


def read(name: str, cache: Path | None) -> Source:
    """A data set by name: downloaded once, then from the cache.

    One attempt: where the Hub is out of reach the cache alone is asked.

    Raises:
        ConnectionError: it could not be fetched, with what to do.
    """
    repository = REPOSITORIES[name]
    try:
        datasets: Any = importlib.import_module("datasets")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"data set {name!r} is fetched with Hugging Face datasets: "
            "pip install 'softprior[hub]', or pass the path of a copy"
        ) from error
    # Without a network the Hub's client would try for half a minute.
    offline = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = offline or not reachable()
    try:
        parts = datasets.load_dataset(
            repository.name,
            revision=repository.revision,
            cache_dir=None if cache is None else str(cache),
        )
    except Exception as error:  # several clients below, each with its own kinds
        raise ConnectionError(_message(name, cache, error)) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = offline
    train, test = (_part(parts[split], split, repository) for split in ("train", repository.test))
    classes = parts["train"].features[repository.label].names
    place = f"{repository.name} at {repository.revision[:7]}"
    return source(train, test, tuple(classes), place, [])


def reachable() -> bool:
    """Whether the Hub, or the mirror in HF_ENDPOINT, answers at all."""
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=10):
            return True
    except urllib.error.HTTPError:  # an answer too
        return True
    except (OSError, ValueError):
        return False


def _message(name: str, cache: Path | None, error: Exception) -> str:
    repository = REPOSITORIES[name]
    place = cache or Path(os.environ.get("HF_HOME", "~/.cache/huggingface"))
    said = (str(error).splitlines() or [type(error).__name__])[0]
    return (
        f"data set {name!r} could not be fetched ({said}): where there is a network run 'hf "
        f"download {repository.name} --repo-type dataset --revision {repository.revision} "
        f"--local-dir {name}-files', and pass that folder as --dataset PATH; the cache is "
        f"{place}, and HF_HUB_OFFLINE=1 uses it alone"
    )


def _part(split: Any, name: str, repository: Repository) -> Part:
    def where(row: int) -> str:
        return f"{repository.name}, {name}, row {row}"

    images, labels = (
        split.with_format("arrow", columns=[column])
        for column in (repository.image, repository.label)
    )

    def contents(rows: list[int]) -> Iterator[bytes]:
        for start in range(0, len(rows), 256):
            here = rows[start : start + 256]
            column = images[here].column(repository.image).combine_chunks()
            yield from arrow.images(column, here, where)

    return Part(arrow.labels(labels[:].column(repository.label), where), contents, where)
