"""What lies in the folders of a data set, and what of it is left out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from softprior.training.images import names


class Listed(NamedTuple):
    """One folder, without what is hidden; both by name."""

    folders: list[str]
    images: list[str]


class Listing:
    """Lists folders of one data set and counts what is left out, by reason."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notes: list[str] = []
        self._left: dict[str, tuple[set[str], str]] = {}

    def leave(self, reason: str, path: Path | str, mark: str = "") -> None:
        """Count a file or (``mark`` "/") a folder; the same one twice counts once."""
        shown = os.path.relpath(path, self.root) + mark
        if not shown.isprintable():  # a newline, or what would steer a terminal
            shown = ascii(shown)
        found, _ = self._left.setdefault(reason, (set(), shown))
        found.add(shown)

    def said(self) -> list[str]:
        """The notes, and a line for each reason."""
        return self.notes + [
            f"left out {reason}: {len(found):,} (such as {first})"
            for reason, (found, first) in self._left.items()
        ]

    def of(self, folder: Path) -> Listed:
        """The folders and images in a folder; links to folders count as folders.

        Raises:
            ValueError: it cannot be read.
        """
        folders, images = [], []
        try:
            with os.scandir(folder) as entries:
                # In the order of their names, so that the example is always the same.
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if names.is_hidden(entry.name):
                        is_folder = entry.is_dir(follow_symlinks=False)
                        self.leave("as hidden", entry.path, "/" * is_folder)
                    elif _is_folder(entry):
                        folders.append(entry.name)
                    elif names.is_image(entry.name):
                        if _can_be_opened(entry):
                            images.append(entry.name)
                        else:
                            self.leave("as no regular files", entry.path)
                    elif not names.is_text(entry.name):
                        self.leave("as no images by their names", entry.path)
        except OSError as error:
            raise ValueError(
                f"{folder}: cannot be read ({error.strerror}); correct its permissions, or leave "
                "it out"
            ) from error
        return Listed(folders, images)

    def images(self, folder: Path) -> list[Path]:
        """Image files below the folder of a class, at any depth, in the order of their paths."""
        found = []
        waiting = [folder]
        while waiting:
            here = waiting.pop()
            listed = self.of(here)
            for name in listed.folders:
                below = here / name
                if names.part_of(name):
                    raise ValueError(
                        f"{below}: a folder that names a part, inside of what would be a class; "
                        f"pass {here} if it is the data set, lay parts out as "
                        "train/CLASS/IMAGE, or give the folder another name"
                    )
                if names.lies_beside(name):
                    self.leave("beside the images", below, "/")
                elif below.is_symlink():
                    self.leave("as links to folders", below)  # they may lead in circles
                else:
                    waiting.append(below)
            masks = _masks(listed.images)
            for name in sorted(masks):
                self.leave("as masks of other images", here / name)
            found += [here / name for name in listed.images if name not in masks]
        return sorted(found)


def _masks(images: list[str]) -> set[str]:
    """Images such as "1_mask.png" beside "1.png"."""
    stems = {os.path.splitext(name)[0] for name in images}
    return {
        name
        for name in images
        if (whole := names.masked(os.path.splitext(name)[0])) and whole in stems
    }


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _can_be_opened(entry: os.DirEntry[str]) -> bool:
    """Opening a pipe would wait for ever; a link to nowhere is reported when it is opened."""
    try:
        return entry.is_file() or not os.path.exists(entry.path)
    except OSError:
        return True
