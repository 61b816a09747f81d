"""Data sets in memory: written and read back they are what they were; errors name the cure."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from on_disk import encoded, numbered, write_images
from on_hugging_face import library
from PIL import Image
from torch.utils.data import IterableDataset, TensorDataset

from softprior.training.images import classes, finding, load, picture
from softprior.training.images import decode as decoding
from softprior.training.images.encoding import netpbm
from softprior.training.images.fingerprinting import fingerprint
from softprior.training.images.own import OwnData
from softprior.training.images.source import Part


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTPRIOR_CACHE", str(tmp_path / "cache"))


def arrays(n: int, *shape: int, seed: int = 0) -> tuple[Any, Any]:
    """Pixels of all values, and labels of three classes."""
    rng = np.random.default_rng(seed)
    return rng.integers(256, size=(n, *shape), dtype=np.uint8), np.arange(n) % 3


def pixels(part: Part) -> torch.Tensor:
    rows = list(range(len(part.labels)))
    return decoding.decoded([decoding.Job(part, rows, rows)])[0]


class Items(torch.utils.data.Dataset[Any]):
    """A map-style data set; ``reads`` counts."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.reads = 0

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> Any:
        self.reads += 1
        return self.items[row]


def as_items(images: Any, labels: Any) -> Items:
    return Items([(image, int(label)) for image, label in zip(images, labels, strict=True)])


# --- laws --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_what_is_written_is_read_back_exactly(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    shape = (*rng.integers(1, 9, 2).tolist(), *[(), (1,), (3,)][seed % 3])
    train, test = arrays(15, *shape, seed=seed), arrays(6, *shape, seed=100 + seed)
    train[0][0] = ord("#")  # what a reader of the header might take for a comment,
    train[0][1] = ord("\n")  # or for white space
    data = OwnData.of(train, test if seed % 2 else None, classes=["a", "b", "c", "d"])
    path = data.write(tmp_path / "own")
    assert path == tmp_path / "own" / data.fingerprint
    assert fingerprint(path) == data.fingerprint
    found = finding.find(str(path), None)
    assert found.classes == ("a", "b", "c", "d")
    if seed % 2:
        parts = [(found.train, train), (found.test, test)]
        assert sorted(os.listdir(path)) == ["test.parquet", "train.parquet"]
    else:  # the usual fifth is the test set
        assert os.listdir(path) == ["train.parquet"]
        assert found.test.labels.bincount().tolist() == [1, 1, 1]
        assert [len(found.train.labels), len(found.test.labels)] == [12, 3]
        everything = torch.cat([pixels(found.train), pixels(found.test)]).flatten(1).tolist()
        wanted = train[0].reshape(15, -1).tolist()
        assert sorted(everything) == sorted(wanted)
        parts = []
    for part, (images, labels) in parts:
        got = pixels(part).numpy()
        assert np.array_equal(got, images.reshape(*got.shape))
        assert part.labels.tolist() == labels.tolist()


def test_the_same_images_in_any_form_are_the_same_data() -> None:
    for shape in ((5, 7), (5, 7, 1), (5, 7, 3)):
        images, labels = arrays(12, *shape)
        first = OwnData.of((images, labels))
        tensor = torch.from_numpy(images)
        if len(shape) == 3:
            tensor = tensor.permute(0, 3, 1, 2)
        pictures = [Image.fromarray(i[..., 0] if shape[2:] == (1,) else i) for i in images]
        forms: list[Any] = [
            (tensor, torch.from_numpy(labels)),
            (tensor.contiguous(), torch.from_numpy(labels).short()),
            (np.asfortranarray(images), labels.astype(np.uint8)),
            (images[::-1][::-1], labels.tolist()),
            as_items(images, labels),
            as_items(tensor, labels),
            as_items(pictures, labels),
            TensorDataset(tensor, torch.from_numpy(labels)),
            {"train": (images, labels)},
            {"train": as_items(images, labels), "test": None},
        ]
        for form in forms:
            assert OwnData.of(form) == first
        assert len({hash(OwnData.of(form)) for form in forms}) == 1
        both = OwnData.of((images, labels), (images[:3], labels[:3]))
        assert both != first
        assert both == OwnData.of({"train": forms[0], "test": as_items(images[:3], labels[:3])})


