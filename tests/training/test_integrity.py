"""Whatever changes in finished files, and in checkpoints, is noticed before they are believed."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from bits import same_bits
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from softprior import Batch, Penalty, TeacherPrior, cli
from softprior.experiment.sections import gather
from softprior.training import Recipe, Run, Store, checkpoint, files, fit, generations, integrity
from softprior.training.recipe import FORMAT, NewFormatError
from softprior.training.run import FILES, DamagedError, open_run
from softprior.training.state import TrainingState

ONE = Recipe(epochs=1)
TWO = replace(ONE, initialisation=1)
EVERY = (*FILES, integrity.LIST)
Trained = Callable[[Recipe], Run]


@pytest.fixture
def store(tmp_path: Path, trained: Trained) -> Store:
    """A store of two runs."""
    for recipe in (ONE, TWO):
        shutil.copytree(trained(recipe).path, tmp_path / "runs" / recipe.digest)
    return Store(tmp_path / "runs")


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def flips(folder: Path, n: int) -> Iterator[str]:
    """n times a single bit, half of them wherever in the files, half of them in each in turn."""
    draw = random.Random(0)
    paths = sorted(folder.iterdir())
    sizes = [path.stat().st_size for path in paths]
    for k in range(n):
        file = draw.choices(paths, sizes)[0] if k % 2 else paths[k // 2 % len(paths)]
        content = file.read_bytes()
        bit = draw.randrange(8 * len(content))
        file.write_bytes(flipped(content, bit))
        yield f"bit {bit} of {file.name}"
        file.write_bytes(content)


def refused(store: Store, recipe: Recipe) -> bool:
    """Whether everybody who wants the run is told that it is damaged; the others go on."""
    path = store.root / recipe.digest
    with pytest.warns(UserWarning, match="is damaged and will be made again"):
        assert store.get(recipe) is None
    with pytest.warns(UserWarning, match="is damaged and left out"):
        assert recipe not in [run.recipe for run in store.runs()]
    with pytest.raises(DamagedError, match="is damaged"):
        open_run(path)
    with pytest.raises(DamagedError, match="is damaged"):
        Store(store.root.parent / "elsewhere").adopt(path)
    for read in (Run.predictions, Run.weights):
        with pytest.raises(ValueError, match="delete the folder"):
            read(Run(recipe, path), "test" if read is Run.predictions else "last")
    with pytest.raises(ValueError, match="delete the folder"):
        Run(recipe, path).history  # noqa: B018
    return not (store.root.parent / "elsewhere" / recipe.digest).exists()


@pytest.mark.parametrize("n", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_a_flipped_bit_of_a_run_is_noticed(n: int, store: Store) -> None:
    count = 0
    for flip in flips(store.root / ONE.digest, n):
        assert refused(store, ONE), flip
        count += 1
    assert count == n
    assert store.get(ONE) is not None
    assert {run.recipe for run in store.runs()} == {ONE, TWO}


@pytest.mark.parametrize("n", [16, pytest.param(50, marks=pytest.mark.slow)])
def test_a_flipped_bit_of_a_checkpoint_is_noticed(
    n: int, tmp_path: Path, checkpoints: Path
) -> None:
    folder = Path(shutil.copytree(checkpoints, tmp_path / "checkpoints"))
    older, newest = sorted(folder.glob("0*"))
    for flip in flips(newest, n):
        with pytest.warns(UserWarning, match=f"checkpoint .*{newest.name} is passed over") as all_:
            found = checkpoint.load(folder, ONE.digest)
        assert found is not None, flip
        assert found[2] == int(older.name.split("-")[1]), flip
        assert len(all_) == 1, flip
    found = checkpoint.load(folder, ONE.digest)
    assert found is not None
    assert found[2] == int(newest.name.split("-")[1])


class StopError(Exception):
    """Raised by a test in the middle of training."""


@pytest.fixture(scope="session")
def checkpoints(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """The last two checkpoints of a run that was stopped."""

    def stop(*_: Any) -> None:
        raise StopError

    def fill(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TrainingState, "end_epoch", stop)
            with pytest.raises(StopError):
                fit(ONE, Store(folder), checkpoint_every=0)

    return Store(once("checkpoints", fill)).partial(ONE)


def test_where_no_checkpoint_is_whole_training_starts_again_to_the_same_bits(
    tmp_path: Path, checkpoints: Path, trained: Trained
) -> None:
    store = Store(tmp_path)
    folder = Path(shutil.copytree(checkpoints, store.partial(ONE)))
    for k, path in enumerate(sorted(folder.glob("0*"))):
        file = path / checkpoint.FILES[k]
        file.write_bytes(flipped(file.read_bytes(), 77))
    (folder / "history.jsonl").write_bytes(b"\xff\n\xff")  # for progress alone
    with pytest.warns(UserWarning, match="is passed over") as caught:
        run = fit(ONE, store, checkpoint_every=0)
    assert len(caught) == 2
    same_bits(trained(ONE), run)


def test_a_damaged_checkpoint_is_written_again(tmp_path: Path, checkpoints: Path) -> None:
    folder = Path(shutil.copytree(checkpoints, tmp_path / "checkpoints"))
    newest = max(folder.glob("0*"))
    found = checkpoint.load(folder, ONE.digest)
    assert found is not None
    tensors, state, step = found
    (newest / "state.json").write_text("{}")
    checkpoint.save(folder, ONE.digest, tensors, state, step)
    again = checkpoint.load(folder, ONE.digest)
    assert again is not None
    assert again[1:] == (state, step)


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def longer(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\n")


def empty(file: Path) -> None:
    file.write_bytes(b"")


def of_another_run(file: Path) -> None:
    shutil.copy(file.parent.with_name(TWO.digest) / file.name, file)


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def a_device(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def a_link_to_nowhere(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


def with_old_times(file: Path) -> None:
    """As a tool that restores them leaves it: only the time of the change of status tells."""
    before = file.stat()
    file.write_bytes(flipped(file.read_bytes(), 3))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = (
    *(truncated, longer, empty, of_another_run, Path.unlink),
    *(a_folder, a_pipe, a_device, a_link_to_nowhere, with_old_times),
)


@given(name=st.sampled_from(EVERY), change=st.sampled_from(CHANGES))
def test_whatever_happens_to_a_file_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, trained: Trained, name: str, change: Any
) -> None:
    store = Store(tmp_path_factory.mktemp("changed") / "runs")
    for recipe in (ONE, TWO):
        shutil.copytree(trained(recipe).path, store.root / recipe.digest)
    time.sleep(0.03)
    assert store.get(ONE) is not None  # whole, and remembered as such
    file = store.root / ONE.digest / name
    before = file.read_bytes()
    change(file)
    if change is of_another_run and before == file.read_bytes():
        return  # their versions and machine, if they finished in the same second
    assert refused(store, ONE)
    assert store.get(TWO) is not None


def test_a_run_under_another_s_name_is_noticed(store: Store) -> None:
    shutil.rmtree(store.root / ONE.digest)
    shutil.copytree(store.root / TWO.digest, store.root / ONE.digest)
    with pytest.warns(UserWarning, match=f"damaged .*: it is the run of recipe {TWO.digest}"):
        assert store.get(ONE) is None
    with pytest.warns(UserWarning, match=f"left out: it is the run of recipe {TWO.digest}"):
        assert [run.recipe for run in store.runs()] == [TWO]


def test_a_damaged_run_is_made_again_and_set_aside(store: Store, trained: Trained) -> None:
    file = store.root / ONE.digest / "predictions.safetensors"
    file.write_bytes(flipped(file.read_bytes(), 8 * file.stat().st_size - 2))
    with pytest.warns(UserWarning, match="is damaged and will be made again") as caught:
        run = fit(ONE, store)
    assert len(caught) == 1
    same_bits(trained(ONE), run)
    assert len(list(store.root.glob(f"{ONE.digest}.damaged-*"))) == 1
    assert {run.recipe for run in store.runs()} == {ONE, TWO}


def test_a_damaged_teacher_is_made_again(store: Store, trained: Trained) -> None:
    student = list(generations(ONE, TeacherPrior(strength=0.6), 2))[1]
    truncated(store.root / ONE.digest / "best.safetensors")
    with pytest.warns(UserWarning, match=f"{ONE.digest} is damaged and will be made again"):
        run = fit(student, store)
    same_bits(trained(student), run)


def sealed(folder: Path, name: str, content: bytes) -> None:
    """Another content of a file, and a list that knows of it: as a stranger may have made it."""
    (folder / integrity.LIST).unlink()
    (folder / name).write_bytes(content)
    integrity.seal(folder)


FOREIGN = (
    *(b"", b"null", b"[]", b"{}", b'"text"', b"3", b"{", b"\xff\xfe", b"NaN", b'{"digest": 3}'),
    *(b"[" * 200_000, b'{"a":' * 200_000, b'{"teacher": ' * 900 + b"{}" + b"}" * 900, b"1" * 5000),
)


@given(
    name=st.sampled_from([name for name in FILES if name != "history.jsonl"]),
    content=st.sampled_from(FOREIGN) | st.binary(max_size=50),
)
def test_foreign_content_is_named_and_blocks_nothing(
    tmp_path_factory: pytest.TempPathFactory, trained: Trained, name: str, content: bytes
) -> None:
    store = Store(tmp_path_factory.mktemp("foreign") / "runs")
    for recipe in (ONE, TWO):
        shutil.copytree(trained(recipe).path, store.root / recipe.digest)
    path = store.root / ONE.digest
    sealed(path, name, content)
    if name.endswith(".safetensors"):
        run = Run(ONE, path)
        with pytest.raises(ValueError, match=f"{name} is no file of tensors"):
            run._tensors(name)
        return
    with pytest.raises(ValueError, match=path.name) as told:
        open_run(path)
    assert "\n" not in str(told.value)
    with pytest.warns(UserWarning, match=f"{path.name} is .*left out|of an earlier version"):
        assert [run.recipe for run in store.runs()] == [TWO]
    with pytest.warns(UserWarning, match="damaged"):
        assert store.get(ONE) is None


def test_a_foreign_history_is_told(store: Store) -> None:
    path = store.root / ONE.digest
    for content in (b"[" * 200_000, b"{", b"\xff"):
        sealed(path, "history.jsonl", content)
        with pytest.raises(ValueError, match=r"history\.jsonl"):
            Run(ONE, path).history  # noqa: B018


def test_a_run_of_a_newer_version_is_named_and_left_alone(store: Store) -> None:
    newer = (store.root / ONE.digest).rename(store.root / "0123456789abcdef")
    recipe = {**ONE.to_dict(), "format": FORMAT + 1, "unheard_of": 1}
    (newer / "more.json").write_text("{}")
    sealed(newer, "recipe.json", json.dumps(recipe).encode())
    with pytest.warns(UserWarning, match="0123456789abcdef was made by a newer version") as caught:
        assert [run.recipe for run in store.runs()] == [TWO]
    assert len(caught) == 1
    with pytest.raises(NewFormatError, match="upgrade"):
        open_run(newer)


def test_what_is_no_run_blocks_nothing(store: Store) -> None:
    (store.root / "notes").mkdir()
    (store.root / "README.txt").write_text("mine")
    with pytest.warns(UserWarning, match="notes .*left out"):
        assert {run.recipe for run in store.runs()} == {ONE, TWO}
    shutil.rmtree(store.root)
    assert list(store.runs()) == []


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes files unreadable, also where the tests run as root."""
    closed: list[Path] = []
    really = os.open

    def refusing(path: Any, *rest: Any, **more: Any) -> int:
        if any(Path(path).is_relative_to(file) for file in closed):
            raise PermissionError(13, "Permission denied", str(path))
        return really(path, *rest, **more)

    monkeypatch.setattr(os, "open", refusing)
    return closed.append


