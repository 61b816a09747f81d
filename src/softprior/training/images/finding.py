"""Which reader reads which data set."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from softprior import checks
from softprior.training.images import digits, folder, hub, names, parquet, parquet_files
from softprior.training.images.source import Source

NAMES = ("digits", *hub.REPOSITORIES)


def check(name_or_path: str | Path) -> None:
    """Raise at once for an unknown name (ValueError) or a missing path (FileNotFoundError)."""
    text = str(name_or_path)
    if text in NAMES or (text and Path(text).expanduser().exists()):
        return
    path = Path(text)
    if path.name != text or path.suffix == ".parquet" or text.startswith(("~", ".")):
        raise FileNotFoundError(
            f"{text}: no such file or folder; give the path of a data set, or one of "
            f"{', '.join(NAMES)}"
        )
    raise ValueError(checks.unknown("dataset", text, NAMES) + ", or the path of a folder")


def find(name: str, cache: Path | None) -> Source:
    """A data set that :func:`check` let pass; ``cache`` is the folder for downloads."""
    if name == "digits":
        return digits.read()
    if name in hub.REPOSITORIES:
        return hub.read(name, cache)
    path = Path(name).expanduser()
    source: Source = reader(path).read(path)
    if source.drawn and (beside := _test_parts_beside(path.absolute())):
        note = f"not used: {', '.join(beside)} beside it; pass {path.absolute().parent} for both"
        source = source._replace(notes=(*source.notes, note))
    return source


def _test_parts_beside(path: Path) -> list[str]:
    """What is called as the test part of which this is the training part."""
    part, rest = names.part_within(path.stem)
    if part != "train":
        return []
    return sorted(
        other.name
        for other in path.parent.iterdir()
        if names.part_within(other.stem) in (("test", rest), ("validation", rest))
        and (other.is_dir() if path.is_dir() else parquet_files.is_parquet(other.name))
    )


def reader(path: Path) -> ModuleType:
    """The module that reads a path: :mod:`.parquet` or :mod:`.folder`."""
    if not path.is_dir() and not path.is_file():  # opening a pipe would wait for ever
        raise ValueError(
            f"{path}: a pipe or a device, wanted a folder or a Parquet file; write the data to one"
        )
    if parquet_files.any_below(path):
        return parquet
    if path.is_file():
        raise ValueError(checks.unknown("kind of file", path.suffix, [".parquet"]) + f": {path}")
    return folder