@pytest.mark.parametrize("labels", [[1, 2, 3], [0, 7, 999], [5, 6, 8]])
def test_labels_that_are_not_0_to_k_are_numbered_and_told(
    labels: list[int], tmp_path: Path
) -> None:
    """As in files; with names they mean what they say, and are refused."""
    images, _ = arrays(12, 5, 7)
    given = np.array(labels * 4)
    with pytest.warns(UserWarning, match=r"own data: labels .* are numbered from 0 to 2") as said:
        data = OwnData.of((images, given), (images[:3], given[:3]))
    assert len(said) == 1
    assert data.classes == tuple(map(str, labels))
    assert data.train.part.labels.tolist() == [0, 1, 2] * 4
    assert fingerprint(data.write(tmp_path)) == data.fingerprint
    same = OwnData.of(
        (images, np.arange(12) % 3), (images[:3], np.arange(3)), classes=list(data.classes)
    )
    assert same == data
    with pytest.raises(ValueError, match=r"row \d+: label \d+ is not in 0..2"):
        OwnData.of((images, given), classes=["a", "b", "c"])


def test_data_differ_by_pixels_labels_shape_and_names_and_not_by_what_they_are_called() -> None:
    images, labels = arrays(12, 4, 6)
    other = images.copy()
    other[3, 2, 1] ^= 1
    different = [
        OwnData.of((images, labels)),
        OwnData.of((other, labels)),
        OwnData.of((images, labels[::-1])),
        OwnData.of((images.reshape(12, 6, 4), labels)),
        OwnData.of((images[:-1], labels[:-1])),
        OwnData.of((images, labels), classes=["a", "b", "c"]),
    ]
    assert len(set(different)) == len(different)
    assert OwnData.of((images, labels), name="mine") == different[0]
    assert OwnData.of((images, labels), classes=["0", "1", "2"]) == different[0]
    assert different[0] != "own data"
    assert repr(different[0]) == (
        "OwnData('own data': 12 training and no test images of 3 classes)"
    )


def test_arrays_are_not_copied() -> None:
    images, labels = arrays(6, 4, 4, 3)
    read = list(OwnData.of((images, labels)).train.part.read([0, 5]))
    assert all(np.shares_memory(image, images) for image in read)
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    (image,) = OwnData.of((tensor, labels)).train.part.read([2])
    assert np.shares_memory(image, images)


def test_pgm_and_ppm_are_written_by_hand() -> None:
    assert netpbm(np.array([[1, 2, 3], [4, 5, 6]], np.uint8)) == b"P5 3 2 255\n\1\2\3\4\5\6"
    assert netpbm(np.array([[[7, 8, 9]], [[1, 2, 3]]], np.uint8)) == b"P6 1 2 255\n\7\10\11\1\2\3"


# --- writing -----------------------------------------------------------------------------------


def test_what_is_there_is_not_written_again(tmp_path: Path) -> None:
    data = OwnData.of(arrays(12, 3, 3))
    path = data.write(tmp_path)
    before = (path / "train.parquet").stat()
    assert data.write(tmp_path) == path
    assert (path / "train.parquet").stat() == before
    assert [p.name for p in tmp_path.iterdir()] == [data.fingerprint]


def test_many_may_write_at_once(tmp_path: Path) -> None:
    data = OwnData.of(arrays(30, 8, 8, 3), arrays(6, 8, 8, 3))
    assert data.fingerprint
    with ThreadPoolExecutor(6) as pool:
        paths = set(pool.map(data.write, [tmp_path / "own"] * 6))
    assert paths == {tmp_path / "own" / data.fingerprint}
    assert os.listdir(tmp_path / "own") == [data.fingerprint]
    assert fingerprint(*paths) == data.fingerprint


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(PermissionError):
        OwnData.of(arrays(12, 3, 3)).write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_data_that_change_are_refused(tmp_path: Path) -> None:
    images, labels = arrays(12, 3, 3)
    data = OwnData.of((images, labels))
    assert data.fingerprint
    images[4] += 1
    with pytest.raises(ValueError, match="own data: the images changed since they were first"):
        data.write(tmp_path)

    class Random(Items):
        def __getitem__(self, row: int) -> Any:
            return torch.randint(256, (3, 3), dtype=torch.uint8), row % 3

    with pytest.raises(ValueError, match="take random transforms out of the Dataset"):
        OwnData.of(Random([0] * 12)).write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_items_are_read_once_and_once_more_to_write(tmp_path: Path) -> None:
    items = as_items(*arrays(12, 3, 3))
    data = OwnData.of(items)
    assert data.fingerprint
    assert items.reads == 12
    data.write(tmp_path)
    assert items.reads == 24


