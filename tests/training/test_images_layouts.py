"""Layouts of data sets as people have them: which images are of which part and class, by names."""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_disk import encoded, identity, numbered, tiny_imagenet, write_images, write_parquet

from softprior.experiment.asked import with_data
from softprior.studies import Scale
from softprior.training.images import classes, finding, fingerprint, names, notes
from softprior.training.images.source import Part, Source

TRAIN = ["train", "training", "train_set", "trainset", "training-data", "Train Images", "train2017"]
HELD = ["test", "testing", "test_set", "testset", "testing-data", "Test Images", "test2017"]
HELD += ["val", "valid", "validation", "val_set", "validation_images", "dev", "eval"]
CASES: list[Callable[[str], str]] = [str.lower, str.title, str.upper]


def found(path: Path) -> Source:
    return finding.find(str(path), None)


def files(part: Part) -> list[str]:
    """The names of the files of a part."""
    return [Path(part.where(row)).name for row in range(len(part.labels))]


def refused(path: Path, *words: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        found(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    for word in words:
        assert word in message


def parts(path: Path, train: str, held: str, of: str = "ab") -> None:
    """Images 0 to 9 of each class in the training part, 50 to 53 in the other, by file name."""
    for c, name in enumerate(of):
        write_images(path / train / name, range(10 * c, 10 * c + 10))
        write_images(path / held / name, range(50 + 4 * c, 54 + 4 * c))


def are_parts(source: Source, of: str = "ab") -> None:
    assert source.classes == tuple(sorted(of))
    assert sorted(files(source.train)) == [f"{k:04d}.png" for k in range(10 * len(of))]
    assert sorted(files(source.test)) == [f"{k:04d}.png" for k in range(50, 50 + 4 * len(of))]
    assert source.test.labels.bincount().tolist() == [4] * len(of)
    assert not any("no test part" in note for note in source.notes)


# --- names of parts ----------------------------------------------------------------------------


@pytest.mark.parametrize("cased", CASES)
def test_a_part_is_known_by_its_name_in_any_case(cased: Callable[[str], str]) -> None:
    for name in TRAIN:
        assert names.part_of(cased(name)) == "train", name
    for name in HELD:
        wanted = "test" if name.lower().startswith("test") else "validation"
        assert names.part_of(cased(name)) == wanted, name
    for name in ("cat", "trainer", "contest", "valley", "latest", "device", "evaluate", "0", "É"):
        assert names.part_of(cased(name)) == "", name


@given(st.text("trainesvdlocp _-.0É", max_size=40))
def test_every_name_means_something_without_an_error(name: str) -> None:
    assert names.part_of(name) in ("", "train", "test", "validation")
    assert names.part_within(name)[0] in ("", "train", "test", "validation")
    assert isinstance(names.is_hidden(name), bool)
    names.masked(name)


@pytest.mark.parametrize(
    ("train", "held"),
    [
        *((TRAIN[k % len(TRAIN)], held) for k, held in enumerate(HELD)),
        *(("Training", "Testing"), ("TRAIN", "VAL"), ("Train", "Validation"), ("train", "Test")),
        *(("seg_train", "seg_test"), ("asl_alphabet_train", "asl_alphabet_test")),
        *(("my-train-2", "my-test-2"), ("birdsTrain", "birdsVal")),
    ],
)
@pytest.mark.parametrize("wrapped", ["", "archive", "data/inner", "images"])
def test_a_folder_with_parts_is_read_in_parts(
    tmp_path: Path, train: str, held: str, wrapped: str
) -> None:
    parts(tmp_path / wrapped, train, held)
    are_parts(found(tmp_path))


@pytest.mark.parametrize(
    ("train", "held"),
    [
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("training_set/training_set", "test_set/test_set"),
        ("train/images", "val/images"),
        ("Train/train", "Test"),
        ("train/train/train", "test/Test"),
    ],
)
def test_a_part_in_a_folder_of_its_own_name(tmp_path: Path, train: str, held: str) -> None:
    parts(tmp_path, train, held)
    are_parts(found(tmp_path))


def test_a_word_in_the_name_of_a_class_makes_no_part(tmp_path: Path) -> None:
    for name in ("train_station", "bus_station", "test_tube"):
        write_images(tmp_path / name, range(10))
    assert found(tmp_path).classes == ("bus_station", "test_tube", "train_station")


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (["Testing/a", "Testing/b", "validation/a"], ["no train/ beside", "Testing/"]),
        (["a", "b", "test"], ["no train/ beside test/"]),
        (["train", "bus", "car"], ["no directories, wanted one per class"]),
        (["train_1/a", "train_2/a"], ["several folders name the train part", "train_1, train_2"]),
        (["train/a", "train/b", "test/a", "testing/a"], ["several folders name the test part"]),
        (["a/train", "a/test", "b/train", "b/test"], ["a/", "names a part", "train/CLASS/IMAGE"]),
        (["train/a", "train/b", "train/test"], ["train/test", "names a part"]),
        (["train/a/val", "train/b", "test/a"], ["train/a/val", "names a part"]),
        (["images", "annotations"], ["neither Parquet", "directory per class", "CUB-200-2011"]),
        (["images", "masks", "labels"], ["neither Parquet"]),
        (["images/train", "images/val", "labels/train"], ["no directories, wanted one per class"]),
        (["images/a", "images/b", "c", "d"], ["images in c/ and in folders of images/"]),
        (["train/images", "train/labels", "test/images"], ["train: no directories"]),
    ],
)
def test_what_cannot_be_meant_is_refused(
    tmp_path: Path, folders: list[str], words: list[str]
) -> None:
    for k, folder in enumerate(folders):
        write_images(tmp_path / folder, range(4 * k, 4 * k + 4))
    refused(tmp_path, *words)


