"""Fingerprints: equal data have one, whatever the path; what they are remembered by."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from on_disk import cifar, encoded, numbered, tiny_imagenet, write_images, write_parquet

from softprior.training.images import decode, digits, encoding, fingerprint_cache, hub, parquet
from softprior.training.images import fingerprinting as module
from softprior.training.images.fingerprinting import fingerprint


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOFTPRIOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fingerprints"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for every image that is opened."""
    opened: list[int] = []

    def counted(content: object) -> bytes:
        opened.append(1)
        return encoding.encoded(content)

    monkeypatch.setattr(module, "encoded", counted)
    return opened


def folder(path: Path, names: str = "ab") -> Path:
    for c, name in enumerate(names):
        write_images(path / "train" / name, range(10 * c, 10 * c + 5))
        write_images(path / "test" / name, range(90 + 3 * c, 93 + 3 * c))
    return path


# --- what it is of -----------------------------------------------------------------------------


def test_names_are_their_own_fingerprints_and_nothing_is_fetched() -> None:
    assert fingerprint("digits") == "digits"
    for name, repository in hub.REPOSITORIES.items():
        assert fingerprint(name) == f"{repository.name}@{repository.revision}+v{hub.VERSION}"


def test_the_spelling_of_a_path_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fingerprint(cifar(tmp_path / "set"))
    assert len(first) == 32
    assert set(first) <= set("0123456789abcdef")
    shutil.copytree(tmp_path / "set", tmp_path / "copies" / "another")
    (tmp_path / "link").symlink_to(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    spellings = ["set", "set/", "./set", "copies/../set", "link", "~/set", "copies/another"]
    assert {fingerprint(path) for path in spellings} == {first}
    assert {fingerprint(tmp_path / "link"), fingerprint(str(tmp_path / "set"))} == {first}


def test_a_folder_and_parquet_files_of_the_same_images_are_the_same_data(tmp_path: Path) -> None:
    folder(tmp_path / "images")
    for part in ("train", "test"):
        found = [sorted((tmp_path / "images" / part / name).iterdir()) for name in "ab"]
        images = [file.read_bytes() for files in found for file in files]
        labels = [c for c, files in enumerate(found) for _ in files]
        write_parquet(tmp_path / "set" / f"{part}.parquet", images, labels, names="ab")
    assert fingerprint(tmp_path / "images") == fingerprint(tmp_path / "set")


def test_what_is_not_read_does_not_matter(tmp_path: Path) -> None:
    first = fingerprint(tiny_imagenet(tmp_path / "set"))
    (tmp_path / "set" / "README.md").write_text("words")
    shutil.rmtree(tmp_path / "set" / "test")
    assert fingerprint(tmp_path / "set") == first


def rename_class(path: Path) -> None:
    for part in ("train", "test"):
        (path / part / "b").rename(path / part / "c")


def swap_images(path: Path) -> None:
    one, two = (path / "train" / "a" / f"000{k}.png" for k in (0, 1))
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)


@pytest.mark.parametrize(
    "change",
    [
        rename_class,
        swap_images,
        lambda path: numbered(77).save(path / "train" / "a" / "0001.png"),
        lambda path: numbered(77).save(path / "test" / "a" / "0090.png"),
        lambda path: numbered(77).save(path / "train" / "a" / "0077.png"),
        lambda path: (path / "train" / "a" / "0001.png").unlink(),
        lambda path: (path / "train" / "b" / "0012.png").rename(path / "train" / "a" / "0012.png"),
        lambda path: shutil.move(path / "test" / "a" / "0090.png", path / "train" / "a"),
    ],
)
def test_every_change_of_the_data_shows(tmp_path: Path, change: Callable[[Path], object]) -> None:
    path = folder(tmp_path / "set")
    first = fingerprint(path)
    change(path)
    assert fingerprint(path) != first