@pytest.mark.filterwarnings("default")  # main() shows them
@pytest.mark.parametrize("name", ["", "recipe.json", "best.safetensors", "SHA256SUMS"])
def test_no_permission_is_no_damage(
    name: str, store: Store, forbidden: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = store.root / ONE.digest
    forbidden(path / name)
    with pytest.warns(UserWarning, match="cannot be read: .*: Permission denied"):
        assert store.get(ONE) is None
    with pytest.warns(UserWarning, match="cannot be read and is left out: .*: Permission denied"):
        assert [run.recipe for run in store.runs()] == [TWO]
    rows: list[Any] = []
    with (
        pytest.warns(UserWarning, match="Permission denied"),
        pytest.raises(PermissionError, match=path.name),
    ):
        fit(ONE, Store(store.root), rows.append)
    assert rows == []  # before any training
    with pytest.raises(PermissionError):
        store.adopt(path)
    with pytest.warns(UserWarning, match="Permission denied"):
        (section,) = gather(store.root.parent)
    assert len(section.tables[0].rows) == 1
    assert path.is_dir()
    assert cli.main(["fit", "--epochs", "1", "--out", str(store.root.parent)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith(": Permission denied")


def test_checkpoints_without_permission_are_not_passed_over(
    tmp_path: Path, checkpoints: Path, forbidden: Callable[[Path], None]
) -> None:
    folder = Path(shutil.copytree(checkpoints, Store(tmp_path).partial(ONE)))
    forbidden(max(folder.glob("0*")) / "tensors.safetensors")
    with pytest.raises(PermissionError, match=r"tensors\.safetensors"):
        fit(ONE, Store(tmp_path))


def test_what_has_not_changed_is_not_read_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    really = files.sha256

    def counted(file: Path) -> str:
        read.append(file.name)
        return really(file)

    monkeypatch.setattr(files, "sha256", counted)
    time.sleep(0.03)  # a file as young as a step of the clock is read every time
    for _ in range(2):
        assert len(list(store.runs())) == 2
    assert len(read) == 2 * len(FILES)
    monkeypatch.setattr(integrity, "_whole", {})  # of another process
    assert len(list(store.runs())) == 2
    assert len(read) == 2 * len(FILES)
    os.utime(store.root / ONE.digest / "outcome.json")
    time.sleep(0.03)
    assert len(list(store.runs())) == 2
    assert len(read) == 3 * len(FILES)


def test_a_young_file_is_read_every_time(store: Store) -> None:
    """Within a step of the clock a second change has the time of the first."""
    file = store.root / ONE.digest / "weights.safetensors"
    content = file.read_bytes()
    for k in range(20):
        file.write_bytes(content)
        assert store.get(ONE) is not None
        file.write_bytes(flipped(content, 8000 + k))
        with pytest.warns(UserWarning, match="damaged"):
            assert store.get(ONE) is None


@pytest.mark.filterwarnings("default")  # main() shows them
def test_verify_reads_every_byte(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """As of a disk that forgets: nothing but the bytes has changed."""
    out = store.root.parent
    time.sleep(0.03)
    assert cli.main(["report", str(out), "--verify"]) == 0
    assert "2 whole, 0 not" in capsys.readouterr().out
    path = store.root / ONE.digest
    file = path / "predictions.safetensors"
    file.write_bytes(flipped(file.read_bytes(), 80_001))
    time.sleep(0.03)
    at, now = os.path.abspath(path), integrity.state(path, FILES).digest
    integrity._whole[at] = now
    integrity._remember(at, now)
    assert store.get(ONE) is not None
    assert cli.main(["report", str(out), "--verify"]) == 1
    shown = capsys.readouterr()
    assert "1 whole, 1 not" in shown.out
    assert f"{path} is damaged: predictions.safetensors is not as it was written" in shown.err
    assert shown.err.startswith("softprior: left out: ")
    assert shown.err.count(str(path)) == 1
    with pytest.warns(UserWarning, match="damaged"):
        assert store.get(ONE) is None


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask() -> Iterator[Callable[[int], Any]]:
    before = os.umask(0)
    os.umask(before)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077, 0o027, 0o000])
def test_files_have_the_rights_that_the_umask_leaves(
    mask: int, tmp_path: Path, trained: Trained, umask: Callable[[int], Any]
) -> None:
    there = Path(shutil.copytree(trained(ONE).path, tmp_path / "private"))
    for file in there.iterdir():
        file.chmod(0o600)
    there.chmod(0o700)
    umask(mask)
    store = Store(tmp_path / "runs")
    adopted = store.adopt(there)
    tensors = {name: {"a": torch.ones(1)} for name in ("weights", "best", "predictions")}
    put = store.put(
        TWO, tensors=tensors, history=[], outcome={"seconds": 1}, provenance={"versions": {}}
    )
    folder = tmp_path / "checkpoints"
    checkpoint.save(folder, ONE.digest, {"a": torch.ones(1)}, {"epoch": 0}, 1)
    for run in (adopted.path, put.path, folder / "00000-0000001"):
        assert mode(run) == 0o777 & ~mask
        assert {mode(file) for file in run.iterdir()} == {0o666 & ~mask}, run


def test_only_a_run_s_own_files_are_adopted(tmp_path: Path, trained: Trained) -> None:
    there = Path(shutil.copytree(trained(ONE).path, tmp_path / "there"))
    (tmp_path / "secret").write_text("secret")
    (there / "notes").symlink_to(tmp_path / "secret")
    (there / "folder").mkdir()
    (there / "folder" / "inside").symlink_to("/dev/zero")
    os.mkfifo(there / "pipe")
    (there / "run.sh").write_text("rm -r /")
    adopted = Store(tmp_path / "runs").adopt(there)
    assert {file.name for file in adopted.path.iterdir()} == set(EVERY)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [ONE.digest]
    same_bits(trained(ONE), adopted)


@pytest.mark.parametrize("name", EVERY)
def test_no_link_is_followed_when_a_run_is_adopted(
    name: str, tmp_path: Path, trained: Trained
) -> None:
    there = Path(shutil.copytree(trained(ONE).path, tmp_path / "there"))
    (there / name).rename(tmp_path / "secret")
    (there / name).symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match=rf"{name} is a link, wanted the file itself"):
        Store(tmp_path / "runs").adopt(there)
    assert list((tmp_path / "runs").iterdir()) == []


def test_an_adopted_run_takes_the_place_of_a_damaged_one(store: Store, trained: Trained) -> None:
    truncated(store.root / ONE.digest / "weights.safetensors")
    with pytest.warns(UserWarning, match="damaged"):
        adopted = store.adopt(trained(ONE).path)
    assert adopted.path == store.root / ONE.digest
    same_bits(trained(ONE), adopted)


@dataclass(frozen=True)
class WithoutEnd(Penalty):
    """Adds an infinite loss without a gradient in one epoch."""

    weight: float = 1.0
    at: int = 1

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        assert batch.progress is not None
        first = batch.progress <= 0.5
        return logits.sum(1) * 0 + (float("inf") if first == (self.at == 1) else 0.0)


class Lost(nn.Sequential):
    """A network in which something is not finite that the loss does not see."""

    unused: Tensor

    def __init__(self, shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, num_classes))
        self.register_buffer("unused", torch.zeros(1))
        self.calls = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.unused.fill_(float("nan"))
        return super().forward(inputs)