def test_a_part_that_is_passed_alone_is_told_of_the_other(tmp_path: Path) -> None:
    parts(tmp_path, "Training", "Testing")
    rows(tmp_path / "files" / "mnist_train.parquet", 0, 10)
    rows(tmp_path / "files" / "mnist_test.parquet", 50, 57)
    rows(tmp_path / "files" / "cifar_test.parquet", 50, 57)
    for path, other in (
        ("Training", "Testing"),
        ("files/mnist_train.parquet", "mnist_test.parquet"),
    ):
        *_, note = found(tmp_path / path).notes
        assert note.startswith(f"not used: {other} beside it; pass {(tmp_path / path).parent}")
    assert not any("beside it" in note for note in found(tmp_path / "Testing").notes)


FILES = ["1.png", "2.JPG", "4.gif", "._1.png", "3.heic", "1_mask.png"]
POOL = ["Train", "Test", "val", "images", "masks", ".cache", "a", "b", "c", "__MACOSX"]


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.lists(st.sampled_from(POOL), max_size=4).map("/".join),
        st.lists(
            st.sampled_from(["1.png", "2.JPG", "._1.png", "3.heic", "1_mask.png"]), max_size=4
        ),
        min_size=1,
        max_size=8,
    ),
    st.booleans(),
)
def test_no_image_is_left_out_without_a_word(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, list[str]], sound: bool
) -> None:
    """Any tree of folders is read or refused in one line; what is not used is told."""
    path = tmp_path_factory.mktemp("tree")
    if sound:  # else most trees are refused
        tree |= {f"{place}/{name}": FILES for place in ("Train", "val") for name in "ab"}
    for folder, each in tree.items():
        (path / folder).mkdir(parents=True, exist_ok=True)
        for name in each:
            (path / folder / name).write_bytes(b"?")
    message = ""
    try:
        source = found(path)
    except ValueError as error:
        message = str(error)
    assert "\n" not in message
    if message:
        assert str(path) in message
        return
    used = {part.where(row) for part in source[:2] for row in range(len(part.labels))}
    there = {str(file) for file in path.rglob("*") if file.is_file()}
    assert used <= there
    assert len(used) == len(source.train.labels) + len(source.test.labels)
    never = {"train", "test", "val", "images", "masks", ".cache", "__macosx"}
    assert not never & {name.lower() for name in source.classes}
    if used < there:
        assert any(note.startswith(("left out", "not used")) for note in source.notes)


# --- what is no class, and what is no image ----------------------------------------------------

BESIDE = ["images", "annotations", "masks", "labels", "Annotation", "IMG", "ground_truth"]
HIDDEN = [".ipynb_checkpoints", ".thumbnails", "@eaDir", "__MACOSX", "Thumbnails", "$RECYCLE.BIN"]


