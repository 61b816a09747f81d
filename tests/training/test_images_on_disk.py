"""Data sets on disk: Parquet files and image folders, sizes and modes, and what is said of them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from on_disk import (
    cifar,
    encoded,
    identity,
    numbered,
    tiny_imagenet,
    write_images,
    write_parquet,
)
from PIL import Image, ImageOps

from softprior.training.images import Dataset, load
from softprior.training.images.decode import WORTH_THREADS


def read(path: Path, resolution: int | None = None) -> Dataset:
    return load(path, seed=0, validation=0.2, resolution=resolution)


def fails(path: Path, said: str, error: type[Exception] = ValueError) -> None:
    with pytest.raises(error, match=said) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def both(d: Dataset) -> list[int]:
    return sorted(identity(d.train.pixels) + identity(d.validation.pixels))


# --- Parquet -----------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", ["", "data", "plain_text"])
def test_parquet_in_the_folder_in_data_or_in_another(tmp_path: Path, inside: str) -> None:
    cifar(tmp_path / inside)
    assert both(read(tmp_path)) == list(range(60))


def test_columns_of_cifar_plain_binary_and_unknown_classes(tmp_path: Path) -> None:
    images = [encoded(numbered(k)) for k in range(20)]
    labels = [k % 3 for k in range(20)]
    for part in ("train", "valid"):
        file = tmp_path / f"{part}-0.parquet"
        write_parquet(file, images, labels, columns=("img", "fine_label"), struct=False)
    d = read(tmp_path)
    assert d.classes == ("0", "1", "2")
    assert identity(d.test.pixels) == list(range(20))


def test_one_part_gives_a_fixed_fifth_to_the_test_set(tmp_path: Path) -> None:
    images = [encoded(numbered(k)) for k in range(40)]
    file = write_parquet(tmp_path / "everything.parquet", images, [k % 4 for k in range(40)])
    one, two = (load(file, seed=s, validation=0.25) for s in (0, 1))
    assert torch.equal(one.test.pixels, two.test.pixels)
    assert one.test.labels.bincount().tolist() == [2] * 4
    assert sorted(both(one) + identity(one.test.pixels)) == list(range(40))
    assert (
        "no test part: a stratified 20 %, the same for every seed, is the test" in one.description
    )
    assert torch.equal(one.test.pixels, read(tmp_path).test.pixels)


def test_which_parts_are_used(tmp_path: Path) -> None:
    images, labels = [encoded(numbered(k)) for k in range(20)], [0, 1] * 10
    write_parquet(tmp_path / "train.parquet", images, labels)
    write_parquet(tmp_path / "validation.parquet", images[:6], labels[:6])
    (tmp_path / "extra.parquet").write_bytes(b"whatever")
    d = read(tmp_path)
    assert len(d.test.labels) == 6
    assert d.description.endswith("not used: extra.parquet")
    write_parquet(tmp_path / "test.parquet", images[:4], [-1] * 4)
    d = read(tmp_path)
    assert len(d.test.labels) == 6
    assert d.description.endswith("not used: the test part, as it has no labels")
    write_parquet(tmp_path / "test.parquet", images[:4], labels[:4])
    d = read(tmp_path)
    assert len(d.test.labels) == 4
    assert d.description.endswith("not used: the validation part, as there is a test part")
    (tmp_path / "train.parquet").unlink()
    fails(tmp_path, r"there is no train\*.parquet beside test and validation; add it")


def test_what_is_wrong_with_a_parquet_file_is_named(tmp_path: Path) -> None:
    images = [encoded(numbered(k)) for k in range(12)]
    good = [0, 1, 2] * 4
    file = tmp_path / "train.parquet"

    def wrong(said: str, images: list[bytes | None], labels: object, **kw: object) -> None:
        write_parquet(file, images, labels, **kw)  # type: ignore[arg-type]
        fails(tmp_path, said)

    pictures: list[bytes | None] = list(images)
    wrong(
        "train.parquet, row 4: label 7 is not in 0..2",
        pictures,
        [*good[:4], 7, *good[5:]],
        names="abc",
    )
    wrong("train.parquet, row 1: label -1 is not in 0..2", pictures, [0, -1, *good[2:]])
    wrong("train.parquet, row 2: the label is missing", pictures, [0, 1, None, *good[3:]])
    wrong("row 0: labels are double, got 0.5, wanted int", pictures, pa.array([0.5] * 12))
    wrong(r"row 0: labels are list<.*>, got \[0\], wanted int", pictures, pa.array([[0]] * 12))
    wrong("row 3: labels are double, got 0.5", pictures, pa.array([0.0, 1, 0, 0.5] * 3))
    wrong("there is 1 class, wanted at least 2", pictures, [0] * 12)
    wrong("the training part has no images", [], [])
    wrong(
        "no column 'image' or 'img'; columns: 'photo'", pictures, good, columns=("photo", "label")
    )
    wrong("no column 'label' or 'fine_l", pictures, good, columns=("image", "target"))
    wrong(
        "train.parquet, row 3: the image has no bytes", [*pictures[:3], None, *pictures[4:]], good
    )
    wrong(
        r"train.parquet, row 5: the image cannot be decoded \(not a kind of image that Pillow",
        [*pictures[:5], b"hello", *pictures[6:]],
        good,
    )
    jpeg = encoded(numbered(3), "JPEG")
    wrong(
        r"(?i)train.parquet, row 3: the image cannot be decoded \(.*truncated.*\); replace it",
        [*pictures[:3], jpeg[:-40], *pictures[4:]],
        good,
    )
    sixteen = encoded(Image.fromarray(np.full((32, 32), 40_000, np.uint16)))
    wrong(r"row 0: .*\(its mode is I;16, wanted 8 bits a", [sixteen, *pictures[1:]], good)
    write_parquet(tmp_path / "test.parquet", pictures, good, names="abc")
    wrong("do not agree on the names of the classes", pictures, good, names="abd")
    (tmp_path / "test.parquet").unlink()
    file.write_bytes(file.read_bytes()[:100])
    fails(tmp_path, r"train.parquet: not a Parquet file, or truncated or damaged; copy or")


def test_a_row_is_counted_in_its_own_file(tmp_path: Path) -> None:
    cifar(tmp_path)
    images = [encoded(numbered(k)) for k in range(30, 59)]
    names = [f"class {c}" for c in range(4)]
    second = tmp_path / "train-00001-of-00002.parquet"
    write_parquet(second, [*images, b"?"], [k % 4 for k in range(30)], names=names)
    fails(tmp_path, "train-00001-of-00002.parquet, row 29: the image cannot")


def test_images_of_a_column_of_paths_are_refused(tmp_path: Path) -> None:
    table = pa.table({"image": ["a.png", "b.png"], "label": [0, 1]})
    pa.parquet.write_table(table, tmp_path / "train.parquet")
    fails(tmp_path, "column 'image' holds string, wanted encoded images")


def test_other_paths_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data.zip").write_bytes(b"PK")
    fails(tmp_path / "data.zip", "unknown kind of file '.zip': known are '.parquet'")
    fails(tmp_path, r"neither Parquet files nor an image folder; wanted \*.parquet")
    cifar(tmp_path / "one")
    cifar(tmp_path / "two")
    fails(tmp_path, r"Parquet files in several folders \(one, two\); pass one of them")


# --- sizes and modes ---------------------------------------------------------------------------


def test_images_of_many_sizes_need_a_resolution(tmp_path: Path) -> None:
    """Like CUB-200-2011: photographs about 224 pixels wide; as decoded by Pillow step by step."""
    rng = np.random.default_rng(0)
    sizes = [(224 + 8 * (k % 5), 200 + 16 * (k % 3)) for k in range(24)]
    pictures = [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in sizes]
    assert sizes[0][0] * sizes[0][1] >= WORTH_THREADS
    images = [encoded(picture, "JPEG") for picture in pictures]
    for part in ("train", "test"):
        write_parquet(tmp_path / f"{part}.parquet", images, [0, 1] * 12)
    fails(tmp_path, r"differ in size: 224 × 200 \(.*row 0\) and 232 × 216 \(.*row 1\).*pass --reso")
    d = read(tmp_path, resolution=64)
    assert d.test.pixels.shape == (24, 64, 64, 3)
    import io

    for pixels, image in zip(d.test.pixels, images, strict=True):
        picture = Image.open(io.BytesIO(image))
        fitted = ImageOps.fit(picture, (64, 64), Image.Resampling.BICUBIC)
        assert np.array_equal(pixels.numpy(), np.asarray(fitted))
        # The same as resizing the short side, then the centre: up to where the edges fall.
        scale = 64 / min(picture.size)
        small = picture.resize(
            (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC
        )
        left, top = ((side - 64) // 2 for side in small.size)
        cropped = np.asarray(small.crop((left, top, left + 64, top + 64))).astype(float)
        assert abs(cropped.mean() - pixels.double().mean()) < 1


def test_a_resolution_that_is_the_size_changes_nothing(tmp_path: Path) -> None:
    cifar(tmp_path)
    for part, same in zip(read(tmp_path)[:3], read(tmp_path, resolution=32)[:3], strict=True):
        assert torch.equal(part.pixels, same.pixels)


def test_grey_stays_grey_until_there_is_colour(tmp_path: Path) -> None:
    grey = [encoded(numbered(k, mode="L")) for k in range(10)]
    write_parquet(tmp_path / "train.parquet", grey, [0, 1] * 5)
    write_parquet(tmp_path / "test.parquet", grey, [0, 1] * 5)
    d = read(tmp_path)
    assert d.train.pixels.shape == (8, 32, 32, 1)
    assert d.mean.shape == d.std.shape == (1,)
    assert identity(d.test.pixels) == list(range(10))
    assert "made" not in d.description

    one = Image.fromarray(np.full((32, 32, 3), (200, 100, 50), np.uint8))
    write_parquet(tmp_path / "test.parquet", [*grey[:9], encoded(one)], [0, 1] * 5)
    d = read(tmp_path)
    assert d.train.pixels.shape == (8, 32, 32, 3)
    assert identity(d.test.pixels[:9]) == list(range(9))
    assert torch.equal(d.train.pixels[..., 0], d.train.pixels[..., 2])
    first = tmp_path / "train.parquet"
    assert d.description.endswith(f"made RGB: 19 of mode L (the first: {first}, row 0)")


def test_every_kind_of_colour_becomes_rgb_and_is_counted(tmp_path: Path) -> None:
    colour = Image.fromarray(np.full((32, 32, 3), (200, 100, 50), np.uint8))
    glass = colour.convert("RGBA")
    palette = colour.convert("P")
    clear = colour.quantize(8)
    clear.info["transparency"] = bytes(8)
    cmyk = encoded(colour.convert("CMYK"), "TIFF")
    images = [encoded(i) for i in (colour, glass, palette, clear)] + [cmyk]
    write_parquet(tmp_path / "train.parquet", images * 2, [0, 1] * 5)
    write_parquet(tmp_path / "test.parquet", images, [0, 1, 0, 1, 0])
    d = read(tmp_path)
    for image in (0, 1, 3, 4):
        assert (d.test.pixels[image, 3, 3].int() - torch.tensor([200, 100, 50])).abs().max() <= 2
    file = tmp_path / "train.parquet"
    for said in ("3 of mode RGBA", "6 of mode P", f"3 of mode CMYK (the first: {file}, row 4)"):
        assert said in d.description
    assert "\n" not in d.description


# --- image folders -----------------------------------------------------------------------------


@pytest.mark.parametrize("held", ["test", "val", "valid", "validation"])
def test_a_folder_with_parts(tmp_path: Path, held: str) -> None:
    for c, name in enumerate("ba"):
        write_images(tmp_path / "train" / name, range(10 * c, 10 * c + 10), "PNG")
        write_images(tmp_path / held / name, range(90 + 3 * c, 93 + 3 * c))
    (tmp_path / "train" / "a" / "notes.txt").write_text("not an image")
    d = read(tmp_path)
    assert d.classes == ("a", "b")
    assert both(d) == list(range(20))
    assert identity(d.test.pixels) == [93, 94, 95, 90, 91, 92]
    assert d.test.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_folder_of_classes_alone(tmp_path: Path) -> None:
    for c, name in enumerate("abc"):
        write_images(tmp_path / name, range(10 * c, 10 * c + 10))
    d = read(tmp_path)
    assert d.test.labels.bincount().tolist() == [2] * 3
    assert "no test part" in d.description


def test_tiny_imagenet_as_it_is_distributed(tmp_path: Path) -> None:
    d = read(tiny_imagenet(tmp_path))
    assert d.classes == ("n01", "n02", "n03")
    assert d.train.labels.bincount().tolist() == [8] * 3
    wnids = ["n03", "n01", "n02"]
    assert [d.classes[y] for y in d.test.labels] == [wnids[k % 3] for k in (41, 40, 42, 43, 44, 45)]
    assert d.description.endswith("not used: test/, as it has no labels")


def test_what_is_wrong_with_a_folder_is_named(tmp_path: Path) -> None:
    folder = tiny_imagenet(tmp_path)
    annotations = folder / "val" / "val_annotations.txt"
    lines = annotations.read_text()
    annotations.write_text(lines + "0046.JPEG\tn09\n")
    fails(folder, "val_annotations.txt, line 7: .*wanted a file name, a tab and one of the 3")
    annotations.write_text(lines + "0046.JPEG\tn01\n")
    fails(folder, "line 7: .*0046.JPEG is missing; unpack the archive again")
    annotations.write_text(lines)
    (folder / "wnids.txt").write_text("n01 n02")
    fails(folder, "wnids.txt: does not agree with .*: 'n03' is in one of them only")
    (folder / "wnids.txt").unlink()
    write_images(folder / "valid" / "n04", [1])
    fails(folder, "valid: unknown class 'n04': did you mean")
    broken = folder / "train" / "n01" / "images" / "0010.JPEG"
    broken.write_bytes(broken.read_bytes()[:-300])
    (folder / "valid" / "n04").rename(folder / "valid" / "n03")
    fails(folder, f"{broken}: the image cannot be decoded")
    (folder / "train" / "n00").mkdir()
    fails(folder, r"n00: no images \(\.bmp, .*\); add some, or remove")
    (tmp_path / "other" / "train").mkdir(parents=True)
    fails(tmp_path / "other", "train: no directories, wanted one per class")


# --- the real one ------------------------------------------------------------------------------


@pytest.mark.skipif(
    "SOFTPRIOR_TINY_IMAGENET" not in os.environ, reason="SOFTPRIOR_TINY_IMAGENET is not set"
)
def test_the_real_tiny_imagenet() -> None:
    path = os.environ["SOFTPRIOR_TINY_IMAGENET"]
    d = load(path, seed=0, validation=0.1, subset="classes=20,per_class=50")
    assert d.train.pixels.shape == (900, 32, 32, 3)
    assert d.validation.labels.bincount().tolist() == [5] * 20
    official, left_out = d.test.labels[: d.official], d.test.labels[d.official :]
    assert official.bincount().max() == 50
    assert left_out.bincount().max() == 450
    assert 90 < float(d.mean.min()) < float(d.mean.max()) < 140
