"""Data sets larger than memory: the same tensors and views, from a file that leaves nothing."""

from __future__ import annotations

import errno
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from on_disk import cifar, encoded, numbered, write_parquet

from softprior import memory
from softprior.training import Recipe, Store, fit
from softprior.training.augment import KINDS, Views
from softprior.training.images import Dataset, load, mapped, moments


def read(path: Path | str) -> Dataset:
    return load(path, seed=0, validation=0.2)


def shallow(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """No memory is available from here on, and temporary files are in an empty folder."""
    folder.mkdir()
    monkeypatch.setattr(memory, "available", lambda: 0)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(mapped, "held_in_memory", lambda folder: False)  # wherever tests run
    return folder


def equal(one: Dataset, two: Dataset) -> bool:
    return all(
        torch.equal(a, b)
        for part, other in zip(one[:3], two[:3], strict=True)
        for a, b in zip(part, other, strict=True)
    )


def grey_then_colour(folder: Path) -> Path:
    """Its array grows from one channel to three while it is filled."""
    images = [encoded(numbered(k, mode="L" if k < 7 else "RGB")) for k in range(12)]
    for part in ("train", "test"):
        write_parquet(folder / f"{part}.parquet", images, [0, 1] * 6)
    return folder


@pytest.mark.parametrize("source", ["digits", "cifar", "grey, then colour"])
def test_mapped_pixels_are_those_in_memory(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path: Path | str = source
    if source != "digits":
        path = (cifar if source == "cifar" else grey_then_colour)(tmp_path / "data")
    expected = read(path)
    shallow(monkeypatch, tmp_path / "temporary")
    found = read(path)
    assert equal(found, expected)
    assert torch.equal(found.mean, expected.mean)
    assert torch.equal(found.std, expected.std)
    storages = {part.pixels.untyped_storage().data_ptr() for part in found[:3]}
    assert len(storages) == 1  # views of one tensor


def test_where_the_pixels_are_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cifar(tmp_path / "data")
    folder = shallow(monkeypatch, tmp_path / "temporary")
    size = 80 * 32 * 32 * 3
    for free, where in (
        (None, "0.2 MiB in memory"),  # not told: not checked
        (2 * size, "0.2 MiB in memory"),
        (2 * size - 1, f"mapped from a temporary file of 0.2 MiB in {folder}"),
    ):
        monkeypatch.setattr(memory, "available", lambda free=free: free)
        assert read(path).description.endswith(f"32 × 32 × 3, {where}, from {path}")


def test_memory_is_told_here() -> None:
    assert (memory.available() or 0) > 2**20


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not tell")
def test_the_file_has_no_name_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So nothing is left of it whatever ends the process; and its pages are the file's."""
    folder = shallow(monkeypatch, tmp_path / "temporary")
    seen: list[list[Path]] = []
    path = cifar(tmp_path / "data")
    data = load(path, seed=0, validation=0.2, progress=lambda *_: seen.append([*folder.iterdir()]))
    assert seen == [[], []]
    start = data.train.pixels.untyped_storage().data_ptr()
    lines = Path("/proc/self/maps").read_text().splitlines()
    (line,) = [line for line in lines if int(line.split("-")[0], 16) == start]
    assert str(folder) in line
    assert line.split()[1] == "rw-s"  # shared: the system may write a page back and forget it


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no space can be reserved here")
def test_a_full_disk_is_told_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cifar(tmp_path / "data")
    folder = shallow(monkeypatch, tmp_path / "temporary")
    asked: list[int] = []

    def full(descriptor: int, offset: int, size: int) -> None:
        asked.append(size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    decoded: list[int] = []
    with pytest.raises(OSError, match="the images take 0 MiB, more than half of the mem") as caught:
        load(path, seed=0, validation=0.2, progress=lambda done, _: decoded.append(done))
    said = str(caught.value)
    assert f"a temporary file in {folder}, which has " in said
    assert "MiB free (No space left on device): set TMPDIR to a folder on a larger disk" in said
    assert said.endswith("lower --resolution or take a --subset")
    assert "\n" not in said
    assert asked == [80 * 32 * 32 * 3]
    assert decoded == []
    assert list(folder.iterdir()) == []


def test_where_space_cannot_be_reserved_the_file_grows_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = read("digits")
    shallow(monkeypatch, tmp_path / "temporary")
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    assert equal(read("digits"), expected)


@pytest.mark.skipif(not Path("/dev/shm").is_mount(), reason="no folder in memory is known here")
def test_a_temporary_folder_in_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mapped.held_in_memory(Path("/dev/shm/deeper/down"))
    assert not mapped.held_in_memory(Path("/proc"))
    monkeypatch.setattr(memory, "available", lambda: 0)
    monkeypatch.setattr(tempfile, "tempdir", "/dev/shm")
    with pytest.raises(OSError, match="files in /dev/shm are held in memory, too: set TMPDIR to a"):
        read("digits")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [None, (9, 14)])
@pytest.mark.parametrize("kind", KINDS)
def test_views_of_mapped_pixels_are_those_in_memory(
    kind: str,
    size: tuple[int, int] | None,
    channels: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pixels = torch.randint(256, (30, 12, 10, channels), dtype=torch.uint8)
    expected = Views(pixels, kind, size)
    shallow(monkeypatch, tmp_path / "temporary")
    array, _ = mapped.zeros(tuple(pixels.shape))
    file = torch.from_numpy(array)
    file.copy_(pixels)
    views = Views(file, kind, size)
    assert views.pixels.data_ptr() == file.data_ptr()  # no copy of a data set beside it
    for index in (torch.arange(30), torch.tensor([29]), torch.tensor([3, 3, 0, 17])):
        view, other = (v.epoch(torch.Generator().manual_seed(4))(index) for v in (views, expected))
        assert torch.equal(view, other)
        assert view.is_contiguous(memory_format=torch.channels_last)


def test_a_padded_copy_is_made_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = torch.randint(256, (5, 12, 10, 3), dtype=torch.uint8)
    size = 5 * 20 * 18 * 3
    for free, shape in ((2 * size, (5, 20, 18, 3)), (2 * size - 1, (5, 12, 10, 3))):
        monkeypatch.setattr(memory, "available", lambda free=free: free)
        assert Views(pixels, "crop").pixels.shape == shape


@pytest.mark.parametrize("augment", ["none", "crop"])
def test_a_run_on_mapped_pixels_has_the_same_bits(
    augment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(Recipe(epochs=1), augment=augment)
    expected = fit(recipe, Store(tmp_path / "a"), cpu=True)
    shallow(monkeypatch, tmp_path / "temporary")
    run = fit(recipe, Store(tmp_path / "b"), cpu=True)
    assert "mapped from a temporary file" in run.outcome["data"]
    for key, value in expected.weights().items():
        assert torch.equal(value, run.weights()[key])
    assert torch.equal(run.predictions("test")[0], expected.predictions("test")[0])


@pytest.mark.parametrize("chunk", [1, 700, 2**24])
def test_moments_are_the_same_in_pieces(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = torch.randint(256, (17, 6, 5, 3), dtype=torch.uint8)
    monkeypatch.setattr(moments, "CHUNK", chunk)
    mean, std = moments.mean_and_std(pixels)
    flat = pixels.double().flatten(0, 2)
    torch.testing.assert_close(mean, flat.mean(0).float())
    torch.testing.assert_close(std, flat.std(0).float())