@pytest.mark.parametrize("name", [*BESIDE, *HIDDEN])
@pytest.mark.parametrize("place", ["", "train", "test"])
def test_some_folders_are_never_classes_and_are_told(tmp_path: Path, name: str, place: str) -> None:
    if place:
        parts(tmp_path, "train", "test")
    else:
        for c, each in enumerate("ab"):
            write_images(tmp_path / each, range(10 * c, 10 * c + 10))
    before = found(tmp_path)
    write_images(tmp_path / place / name, range(80, 84))
    after = found(tmp_path)
    assert after.classes == before.classes == ("a", "b")
    assert files(after.train) == files(before.train)
    assert files(after.test) == files(before.test)
    (note,) = set(after.notes) - set(before.notes)
    assert note.startswith("left out ")
    assert f": 1 (such as {Path(place, name)}/)" in note


@pytest.mark.parametrize("name", [*HIDDEN, "masks", "Annotations"])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_folders_below_a_class_are_left_out_at_any_depth(
    tmp_path: Path, name: str, depth: int
) -> None:
    parts(tmp_path, "train", "test")
    for place in ("train/a", "train/b", "test/a"):
        write_images(Path(tmp_path, place, *"xy"[:depth], name, "z"), range(90, 93))
    source = found(tmp_path)
    are_parts(source)
    assert any(": 3 (such as " in note and name in note for note in source.notes)


@pytest.mark.parametrize("name", ["._0001.png", ".0001.png", "Thumbs.db", "desktop.ini"])
def test_hidden_files_are_left_out_and_told_once(tmp_path: Path, name: str) -> None:
    parts(tmp_path, "train", "test")
    for place in ("train/a", "train/b", "test/b", "train", ""):
        (tmp_path / place / name).write_bytes(b"\0\5\x16\7")
    source = found(tmp_path)
    are_parts(source)
    assert [note for note in source.notes if "hidden" in note] == [
        f"left out as hidden: 5 (such as {name})"
    ]


@pytest.mark.parametrize("suffix", sorted(names.SUFFIXES))
@pytest.mark.parametrize("cased", CASES)
def test_every_suffix_is_read_in_any_case(
    tmp_path: Path, suffix: str, cased: Callable[[str], str]
) -> None:
    parts(tmp_path, "train", "test")
    for k in range(3):
        os.rename(tmp_path / f"train/a/000{k}.png", tmp_path / f"train/a/x{k}{cased(suffix)}")
    source = found(tmp_path)
    assert len(source.train.labels) == 20
    assert source.notes == ()


@pytest.mark.parametrize(
    "name", ["{k}.heic", "{k}.avif", "{k}.svg", "{k}.npy", "{k}", "{k}.png.bak"]
)
def test_files_of_other_names_are_told_with_a_count_and_an_example(
    tmp_path: Path, name: str
) -> None:
    parts(tmp_path, "train", "test")
    for k in range(7):
        (tmp_path / "train" / "a" / name.format(k=k)).write_bytes(b"whatever")
    (tmp_path / "train" / "a" / "notes.txt").write_text("words")
    source = found(tmp_path)
    are_parts(source)
    example = Path("train/a", name.format(k=0))
    assert source.notes == (f"left out as no images by their names: 7 (such as {example})",)


def test_masks_beside_their_images_are_left_out(tmp_path: Path) -> None:
    for c, name in enumerate(("benign", "malignant")):
        for k in range(6):
            for mark in ("", "_mask", "_mask_1"):
                file = tmp_path / name / f"{name} ({k}){mark}.png"
                file.parent.mkdir(exist_ok=True)
                numbered(10 * c + k).save(file)
    numbered(1).save(tmp_path / "benign" / "ski_mask.png")  # of nothing
    source = found(tmp_path)
    assert len(source.train.labels) + len(source.test.labels) == 13
    assert "left out as masks of other images: 24 (such as benign/benign (0)_mask.png)" in (
        source.notes
    )


def test_images_beside_the_classes_are_told(tmp_path: Path) -> None:
    parts(tmp_path, "train", "test")
    write_images(tmp_path / "train", range(3))
    write_images(tmp_path / "models", range(3))
    source = found(tmp_path)
    are_parts(source)
    assert set(source.notes) == {
        "left out beside the folders of classes: 3 (such as train/0000.png)",
        "left out beside the parts: 1 (such as models/)",
    }


def test_a_link_to_a_folder_is_told_and_not_walked(tmp_path: Path) -> None:
    parts(tmp_path, "train", "test")
    (tmp_path / "train" / "a" / "back").symlink_to(tmp_path)
    source = found(tmp_path)
    are_parts(source)
    assert source.notes == ("left out as links to folders: 1 (such as train/a/back)",)