def test_labels_class_names_and_order_show_in_parquet(tmp_path: Path) -> None:
    images = [encoded(numbered(k)) for k in range(12)]
    labels = [k % 3 for k in range(12)]

    def of(images: list[bytes], labels: list[int], names: str = "abc") -> str:
        return fingerprint(write_parquet(tmp_path / "a.parquet", images, labels, names=names))

    all_of_them = [
        of(images, labels),
        of(images, [*labels[:-1], 0]),
        of(images, labels, "abd"),
        of(images, labels, "abcd"),
        of(images[::-1], labels[::-1]),
        of(images[:-1], labels[:-1]),
    ]
    assert len(set(all_of_them)) == len(all_of_them)
    assert of(images, labels) == all_of_them[0]


def test_a_higher_version_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cifar(tmp_path / "set", 20, 8)
    images = folder(tmp_path / "images")
    first, other = fingerprint(path), fingerprint(images)
    monkeypatch.setattr(digits, "VERSION", 2)
    monkeypatch.setattr(parquet, "VERSION", 2)
    assert fingerprint("digits") == "digits+v2"
    second = fingerprint(path)
    assert second != first
    assert fingerprint(images) == other  # another reader's
    monkeypatch.setattr(decode, "VERSION", 3)
    assert fingerprint("digits") == "digits+v2+decode-v3"
    of = hub.REPOSITORIES["cifar10"]
    assert fingerprint("cifar10") == f"{of.name}@{of.revision}+v{hub.VERSION}+decode-v3"
    assert fingerprint(path) not in (first, second)
    assert fingerprint(images) != other
    monkeypatch.undo()
    monkeypatch.setenv("SOFTPRIOR_CACHE", str(tmp_path / "cache"))
    assert fingerprint(path) == first


