"""Small data sets on disk, of the same formats as the real ones."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def numbered(k: int, size: tuple[int, int] = (32, 32), mode: str = "RGB") -> Image.Image:
    """Noise, in which the first two pixels say which it is (k < 65,536); (height, width)."""
    channels = 3 if mode == "RGB" else 1
    pixels = np.random.default_rng(k).integers(256, size=(*size, channels), dtype=np.uint8)
    pixels[0, 0] = k % 256
    pixels[0, 1] = k // 256
    return Image.fromarray(pixels if mode == "RGB" else pixels[:, :, 0])


def identity(pixels: Any) -> list[int]:
    """Which images these are: the inverse of ``numbered``."""
    return (pixels[:, 0, 0, 0].int() + 256 * pixels[:, 0, 1, 0].int()).tolist()


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def write_parquet(
    path: Path,
    images: Sequence[bytes | None],
    labels: Any,
    *,
    names: Sequence[str] | None = None,
    columns: tuple[str, str] = ("image", "label"),
    struct: bool = True,
    row_group_size: int = 8,
) -> Path:
    """As Hugging Face ``datasets`` writes it, or with plain binary images and no metadata."""
    column: Any = [None if i is None else {"bytes": i, "path": None} for i in images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table(
        {
            columns[0]: pa.array(column, kind) if struct else pa.array(images, pa.binary()),
            columns[1]: labels if isinstance(labels, pa.Array) else pa.array(labels, pa.int64()),
        }
    )
    if names is not None:
        label = {"names": list(names), "_type": "ClassLabel"}
        info = {"info": {"features": {columns[0]: {"_type": "Image"}, columns[1]: label}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def cifar(folder: Path, train: int = 60, test: int = 20, classes: int = 4) -> Path:
    """32 × 32 PNG in Parquet, two training files; image k has class k % classes."""
    names = [f"class {c}" for c in range(classes)]
    half = train // 2
    for name, rows in {
        "train-00000-of-00002": range(half),
        "train-00001-of-00002": range(half, train),
        "test-00000-of-00001": range(train, train + test),
    }.items():
        images = [encoded(numbered(k)) for k in rows]
        write_parquet(folder / f"{name}.parquet", images, [k % classes for k in rows], names=names)
    return folder


def write_images(folder: Path, ks: Sequence[int], kind: str = "png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for k in ks:
        numbered(k).save(folder / f"{k:04d}.{kind}")


def tiny_imagenet(folder: Path) -> Path:
    """The original layout: wnids.txt in no order, validation labels in a text file."""
    wnids = ["n03", "n01", "n02"]
    for c, wnid in enumerate(wnids):
        write_images(folder / "train" / wnid / "images", range(10 * c, 10 * c + 10), "JPEG")
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text("0 0 1 1")
    (folder / "wnids.txt").write_text("\n".join(wnids) + "\n")
    write_images(folder / "val" / "images", range(40, 46), "JPEG")
    lines = [f"{k:04d}.JPEG\t{wnids[k % 3]}\t0\t0\t9\t9\n" for k in (41, 40, 42, 43, 44, 45)]
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    write_images(folder / "test" / "images", range(50, 53), "JPEG")
    return folder