@pytest.mark.parametrize("name", ["x.png", "x.parquet", "x", "x.txt"])
def test_pipes_and_devices_are_never_opened(tmp_path: Path, name: str) -> None:
    parts(tmp_path, "train", "test")
    os.mkfifo(tmp_path / "train" / "a" / name)
    are_parts(found(tmp_path))
    if name == "x.png":
        assert "left out as no regular files: 1 (such as train/a/x.png)" in found(tmp_path).notes
        (tmp_path / "train" / "b" / "zero.png").symlink_to("/dev/zero")
        are_parts(found(tmp_path))
    if name == "x.parquet":
        for number, place in enumerate(("", "data", "default/train")):
            folder = tmp_path / str(number)
            (folder / place).mkdir(parents=True)
            os.mkfifo(folder / place / name)
            refused(folder, "x.parquet: neither a file nor a link to one")
    os.mkfifo(tmp_path / f"pipe{Path(name).suffix}")
    refused(tmp_path / f"pipe{Path(name).suffix}", "a pipe or a device, wanted a folder")
    refused(Path("/dev/zero"), "a pipe or a device")


# --- Unicode -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["é", "Grünfink", "Å", "가", "ö b", "ﬁ"])
def test_names_are_compared_in_one_unicode_form(tmp_path: Path, name: str) -> None:
    spelt = [unicodedata.normalize(form, name) for form in ("NFC", "NFD")]
    for k, (one, two) in enumerate(itertools.product(spelt, spelt)):
        path = tmp_path / str(k)
        parts(path, "train", "test", of="ab")
        (path / "train" / "b").rename(path / "train" / one)
        (path / "test" / "b").rename(path / "test" / two)
        source = found(path)
        assert set(source.classes) == {"a", spelt[0]}
        assert source.test.labels.bincount().tolist() == [4, 4]
        assert any("Unicode" in note for note in source.notes) == (one != two)


def test_two_spellings_in_one_part_are_one_class(tmp_path: Path) -> None:
    for k, form in enumerate(("NFC", "NFD")):
        name = unicodedata.normalize(form, "é")
        write_images(tmp_path / "train" / name, range(10 * k, 10 * k + 5))
    write_images(tmp_path / "train" / "b", range(30, 35))
    source = found(tmp_path)
    assert source.classes == ("b", "é")
    assert len(source.train.labels) + len(source.test.labels) == 15
    assert any(
        note.startswith("classes written in several Unicode forms: 1") for note in source.notes
    )


# --- Parquet -----------------------------------------------------------------------------------


def rows(file: Path, low: int, high: int, **more: object) -> None:
    images = [encoded(numbered(k)) for k in range(low, high)]
    write_parquet(file, images, [k % 2 for k in range(low, high)], **more)  # type: ignore[arg-type]


def held_rows(source: Source) -> int:
    return len(source.test.labels)


@pytest.mark.parametrize(
    "name",
    [
        *("{}", "{}-00000-of-00001", "mnist_{}", "{}_mnist", "cifar10-{}-00000-of-00001"),
        *("data/{}-00000-of-00001", "{}/0000", "default/{}/0000", "partial-{}/0000"),
        *("plain_text/partial-{}/0000", "data/{}/part", "data/default/{}/0", "v1.0/{}_v2"),
        *("{}/data-00000-of-00001", "birds_{}/x"),
    ],
)
@pytest.mark.parametrize(
    ("train", "held"),
    [("train", "test"), ("Training", "Testing"), ("TRAIN", "val"), ("trainset", "testset")],
)
@pytest.mark.parametrize("suffix", [".parquet", ".PARQUET"])
def test_parquet_files_of_parts(
    tmp_path: Path, name: str, train: str, held: str, suffix: str
) -> None:
    rows(tmp_path / (name.format(train) + suffix), 0, 10)
    rows(tmp_path / (name.format(held) + suffix), 50, 57)
    source = found(tmp_path)
    assert (len(source.train.labels), held_rows(source)) == (10, 7)
    assert source.notes == ()