def test_images_of_pillow_become_grey_or_colour_as_when_decoded(tmp_path: Path) -> None:
    colour = numbered(3, (6, 5))
    kinds = [colour.convert(mode) for mode in ("1", "L", "LA", "RGB", "RGBA", "P", "CMYK")]
    clear = colour.quantize(8)
    clear.info["transparency"] = bytes(8)
    kinds.append(clear)
    data = OwnData.of(Items([(image, k % 2) for k, image in enumerate(kinds)]))
    for image, got in zip(kinds, data.train.part.read(list(range(8))), strict=True):
        mode = picture.MODES[image.mode]
        wanted = image.convert("RGBA").convert("RGB") if image is clear else image.convert(mode)
        assert np.array_equal(got, np.asarray(wanted))
    with pytest.raises(ValueError, match=r"train, item 1: the image cannot be used \(its mode is"):
        OwnData.of(Items([(colour, 0), (colour.convert("F"), 1)]))


# --- Hugging Face ------------------------------------------------------------------------------


def hugging_face(datasets: Any, ks: range, **more: Any) -> Any:
    columns = {
        "photo": [{"bytes": encoded(numbered(k)), "path": None} for k in ks],
        "kind": [k % 3 for k in ks],
    }
    features = {"photo": datasets.Image(), "kind": datasets.ClassLabel(names=["a", "b", "c"])}
    for name, (values, feature) in more.items():
        columns[name], features[name] = values, feature
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch) -> Any:
    return library(monkeypatch)


def test_a_data_set_of_hugging_face_keeps_its_bytes(datasets: Any, tmp_path: Path) -> None:
    train, test = (hugging_face(datasets, ks) for ks in (range(300), range(300, 306)))
    data = OwnData.of(train, test)
    assert data.classes == ("a", "b", "c")
    assert list(data.train.part.read([1, 299])) == [encoded(numbered(k)) for k in (1, 299)]
    path = data.write(tmp_path / "own")
    assert fingerprint(path) == data.fingerprint
    assert classes(path) == ("a", "b", "c")
    both = datasets.DatasetDict({"test": test, "train": train})
    for same in (both, {"train": train, "test": test}):
        assert OwnData.of(same) == data
    assert OwnData.of(both, classes=["x", "y", "z"]).classes == ("x", "y", "z")
    assert OwnData.of(datasets.DatasetDict({"train": train})) == OwnData.of(train)


def test_a_validation_split_is_used_where_there_is_no_labelled_test_split(datasets: Any) -> None:
    train, held = hugging_face(datasets, range(12)), hugging_face(datasets, range(12, 18))
    secret = hugging_face(
        datasets, range(18, 21), kind=([-1] * 3, datasets.ClassLabel(names=["a", "b", "c"]))
    )
    wanted = OwnData.of(train, held)
    for splits in (
        {"train": train, "validation": held},
        {"train": train, "valid": held},
        {"train": train, "test": secret, "validation": held},
        {"train": train, "test": held, "validation": secret},
    ):
        assert OwnData.of(datasets.DatasetDict(splits)) == wanted


def test_images_in_files_are_read_from_there(datasets: Any, tmp_path: Path) -> None:
    """As ``load_dataset("imagefolder")`` gives them."""
    rows = []
    for c, name in enumerate("ab"):
        write_images(tmp_path / "set" / name, range(10 * c, 10 * c + 6))
        rows += [(str(path), c) for path in sorted((tmp_path / "set" / name).iterdir())]
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    columns = {
        "image": [{"bytes": None, "path": path} for path, _ in rows],
        "label": [c for _, c in rows],
    }
    data = OwnData.of(datasets.Dataset.from_dict(columns, datasets.Features(features)))
    assert data.fingerprint == fingerprint(tmp_path / "set")
    assert fingerprint(data.write(tmp_path / "own")) == data.fingerprint
    Path(rows[3][0]).unlink()
    with pytest.raises(ValueError, match=r"train, row 3: the image has no bytes, and there is no"):
        list(data.train.part.read([3]))


