"""What an image is read as: upright, of the formats named, and every type of column."""

from __future__ import annotations

import hashlib
import io
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any
from zlib import compress, crc32

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_disk import encoded, identity, numbered, write_parquet
from PIL import Image
from torch.utils.data import Dataset as Items

from softprior import memory
from softprior.training.images import OwnData, decode, fingerprint, hub, load, picture

# --- EXIF --------------------------------------------------------------------------------------


def stored(kind: str, orientation: int | None, mode: str = "RGB", xmp: bool = False) -> bytes:
    """A picture that is bright at the top right, in any orientation, when seen as EXIF says."""
    upright = np.zeros((16, 24) if mode == "L" else (16, 24, 3), np.uint8)
    upright[:8, 12:] = 255
    image = Image.fromarray(upright)
    T = Image.Transpose
    backwards = {2: T.FLIP_LEFT_RIGHT, 3: T.ROTATE_180, 4: T.FLIP_TOP_BOTTOM, 5: T.TRANSPOSE}
    backwards |= {6: T.ROTATE_90, 7: T.TRANSVERSE, 8: T.ROTATE_270}
    if orientation in backwards:
        image = image.transpose(backwards[orientation])
    file = io.BytesIO()
    more: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    if kind == "JPEG":
        more["quality"] = 95
    if orientation is not None and xmp:
        more["xmp"] = f'<x tiff:Orientation="{orientation}"/>'.encode()
    elif orientation is not None:
        exif = Image.Exif()
        exif[picture.ORIENTATION] = orientation
        more["exif"] = exif
    image.save(file, kind, **more)
    return file.getvalue()


def pixels(images: list[bytes], path: Path, resolution: int | None = None) -> tuple[Any, str]:
    """As they are decoded from a Parquet file, where each is in both parts."""
    labels = [k % 2 for k in range(2 * len(images))]
    for part in ("train", "test"):
        write_parquet(path / f"{part}.parquet", images * 2, labels)
    data = load(path, seed=0, validation=0.4, resolution=resolution)
    return data.test.pixels[: len(images)].numpy(), data.description


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    ("kind", "xmp"),
    [("JPEG", False), ("PNG", False), ("WEBP", False), ("TIFF", False), ("JPEG", True)],
)
def test_every_orientation_is_seen_upright(tmp_path: Path, kind: str, mode: str, xmp: bool) -> None:
    images = [stored(kind, k, mode, xmp) for k in (None, *range(1, 9))] * 2
    got, said = pixels(images, tmp_path)
    assert got.shape[1:3] == (16, 24)
    assert np.abs(got.astype(int) - got[0].astype(int)).max() <= 12
    assert got[:, :8, 12:].min() > 240
    assert ("turned as their EXIF says: 56 (the first: " in said) == (kind != "TIFF")
    small, _ = pixels(images, tmp_path, 8)
    assert small[:, :4, 4:].min() > 180


def test_damaged_exif_says_nothing(tmp_path: Path) -> None:
    good = stored("JPEG", 6)
    for damage in (
        good.replace(b"Exif\0\0MM", b"Exif\0\0XX"),
        good.replace(b"\x01\x12\0\3", b"\x02\x12\0\3"),
    ):
        assert damage != good
        (turned, _), (plain, _) = pixels([damage, damage], tmp_path), pixels([good, good], tmp_path)
        assert turned.shape[1:3] == plain.shape[2:0:-1]
    for value in (0, 9, 6000):
        got, _ = pixels([stored("PNG", value)] * 2, tmp_path)
        assert got.shape[1:3] == (16, 24)


