"""Which data a name or a path stands for, by content: equal data, equal fingerprint."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from softprior.training.images import decode, digits, fingerprint_cache, hub, picture
from softprior.training.images.encoding import chunks, encoded
from softprior.training.images.finding import check, reader
from softprior.training.images.source import Part, Source

CHUNK = 256  # images hashed between two reports of progress

# Most of the time a small file takes is Python's, whose lock more threads only hand to and fro.
THREADS = min(4, os.cpu_count() or 1)

Progress = Callable[[int, int], None]


class Digest(NamedTuple):
    """What a part may give in place of an image whose SHA-256 is known."""

    sha256: bytes


def fingerprint(
    name_or_path: str | Path, *, cache: Path | None = None, progress: Progress | None = None
) -> str:
    """Which data it is: the same for ``set``, ``./set``, a link to it and a copy of it.

    * "digits" for the embedded digits, and "name@revision" for a data set of the Hub, which is
      not fetched;
    * 32 hexadecimal digits for a path: of the labels, the encoded images and the names of the
      classes, in their order, of the training and of the test part.

    The fingerprint of a path is remembered in the user's cache folder: as long as no file below
    the path changes, no image is opened again.

    Args:
        name_or_path: as :func:`.load` takes it.
        cache: folder of the cache; by default ``$SOFTPRIOR_CACHE`` or the platform's.
        progress: called with (images hashed, images in all); not called for what is remembered.

    Raises:
        ValueError, FileNotFoundError: what :func:`.load` would say of it, too.
    """
    check(name_or_path)
    name = str(name_or_path)
    if name == "digits":
        return "digits" + _suffix(digits)
    if name in hub.REPOSITORIES:
        repository = hub.REPOSITORIES[name]
        return f"{repository.name}@{repository.revision}{_suffix(hub)}"
    path = Path(name).expanduser()
    reads = reader(path)
    entry = fingerprint_cache.Entry(path, versions(reads), cache)
    found = entry.read()
    if found is None:
        entry.settle()
        found = of_source(reads.read(path), versions(reads), progress)
        entry.write(found)
    return found


def versions(reads: ModuleType) -> dict[str, int]:
    """The versions of a reader and of what decodes its images, by name."""
    return {reads.__name__.rpartition(".")[2]: reads.VERSION, "decode": decode.VERSION}


def of_source(source: Source, versions: dict[str, int], progress: Progress | None = None) -> str:
    """The fingerprint of data that a reader found; few images are in memory at a time."""
    raised = {name: version for name, version in versions.items() if version != 1}
    sizes = [len(source.train.labels), len(source.test.labels)]
    head = [fingerprint_cache.FORMAT, raised, source.classes, sizes]
    digest = hashlib.sha256(json.dumps(head).encode())
    done = 0
    for part in (source.train, source.test):
        digest.update(part.labels.numpy().astype("<i8").tobytes())
        for chunk in hashed(part):
            digest.update(b"".join(chunk))
            done += len(chunk)
            if progress:
                progress(done, sum(sizes))
    return digest.hexdigest()[:32]


def _suffix(reads: ModuleType) -> str:
    """Nothing while all versions are 1; then ``+v2``, or ``+decode-v2``."""
    reader_version, decode_version = versions(reads).values()
    return (f"+v{reader_version}" if reader_version != 1 else "") + (
        f"+decode-v{decode_version}" if decode_version != 1 else ""
    )


def hashed(part: Part) -> Iterator[list[bytes]]:
    """SHA-256 of every encoded image, in order, a chunk at a time.

    Threads help: reading a file and hashing an image let go of the interpreter's lock.
    """
    rows = range(len(part.labels))
    contents = zip(rows, part.read(list(rows)), strict=True)
    pending: deque[Future[list[bytes]]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        for chunk in chunks(contents, CHUNK):
            pending.append(pool.submit(_digests, part, chunk))
            if len(pending) > 2 * THREADS:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _digests(part: Part, chunk: list[tuple[int, Any]]) -> list[bytes]:
    return [_digest(part, row, content) for row, content in chunk]


def _digest(part: Part, row: int, content: Any) -> bytes:
    if isinstance(content, Digest):
        return content.sha256
    try:
        data = encoded(content)
        # The picture that is seen is what trains: one that is turned is another since EXIF counts.
        turned = isinstance(content, bytes | Path) and picture.is_turned(data)
        return hashlib.sha256(b"turned" * turned + data).digest()
    except OSError as error:
        raise ValueError(
            f"{part.where(row)}: the image cannot be read ({error.strerror or error}); replace it "
            "or leave it out"
        ) from error