def test_columns_are_found_by_their_features_or_listed(datasets: Any) -> None:
    number = datasets.Value("int32")
    data = hugging_face(datasets, range(12), id=(list(range(12)), number))
    assert OwnData.of(data) == OwnData.of(hugging_face(datasets, range(12)))
    plain = hugging_face(datasets, range(12), kind=([k % 3 for k in range(12)], number))
    assert OwnData.of(plain).classes == ("0", "1", "2")
    two = hugging_face(datasets, range(12), id=([0] * 12, number), kind=([0, 1] * 6, number))
    said = r"wanted one ClassLabel \(or integer\) column, got 2; columns: 'photo' \(Image\), 'kin"
    with pytest.raises(ValueError, match=said):
        OwnData.of(two)
    with pytest.raises(ValueError, match=r"wanted one Image column, got 0; .* data\.cast_column"):
        OwnData.of(data.select_columns(["kind"]))
    assert OwnData.of(two.select_columns(["photo", "kind"])).classes == ("0", "1")


def test_splits_that_do_not_go_together_are_named(datasets: Any) -> None:
    data = hugging_face(datasets, range(12))
    other = hugging_face(
        datasets, range(12), kind=([0, 1] * 6, datasets.ClassLabel(names=["b", "a"]))
    )
    with pytest.raises(ValueError, match="do not agree on the names of the classes; pass classes"):
        OwnData.of(data, other)
    with pytest.raises(ValueError, match="there is no split 'train' among 'all'; pass one split"):
        OwnData.of(datasets.DatasetDict({"all": data}))
    with pytest.raises(ValueError, match="the test part was given twice: in data and as test"):
        OwnData.of(datasets.DatasetDict({"train": data}), data)
    stream = data.to_iterable_dataset()
    for streamed in (stream, datasets.IterableDatasetDict({"train": stream, "validation": stream})):
        with pytest.raises(TypeError, match=r"iterable data set .* without streaming=True"):
            OwnData.of(streamed)


# --- errors ------------------------------------------------------------------------------------