def test_errors_are_those_of_loading(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file or folder; give the path"):
        fingerprint("./nothing")
    with pytest.raises(ValueError, match="unknown dataset 'cifar1': did you mean 'cifar10'"):
        fingerprint("cifar1")
    file = write_parquet(tmp_path / "train.parquet", [b"1", b"2"], [0, 7], names="abc")
    with pytest.raises(ValueError, match=r"train.parquet, row 1: label 7 is not in 0\.\.2"):
        fingerprint(tmp_path)
    write_parquet(file, [b"1", None, b"3", b"4"], [0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"train.parquet, row 1: the image has no bytes"):
        fingerprint(file)
    image = folder(tmp_path / "images") / "train" / "a" / "0001.png"
    image.unlink()
    image.symlink_to("nowhere.png")
    with pytest.raises(ValueError, match=r"0001.png: the image cannot be read \(No such file"):
        fingerprint(tmp_path / "images")


def test_progress_ends_at_the_number_of_images(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    fingerprint(cifar(tmp_path / "set"), progress=lambda *call: calls.append(call))
    assert calls == [(60, 80), (80, 80)]


def test_large_images_are_hashed_a_few_at_a_time() -> None:
    contents = [(row, bytes(encoding.CHUNK_BYTES // 2 + 1)) for row in range(5)]
    assert [len(c) for c in encoding.chunks(iter(contents), 256)] == [2, 2, 1]
    assert [len(c) for c in encoding.chunks(((r, b"") for r in range(5)), 3)] == [3, 2]


# --- the cache ---------------------------------------------------------------------------------


def test_an_unchanged_path_is_not_opened_again(
    tmp_path: Path, cache: Path, hashed: list[int]
) -> None:
    path = folder(tmp_path / "set")
    first = fingerprint(path)
    assert len(hashed) == 16
    assert fingerprint(path) == fingerprint(f"{path}/") == first
    assert len(hashed) == 16
    assert len(list(cache.iterdir())) == 1
    assert fingerprint(path, cache=tmp_path / "elsewhere") == first
    assert len(hashed) == 32
    assert (tmp_path / "elsewhere" / "fingerprints").is_dir()


def test_a_change_that_keeps_size_and_times_is_seen(tmp_path: Path) -> None:
    """As ``cp --preserve`` makes it, at once: the time of the change of status is another."""
    for k in range(20):
        file = tmp_path / f"{k}.parquet"
        write_parquet(file, [b"1", b"2", b"3", b"4"], [0, 1, 0, 1])
        first, times = fingerprint(file), file.stat()
        content = file.read_bytes()
        write_parquet(file, [b"1", b"2", b"3", b"5"], [0, 1, 0, 1])
        assert len(file.read_bytes()) == len(content)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert fingerprint(file) != first


def test_an_image_behind_a_link_is_watched(tmp_path: Path) -> None:
    """As in the cache of the Hub; and links that lead in circles end."""
    path = folder(tmp_path / "set")
    blob = tmp_path / "blob"
    image = path / "train" / "a" / "0001.png"
    image.rename(blob)
    image.symlink_to(blob)
    (path / "train" / "a" / "back").symlink_to(path)
    (path / "itself").symlink_to("itself")
    first = fingerprint(path)
    assert fingerprint(path) == first
    numbered(78).save(blob, "PNG")
    assert fingerprint(path) != first


def test_an_empty_class_is_noticed(tmp_path: Path) -> None:
    path = folder(tmp_path / "set")
    fingerprint(path)
    (path / "train" / "c").mkdir()
    with pytest.raises(ValueError, match="c: no images"):
        fingerprint(path)


@pytest.mark.parametrize("content", ["", "{", "[]", "7", "{}", '{"fingerprint": 3}', "[" * 10**5])
def test_a_damaged_entry_is_written_again(tmp_path: Path, cache: Path, content: str) -> None:
    path = cifar(tmp_path / "set", 20, 8)
    first = fingerprint(path)
    (entry,) = cache.iterdir()
    good = entry.read_text()
    entry.write_text(content)
    assert fingerprint(path) == first
    assert entry.read_text() == good


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 1),
        ("path", "/elsewhere"),
        ("signature", "0"),
        ("versions", {}),
        ("fingerprint", "../../x"),
        ("more", 1),
    ],
)
def test_an_entry_of_other_conditions_is_not_believed(
    tmp_path: Path, cache: Path, key: str, value: object
) -> None:
    path = cifar(tmp_path / "set", 20, 8)
    first = fingerprint(path)
    (entry,) = cache.iterdir()
    stored = json.loads(entry.read_text()) | {"fingerprint": "0" * 32}
    entry.write_text(json.dumps(stored))
    assert fingerprint(path) == "0" * 32  # so it is the entry that is asked
    entry.write_text(json.dumps(stored | {key: value}))
    assert fingerprint(path) == first


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cifar(tmp_path / "set", 20, 8)
    first = fingerprint(path)
    (tmp_path / "file").write_text("")
    assert fingerprint(path, cache=tmp_path / "file") == first

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert fingerprint(path, cache=tmp_path / "new") == first
    assert not list((tmp_path / "new" / "fingerprints").iterdir())
    monkeypatch.setattr(fingerprint_cache, "folder", lambda: None)
    assert fingerprint(path) == first


def test_what_changes_while_it_is_read_is_not_remembered(tmp_path: Path, cache: Path) -> None:
    path = folder(tmp_path / "set")

    def change(done: int, total: int) -> None:
        (path / "train" / "a" / "0001.png").touch()

    fingerprint(path, progress=change)
    assert not cache.exists()


def test_many_at_once_write_one_whole_entry(tmp_path: Path, cache: Path) -> None:
    path = cifar(tmp_path / "set", 20, 8)
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(fingerprint, [path] * 16))) == 1
    (entry,) = cache.iterdir()
    assert json.loads(entry.read_text())["path"] == str(path)


@pytest.mark.parametrize(
    ("platform", "set_to", "wanted"),
    [
        ("linux", {"SOFTPRIOR_CACHE": "~/mine"}, "/home/me/mine"),
        ("linux", {}, "/home/me/.cache/softprior"),
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/softprior"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/softprior"),
        ("darwin", {"XDG_CACHE_HOME": "/xdg"}, "/home/me/Library/Caches/softprior"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/softprior"),
        ("win32", {}, "/home/me/AppData/Local/softprior"),
    ],
)
def test_where_the_cache_is(
    monkeypatch: pytest.MonkeyPatch, platform: str, set_to: dict[str, str], wanted: str
) -> None:
    for name in ("SOFTPRIOR_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **set_to}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert fingerprint_cache.folder() == Path(wanted)