def test_a_data_set_by_name_says_by_which_rules_its_pictures_are_seen() -> None:
    """It is not fetched for its fingerprint, which has the version of the rules instead.

    Where this fails other pixels are seen in the same bytes: raise VERSION in images/hub.py, and
    say in images/fingerprinting.py which pictures of a path are others, or raise that of decode.
    """
    seen = hashlib.sha256()
    for k in (None, *range(1, 9)):
        with picture.opened(stored("PNG", k)) as image:
            seen.update(picture.array(picture.grey_or_rgb(picture.upright(image))).tobytes())
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        with picture.opened(encoded(Image.linear_gradient("L").convert(mode))) as image:
            seen.update(picture.array(picture.grey_or_rgb(picture.upright(image))).tobytes())
    assert (seen.hexdigest()[:16], hub.VERSION, decode.VERSION) == ("cd1a079066f66c9a", 2, 1)
    assert fingerprint("cub200").endswith("@" + hub.REPOSITORIES["cub200"].revision + "+v2")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_fingerprints_change_where_the_picture_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A run that trained before EXIF counted is of other data, if and only if one is turned."""
    monkeypatch.setenv("SOFTPRIOR_CACHE", str(tmp_path / "cache"))

    def of(images: list[bytes], name: str) -> tuple[str, str]:
        write_parquet(tmp_path / name / "train.parquet", images * 4, [0, 1] * 4)
        with monkeypatch.context() as ignored:
            ignored.setattr(picture, "is_turned", lambda _: False)
            before = fingerprint(tmp_path / name, cache=tmp_path / "other")
        return before, fingerprint(tmp_path / name)

    for orientation in (None, 1, 3, 6, 8):
        before, now = of([stored(kind, orientation), stored(kind, None)], f"{kind}{orientation}")
        assert (before != now) == (orientation in (3, 6, 8) and kind != "TIFF")


def test_images_that_pillow_opened_are_seen_upright_too() -> None:
    class Opened(Items[Any]):
        def __init__(self, images: list[bytes]) -> None:
            self.images = images

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, row: int) -> tuple[Image.Image, int]:
            return Image.open(io.BytesIO(self.images[row])).convert("RGB"), row % 2

    turned = [stored("PNG", k) for k in range(1, 9)]
    assert OwnData.of(Opened(turned)) == OwnData.of(Opened([stored("PNG", None)] * 8))


# --- formats -----------------------------------------------------------------------------------

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"


def other_formats() -> dict[str, bytes]:
    image = numbered(1, (32, 32))
    found = {"EPS": EPS}
    for kind in ("ICO", "ICNS", "PCX", "TGA", "SGI", "JPEG2000", "DDS", "PDF", "XBM", "MSP"):
        file = io.BytesIO()
        try:
            (image.convert("1") if kind in ("XBM", "MSP") else image).save(file, kind)
        except (KeyError, OSError):  # a Pillow without it
            continue
        found[kind] = file.getvalue()
    return found


def test_no_other_decoder_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An EPS would start Ghostscript; a name of an image says nothing of what is in it."""

    def started(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    formats = other_formats()
    monkeypatch.setattr(subprocess, "Popen", started)
    assert len(formats) > 5
    for kind, content in formats.items():
        for name in ("a", "b"):
            (tmp_path / name).mkdir(exist_ok=True)
            for k in range(3):
                (tmp_path / name / f"{k}.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"\d\.png: the image cannot be decoded") as caught:
            load(tmp_path, seed=0, validation=0.2)
        assert "not a kind of image that Pillow knows among PNG, JPEG, BMP" in str(caught.value), (
            kind
        )
        assert "\n" not in str(caught.value)


def refused(tmp_path: Path, content: bytes, said: str) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir(exist_ok=True)
        for k in range(3):
            (tmp_path / name / f"{k}.png").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing of Pillow's own reaches the user
        with pytest.raises(
            ValueError, match=rf"\d\.png: the image cannot be decoded \(.*{said}"
        ) as caught:
            load(tmp_path, seed=0, validation=0.2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
def test_files_that_are_cut_are_named(tmp_path: Path, kind: str) -> None:
    whole = encoded(numbered(1, (40, 40)), kind)
    for length in (0, 1, 9, 30, len(whole) // 2, len(whole) - 300):
        refused(tmp_path, whole[:length], "the file is empty" if length == 0 else "")


def test_bombs_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(tmp_path, png(20_000, 20_000), "it has more than 178,956,970 pixels; make it smaller")
    monkeypatch.setattr(memory, "available", lambda: 2**28)
    # Of so many pixels Pillow would warn.
    refused(tmp_path, png(10_000, 9_500), "its 10,000 × 9,500 pixels would take 362 MiB")


def test_animations_and_16_bits_are_told(tmp_path: Path) -> None:
    first, second = numbered(1, (8, 8)), numbered(2, (8, 8))
    animated = []
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        file = io.BytesIO()
        more: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
        first.save(file, kind, save_all=True, append_images=[second, second], **more)
        animated.append(file.getvalue())
    got, said = pixels([*animated, encoded(first)], tmp_path)
    assert identity(__import__("torch").from_numpy(got[1:])) == [1, 1, 1, 1]
    train = tmp_path / "train.parquet"
    assert f"first frames alone of: 16 (the first: {train}, row 0)" in said
    values = np.random.default_rng(0).integers(0, 2**16, (8, 8, 3), dtype=np.uint16)
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    got, said = pixels([png(8, 8, lines, bits=16), encoded(first)], tmp_path)
    assert np.array_equal(got[0], values >> 8)
    assert "made RGB: 4 of mode RGB;16B (the first: " in said


def png(width: int, height: int, lines: bytes = b"", bits: int = 8) -> bytes:
    """An RGB image, written by hand, that may lack its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return pack(">I", len(data)) + body + pack(">I", crc32(body))

    head = pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1)])
def test_the_smallest_images_are_read(tmp_path: Path, size: tuple[int, int]) -> None:
    image = encoded(Image.fromarray(np.full((*size, 3), 77, np.uint8)))
    assert pixels([image, image], tmp_path)[0].shape == (2, *size, 3)
    got, _ = pixels([image, image], tmp_path, 4)
    assert (got == 77).all()


# --- columns of images -------------------------------------------------------------------------

N = 14
ENCODED = [encoded(numbered(k, (6, 5)), "PPM") for k in range(N)]
COLOUR = [np.asarray(numbered(k, (6, 5))) for k in range(N)]
GREY = [np.asarray(numbered(k, (6, 5), mode="L")) for k in range(N)]


def struct(kind: Any) -> Any:
    return pa.struct([("bytes", kind), ("path", pa.string())])


def structs(kind: Any) -> Any:
    return pa.array([{"bytes": image, "path": None} for image in ENCODED], struct(kind))


def lists(arrays: list[Any], kind: Any, *sizes: int) -> Any:
    for size in reversed(sizes):
        kind = pa.list_(kind, size)
    return pa.array([array.tolist() for array in arrays], kind)


COLUMNS: dict[str, Callable[[], Any]] = {
    **{
        name: lambda name=name: pa.array(ENCODED, getattr(pa, name)())  # type: ignore[misc]
        for name in ("binary", "large_binary", "binary_view")
        if hasattr(pa, name)
    },
    "binary of one size": lambda: pa.array(ENCODED, pa.binary(len(ENCODED[0]))),
    "dictionary": lambda: pa.array(ENCODED).dictionary_encode(),
    "struct": lambda: structs(pa.binary()),
    "struct of large": lambda: structs(pa.large_binary()),
    "list of one struct": lambda: pa.array(
        [[{"bytes": image, "path": "x.png"}] for image in ENCODED], pa.list_(struct(pa.binary()))
    ),
    "fixed list of one struct": lambda: pa.array(
        [[{"bytes": image}] for image in ENCODED], pa.list_(struct(pa.binary()), 1)
    ),
    "list of one binary": lambda: pa.array([[image] for image in ENCODED]),
    "nested lists": lambda: lists(COLOUR, pa.uint8(), -1, -1, -1),
    "nested lists of int64": lambda: lists(COLOUR, pa.int64(), -1, -1, -1),
    "fixed lists": lambda: lists(COLOUR, pa.uint8(), 6, 5, 3),
    "channels first": lambda: lists([c.transpose(2, 0, 1) for c in COLOUR], pa.uint8(), 3, 6, 5),
    "large lists": lambda: pa.array(
        [c.tolist() for c in COLOUR], pa.large_list(pa.large_list(pa.list_(pa.int32())))
    ),
    "tensors": lambda: pa.FixedShapeTensorArray.from_numpy_ndarray(np.stack(COLOUR)),
    "grey lists": lambda: lists(GREY, pa.uint8(), -1, -1),
    "grey fixed lists": lambda: lists(GREY, pa.int16(), 6, 5),
    "grey with a channel": lambda: lists([g[..., None] for g in GREY], pa.uint8(), 6, 5, 1),
}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("group", [N, 5])
@pytest.mark.parametrize("subset", [None, "per_class=3"])
def test_every_type_of_column_gives_the_same_pixels(
    tmp_path: Path, name: str, group: int, subset: str | None
) -> None:
    table = pa.table({"image": COLUMNS[name](), "label": [k % 2 for k in range(N)]})
    for name_of_part in ("train", "test"):
        pq.write_table(table, tmp_path / f"{name_of_part}.parquet", row_group_size=group)
    data = load(tmp_path, seed=0, validation=0.2, subset=subset)
    wanted = np.stack(GREY)[..., None] if "grey" in name else np.stack(COLOUR)
    for part in data[:3]:
        assert np.array_equal(part.pixels.numpy(), wanted[identity(part.pixels)])
    if subset is None:
        assert identity(data.test.pixels) == list(range(N))
    assert set(identity(data.train.pixels)) < set(range(N))
    fingerprint(tmp_path)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array([["a.png"]] * 4), "column 'image' holds list<"),
        (pa.array([0.5] * 4), "column 'image' holds double, wanted encoded images"),
        (pa.array([[[0.5]]] * 4), "column 'image' holds list<"),
        (pa.array([[1, 2]] * 4), "column 'image' holds list<"),
        (pa.array([[b"a", b"b"]] * 4), r"row \d: 2 images in a list, wanted one"),
        (pa.array([[]] * 4, pa.list_(pa.binary())), r"row \d: 0 images in a list, wanted one"),
        (pa.array([[[1, 2], [3]]] * 4), r"row \d: the pixels are no array \(H, W\)"),
        (pa.array([[[1, 256]]] * 4), r"row \d: pixels are from 1 to 256, wanted 0 to 255"),
        (pa.array([[[[1, 2, 3, 4]] * 4] * 4] * 4), r"shape \(4, 4, 4\), wanted \(H, W\)"),
        (pa.array([None] * 4, pa.list_(pa.list_(pa.uint8()))), r"row \d: the pixels are no array"),
    ],
)
def test_columns_that_hold_no_images_are_named(tmp_path: Path, column: Any, said: str) -> None:
    file = tmp_path / "train.parquet"
    table = pa.table({"image": column, "label": [0, 0, 1, 1]})
    pq.write_table(pa.concat_tables([table] * 3), file)
    with pytest.raises(ValueError, match=said) as caught:
        load(file, seed=0, validation=0.2)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


# --- columns of labels -------------------------------------------------------------------------

NUMBERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
NUMBERS += ["float16", "float32", "float64"]
TEXTS = [kind for kind in ("string", "large_string", "string_view") if hasattr(pa, kind)]


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([*NUMBERS, *TEXTS, "bool_"]),
    st.booleans(),
    st.lists(st.integers(0, 11), min_size=4, max_size=9),
)
def test_every_type_of_label_is_understood(
    tmp_path_factory: pytest.TempPathFactory, kind: str, dictionary: bool, labels: list[int]
) -> None:
    labels = [0, 1, *labels] * 2
    if kind == "bool_":
        labels = [label % 2 for label in labels]
        column = pa.array([label == 1 for label in labels])
        names: list[str] = ["False", "True"]
    elif kind in TEXTS:
        column = pa.array([f"é{label}" for label in labels], getattr(pa, kind)())
        names = sorted({f"é{label}" for label in labels})
    else:
        column = pa.array(labels, pa.int64()).cast(getattr(pa, kind)())
        names = list(map(str, sorted(set(labels))))
    if dictionary and kind not in ("string_view", "bool_", "float16"):
        column = column.dictionary_encode()
    file = tmp_path_factory.mktemp("labels") / "train.parquet"
    half = len(labels) // 2
    table = pa.table({"image": [b"?"] * len(labels), "label": column})
    pq.write_table(table.slice(0, half), file)
    pq.write_table(table.slice(half), file.with_name("test.parquet"))
    from softprior.training.images import finding

    source = finding.find(str(file.parent), None)
    assert list(source.classes) == names
    spelt = [str(value) for value in column.to_pylist()]
    for part, rows in ((source.train, spelt[:half]), (source.test, spelt[half:])):
        got = [source.classes[label] for label in part.labels]
        assert got == [row.removesuffix(".0") for row in rows]


def test_names_of_classes_in_several_files_are_one_list(tmp_path: Path) -> None:
    for name, labels in (
        ("train-0", ["b", "d"]),
        ("train-1", ["a", "d"]),
        ("test", ["d", "a"]),
    ):
        write_parquet(tmp_path / f"{name}.parquet", [b"?"] * 4, pa.array(labels * 2))
    from softprior.training.images import finding

    source = finding.find(str(tmp_path), None)
    assert source.classes == ("a", "b", "d")
    assert source.train.labels.tolist() == [1, 2, 1, 2, 0, 2, 0, 2]
    assert source.test.labels.tolist() == [2, 0, 2, 0]
    write_parquet(tmp_path / "test.parquet", [b"?"] * 2, pa.array(["d", "e"]))
    with pytest.raises(ValueError, match=r"test\.parquet: unknown class 'e'"):
        finding.find(str(tmp_path), None)
    write_parquet(tmp_path / "train-1.parquet", [b"?"] * 2, [0, 1])
    with pytest.raises(ValueError, match="labels are names here and numbers elsewhere"):
        finding.find(str(tmp_path), None)


def test_columns_are_found_by_what_hugging_face_says_of_them(tmp_path: Path) -> None:
    file = tmp_path / "train.parquet"
    write_parquet(file, ENCODED, [k % 2 for k in range(N)], names="ab", columns=("photo", "bird"))
    assert load(file, seed=0, validation=0.2).classes == ("a", "b")


# --- memory ------------------------------------------------------------------------------------


def test_what_a_parquet_file_states_is_believed_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many equal labels, and large equal images, take next to nothing on the disk."""
    monkeypatch.setattr(memory, "SMALL", 2**20)
    monkeypatch.setattr(memory, "available", lambda: 2**21)
    many, large = tmp_path / "many.parquet", tmp_path / "large.parquet"
    zeros = pa.array(np.zeros(100_000, np.int8))
    empty = pa.DictionaryArray.from_arrays(zeros, pa.array([b"x"]))
    pq.write_table(pa.table({"image": empty, "label": zeros}), many)
    images = pa.array([bytes(10**6)] * 10)
    pq.write_table(pa.table({"image": images, "label": [0, 1] * 5}), large, use_dictionary=False)
    for file, said in ((many, "100,000 labels would take 2 MiB"), (large, "would take 10 MiB")):
        assert file.stat().st_size < 10**6
        with pytest.raises(ValueError, match=said):
            load(file, seed=0, validation=0.2)