GREY, LABELS = arrays(12, 5, 5)
TENSOR = torch.from_numpy(GREY)
SWAPPED = np.zeros((12, 3, 5, 5), np.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "error", "said"),
    [
        (GREY / 255, LABELS, TypeError, r"train: images must be uint8, got float64: \(images \* 2"),
        (GREY / 255, LABELS, TypeError, r"55\)\.round\(\)\.astype\('uint8'\) if the values are"),
        (TENSOR / 255, LABELS, TypeError, r"float32: \(images \* 255\).round\(\).to\(torch.uint8"),
        (GREY.astype(int), LABELS, TypeError, r"got int64: images.astype\('uint8'\) if the values"),
        (GREY > 3, LABELS, TypeError, r"\(images \* 255\).astype\('uint8'\) if they are true and"),
        (GREY.tolist(), LABELS, TypeError, r"NumPy array or a torch tensor .*, got list; np.stack"),
        (GREY[0], LABELS[:5], ValueError, r"shape \(5, 5\), wanted \(n, H, W\) or, with C 1 or 3"),
        (SWAPPED, LABELS, ValueError, r"images have shape \(12, 3, 5, 5\), wanted \(n, H, W\) or"),
        (SWAPPED, LABELS, ValueError, r"\(n, H, W, C\) of a NumPy array and \(n, C, H, W\) of a t"),
        (SWAPPED, LABELS, ValueError, r"; use \.transpose\(0, 2, 3, 1\)$"),
        (torch.zeros(12, 5, 5, 1, dtype=torch.uint8), LABELS, ValueError,
         r"; use \.permute\(0, 3, 1, 2\)"),
        (np.zeros((12, 5, 5, 4), np.uint8), LABELS, ValueError, r"of a torch tensor$"),
        (GREY[:, :0], LABELS, ValueError, r"\(12, 0, 5\): there are no pixels"),
        (GREY, np.eye(12, dtype=int), ValueError, r"labels have shape \(12, 12\), .*\.argmax\(1\)"),
        (GREY, torch.eye(12), ValueError, r"use \.argmax\(1\), if they are one-hot"),
        (GREY, LABELS[:, None], ValueError, r"wanted \(12,\): use \.squeeze\(1\)"),
        (GREY, LABELS / 1, TypeError, "labels must be integers, got float64"),
        (GREY, LABELS > 1, TypeError, "labels must be integers, got bool"),
        (GREY, ["a"] * 12, TypeError, r"names, labels = np.unique\(labels, return_inverse=True\)"),
        (GREY, LABELS[1:], ValueError, r"labels have shape \(11,\), and there are 12 images"),
        (GREY, LABELS - 1, ValueError, "labels must be ≥ 0, got -1 in row 0; correct it or leave"),
        (GREY, LABELS * 0, ValueError, "there is 1 class, wanted at least 2"),
        (GREY[:3], np.arange(3), ValueError, r"class 0 \(0\) has one image, and without a test"),
        (GREY[:0], LABELS[:0], ValueError, "own data: the training part has no images"),
    ],
)  # fmt: skip
def test_arrays_that_are_refused(
    images: Any, labels: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        OwnData.of((images, labels))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("item", "error", "said"),
    [
        (
            (TENSOR[0] / 255, 1),
            TypeError,
            "item 1: image must be uint8, .* take ToTensor, and what",
        ),
        ((GREY[0] / 255, 1), TypeError, r"\(image \* 255\).round\(\).astype\('uint8'\) if"),
        ((GREY, 1), ValueError, r"\(12, 5, 5\), wanted \(H, W\) or, .*\(H, W, C\) of a NumPy"),
        (("a.png", 1), TypeError, "item 1: image must be a NumPy array .*, got str"),
        ((GREY[0], 1.0), TypeError, "item 1: the label must be an integer, got 1.0; number the cl"),
        ((GREY[0], True), TypeError, "the label must be an integer, got True"),
        ((GREY[0], "cat"), TypeError, "the label must be an integer, got 'cat'"),
        ((GREY[0], np.eye(3)[1]), TypeError, r"ndarray of shape \(3,\); use .argmax\(\), if it is"),
        ((GREY[0], -1), ValueError, "labels must be ≥ 0, got -1 in row 1"),
        ((GREY[0], 1, 2), TypeError, r"items must be \(image, label\), got a tuple of 3; return a"),
        ({"image": GREY[0]}, TypeError, r"items must be \(image, label\), got a dict; return a"),
    ],
)
def test_items_that_are_refused(item: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        OwnData.of(Items([(GREY[0], 0), item]))


def test_other_kinds_of_data_are_refused() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter([])

    good = (GREY, LABELS)
    for data, error, said in (
        (Stream(), TypeError, "iterable data set has no rows to come back to"),
        (GREY, TypeError, r"wanted \(images, labels\) of NumPy .* of these; got ndarray"),
        ("digits", TypeError, "got str"),
        ([GREY, LABELS], TypeError, "got list"),
        (None, TypeError, "got NoneType"),
        ({"train": good, "val": good}, ValueError, "unknown part 'val': .*known are 'test', 'tra"),
        ({"test": good}, ValueError, 'there is no part "train"'),
        ({"train": {"train": good}}, TypeError, "got dict"),
    ):
        with pytest.raises(error, match=said):
            OwnData.of(data)
    with pytest.raises(ValueError, match=r"own data, test, row 2: label 2 is not in 0\.\.1 \(2 cl"):
        OwnData.of((GREY, LABELS % 2), good)
    with pytest.raises(ValueError, match="mine, train, row 2: label 2 is not in 0"):
        OwnData.of(good, classes=["a", "b"], name="mine")
    with pytest.raises(TypeError, match=r"classes must be names, such as .*, got 'abc'"):
        OwnData.of(good, classes="abc")
    with pytest.raises(ValueError, match="classes has a name twice: a, a, b"):
        OwnData.of(good, classes=["a", "a", "b"])


def test_a_data_set_in_memory_trains_as_from_the_disk(tmp_path: Path) -> None:
    images, labels = arrays(30, 4, 4, 3)
    d = load(OwnData.of((images, labels)).write(tmp_path), seed=0, validation=0.25)
    assert [len(part.labels) for part in d[:3]] == [18, 6, 6]
    rows = {image.tobytes(): int(label) for image, label in zip(images, labels, strict=True)}
    for part in d[:3]:
        for image, label in zip(part.pixels, part.labels, strict=True):
            assert rows[image.numpy().tobytes()] == int(label)