@pytest.mark.parametrize("style", ["train-{:05d}-of-00004", "default/train/{:04d}"])
@pytest.mark.parametrize("missing", [[1], [2], [1, 2]])
def test_a_missing_shard_is_told(tmp_path: Path, style: str, missing: list[int]) -> None:
    for k in set(range(4)) - set(missing):
        rows(tmp_path / f"{style.format(k)}.parquet", 4 * k, 4 * k + 4)
    rows(
        tmp_path / f"{style.format(0).replace('train', 'test').replace('04', '01')}.parquet", 50, 54
    )
    (note,) = found(tmp_path).notes
    assert note.startswith(f"missing: {len(missing)} of ")
    assert f"(the first: {missing[0]})" in note


def test_shards_of_two_writings_are_refused(tmp_path: Path) -> None:
    rows(tmp_path / "train-00000-of-00001.parquet", 0, 4)
    rows(tmp_path / "train-00000-of-00002.parquet", 0, 4)
    refused(tmp_path, "some files are of 1 and some of 2")


def test_files_that_name_no_part_are_told(tmp_path: Path) -> None:
    for k in range(3):
        rows(tmp_path / f"{'abc'[k]}.parquet", 4 * k, 4 * k + 4)
    assert "one part is 3 files together (such as a.parquet)" in found(tmp_path).notes
    rows(tmp_path / "train_cats.parquet", 0, 4)
    rows(tmp_path / "train_dogs.parquet", 4, 8)
    rows(tmp_path / "test.parquet", 4, 8)
    assert set(found(tmp_path).notes) == {
        "not used: a.parquet, b.parquet, c.parquet",
        "the train part is 2 files together (such as train_cats.parquet)",
    }


def test_a_file_in_the_folder_of_another_part_is_refused(tmp_path: Path) -> None:
    rows(tmp_path / "train" / "test-0.parquet", 0, 4)
    refused(tmp_path, "the folder names the train part and the file the test part")


def test_secret_labels_of_the_test_part_leave_it_out(tmp_path: Path) -> None:
    rows(tmp_path / "train.parquet", 0, 20)
    write_parquet(tmp_path / "test.parquet", [encoded(numbered(1))] * 3, [-1] * 3)
    source = found(tmp_path)
    assert held_rows(source) == 4
    assert "not used: the test part, as it has no labels" in source.notes


# --- labels ------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    st.sets(st.integers(0, 2**62) | st.integers(0, 9), min_size=2, max_size=5),
    st.sampled_from(["int64", "uint64", "double"]),
)
def test_labels_without_names_are_numbered_and_told(
    tmp_path_factory: pytest.TempPathFactory, labels: set[int], kind: str
) -> None:
    import pyarrow as pa

    if kind == "double":
        labels = {label % 2**50 for label in labels}
    ordered = sorted(labels)
    if len(ordered) < 2:
        return
    file = tmp_path_factory.mktemp("labels") / "train.parquet"
    column = pa.array([label for label in ordered for _ in range(3)], pa.int64()).cast(kind)
    write_parquet(file, [b"?"] * len(column), column)
    source = found(file)
    assert source.classes == tuple(map(str, ordered))
    assert source.train.labels.unique().tolist() == list(range(len(ordered)))
    assert any("numbered from 0" in note for note in source.notes) == (
        ordered != list(range(len(ordered)))
    )


def test_a_test_label_that_is_not_trained_on_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [b"?"] * 6, [1, 2, 4] * 2)
    write_parquet(tmp_path / "test.parquet", [b"?"] * 2, [1, 3])
    refused(tmp_path, "test.parquet, row 1: label 3 is none of the 3 labels of the training part")


def test_classes_without_images_are_told(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [b"?"] * 6, [0, 2] * 3, names="abcd")
    write_parquet(tmp_path / "test.parquet", [b"?"] * 2, [0, 1], names="abcd")
    assert found(tmp_path).notes == (
        "classes without a training image: 2 (such as class 1, 'b')",
        "classes without a test image: 2 (such as class 2, 'c')",
    )


# --- labels in text files ----------------------------------------------------------------------