class LostOnTest(Lost):
    """A network that fails on images that it was not validated on."""

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = nn.Sequential.forward(self, inputs)
        return logits / 0 if len(inputs) > 200 and not self.training else logits


DIVERGING = {
    "learning rate": {"learning_rate": 1e30},
    "loss of the first epoch": {"penalty": WithoutEnd(at=1)},
    "loss of the last epoch": {"penalty": WithoutEnd(at=2)},
    "weights": {"model": Lost},
    "predictions": {"model": LostOnTest},
}


@pytest.mark.parametrize("how", DIVERGING)
def test_a_run_that_diverged_is_never_finished(how: str, tmp_path: Path) -> None:
    recipe = replace(ONE, epochs=2, **DIVERGING[how])
    with pytest.raises(FloatingPointError, match="training diverged; try a learning_rate below"):
        fit(recipe, tmp_path)
    assert not (tmp_path / recipe.digest).exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Store(tmp_path).get(recipe) is None


def test_whole_files_are_as_sha256sum_wants_them(trained: Trained) -> None:
    path = trained(ONE).path
    lines = (path / "SHA256SUMS").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == sorted(FILES)
    assert all(line.split("  ")[0] == files.sha256(path / line.split("  ")[1]) for line in lines)


def test_safetensors_may_be_read(trained: Trained) -> None:
    """What is checked is what is given out."""
    run = trained(ONE)
    stored = safetensors.torch.load_file(run.path / "predictions.safetensors")
    assert torch.equal(run.predictions("test", "last")[0], stored["test_logits_last"])