def cub(path: Path, split: list[int], *, listed: bool = True, gap: int = 1) -> None:
    """As CUB-200-2011 is unpacked: two classes in turn."""
    folders = ["001.Albatross", "002.Auklet"]
    lines: dict[str, list[str]] = {"images": [], "train_test_split": [], "image_class_labels": []}
    for k, mark in enumerate(split):
        write_images(path / "images" / folders[k % 2], [k], "jpg")
        lines["images"].append(f"{k + 1} {folders[k % 2]}/{k:04d}.jpg")
        lines["train_test_split"].append(f"{k + 1} {mark}")
        lines["image_class_labels"].append(f"{k + 1} {gap * (k % 2 + 1)}")
    if listed:
        lines["classes"] = [f"{gap * (c + 1)} {name}" for c, name in enumerate(folders)]
    for name, each in lines.items():
        (path / f"{name}.txt").write_text("".join(f"{line}\n" for line in each))
    for name in ("attributes", "parts", "segmentations"):
        write_images(path / name, [99])


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(0, 1), min_size=4, max_size=9),
    st.booleans(),
    st.sampled_from([1, 7]),
    st.sampled_from(["", "CUB_200_2011"]),
)
def test_cub_is_read_with_its_official_split(
    tmp_path_factory: pytest.TempPathFactory, split: list[int], listed: bool, gap: int, inside: str
) -> None:
    split = [1, 1, 0, 0, *split]
    path = tmp_path_factory.mktemp("cub")
    cub(path / inside, split, listed=listed, gap=gap)
    source = found(path)
    assert source.classes == ("001.Albatross", "002.Auklet")
    for part, mark in ((source.train, 1), (source.test, 0)):
        wanted = [k for k, each in enumerate(split) if each == mark]
        assert files(part) == [f"{k:04d}.jpg" for k in wanted]
        assert part.labels.tolist() == [k % 2 for k in wanted]
    assert "parts as in train_test_split.txt" in source.notes
    refused(path / inside / "images", "train_test_split.txt", f"pass {path / inside}")


def test_what_is_wrong_with_cub_is_named(tmp_path: Path) -> None:
    cub(tmp_path, [1, 1, 0, 0])
    write_images(tmp_path / "images" / "001.Albatross", [77], "jpg")
    assert any("as not in images.txt: 1 (such as" in note for note in found(tmp_path).notes)
    for name, text, words in (
        ("train_test_split.txt", "1 1\n2 1\n3 0\n", ["does not agree with images.txt: image 4"]),
        ("train_test_split.txt", "1 1\n2 1\n3 0\n4 2\n", ["'2', wanted 1 for training"]),
        ("image_class_labels.txt", "1 1\n2 x\n3 1\n4 2\n", ["'x', wanted numbers of classes"]),
        ("image_class_labels.txt", "1 1\n2\n3 1\n4 2\n", ["line 2: '2'"]),
        ("images.txt", "1 x.jpg\n2 x.jpg\n3 x.jpg\n4 x.jpg\n", ["x.jpg is missing; unpack"]),
        ("images.txt", "1 x.jpg\n1 x.jpg\n", ["line 2"]),
        ("images.txt", "\udcff", ["cannot be read as text in UTF-8"]),
    ):
        file = tmp_path / name
        good = file.read_bytes()
        file.write_text(text, errors="surrogateescape")
        refused(tmp_path, name, *words)
        file.write_bytes(good)
    found(tmp_path)


@pytest.mark.parametrize("wrapped", ["", "tiny-imagenet-200", "a/b"])
def test_tiny_imagenet_is_found_in_folders_of_folders(tmp_path: Path, wrapped: str) -> None:
    tiny_imagenet(tmp_path / wrapped)
    source = found(tmp_path)
    assert source.classes == ("n01", "n02", "n03")
    assert len(source.test.labels) == 6
    assert any(note == "not used: test/, as it has no labels" for note in source.notes)
    assert any("found in" in note for note in source.notes) == bool(wrapped)
    assert classes(tmp_path) == source.classes


def test_a_study_tells_what_is_left_out_before_it_starts(tmp_path: Path) -> None:
    parts(tmp_path, "train", "test")
    write_images(tmp_path / "train" / "a" / ".thumbnails", range(3))
    with pytest.warns(UserWarning, match="left out as hidden: 1 ") as said:
        scale = with_data(Scale(name="smoke", seeds=range(1), dataset=str(tmp_path), model=None))
    assert len(said) == 1
    assert scale.fingerprint == fingerprint(tmp_path)
    assert notes("digits") == ()


def test_identities_are_those_of_the_files(tmp_path: Path) -> None:
    """What the other tests read off names of files is what is decoded."""
    from softprior.training.images import load

    parts(tmp_path, "Training", "Testing")
    data = load(tmp_path, seed=0, validation=0.2)
    trained = identity(data.train.pixels) + identity(data.validation.pixels)
    assert sorted(trained) == list(range(20))
    assert identity(data.test.pixels) == list(range(50, 58))
