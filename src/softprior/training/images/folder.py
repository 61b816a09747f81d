"""Image folders: one directory per class, with or without parts; CUB's and Tiny-ImageNet's own."""

from __future__ import annotations

from pathlib import Path

from softprior import checks
from softprior.training.images import listed, names
from softprior.training.images.listing import Listing
from softprior.training.images.source import Part, Source, source

# Raised whenever equal data give other pixels or another order: the fingerprint then changes, too.
VERSION = 1

DEPTH = 4  # folders of folders that an archive may have been unpacked into

Folders = dict[str, list[Path]]  # of each class, by its name in one Unicode form


def read(path: Path) -> Source:
    """``train/`` and ``test/`` or ``val/``, each with a directory per class, or classes alone.

    Parts are known by their names, such as ``Training``, ``test_set`` or ``seg_train``, and may
    lie in folders of folders. Classes are numbered in the order of their names. Tiny-ImageNet and
    CUB-200-2011 are read as they are distributed, with their official parts. What is left out,
    the notes say.
    """
    if names.holds_images(path.name) and listed.is_cub(path.absolute().parent):
        parent = path.absolute().parent
        raise ValueError(
            f"{path}: {listed.SPLIT} beside it says which images are for testing; pass {parent}"
        )
    listing = Listing(path)
    root = _root(path, listing)
    if listed.is_cub(root):
        train, test, classes = listed.cub(root, listing)
        return source(train, test, classes, str(path), listing.said())
    parts = names.parts_among(listing.of(root).folders)
    if parts:
        return _with_parts(path, root, parts, listing)
    folders = _classes(root, listing)
    if not folders:
        found = ", ".join(f"{name}/" for name in listing.of(root).folders[:5])
        raise ValueError(
            f"{path}: neither Parquet files nor an image folder; wanted *.parquet, or a "
            "directory per class (below train/ and test/ or val/, or alone), or CUB-200-2011 or "
            f"Tiny-ImageNet as unpacked; found {found or 'no folders'}"
        )
    train = _by_class(root, folders, list(folders), listing)
    return source(train, None, tuple(folders), str(path), listing.said())


def _root(path: Path, listing: Listing) -> Path:
    """The folder of the parts or the classes: archives are unpacked into folders of folders."""
    here = path
    for _ in range(DEPTH):
        listed_here = listing.of(here)
        if listed.is_cub(here) or names.parts_among(listed_here.folders):
            break
        candidates = [name for name in listed_here.folders if not _is_none(name)]
        images = [
            name
            for name in listed_here.folders
            if names.holds_images(name) and listing.of(here / name).folders
        ]
        if len(images) == 1:
            if full := [name for name in candidates if listing.images(here / name)]:
                raise ValueError(
                    f"{here}: images in {full[0]}/ and in folders of {images[0]}/: pass "
                    f"{here / images[0]} if the classes are there, or move the others away"
                )
            below = images[0]
        elif len(candidates) == 1 and not listed_here.images and _holds(here, candidates, listing):
            below = candidates[0]
        else:
            break
        for name in listed_here.folders:
            if name != below:
                listing.leave("beside the images", here / name, "/")
        here = here / below
    if here != path:
        listing.notes.append(f"found in {here.relative_to(path)}/")
    return here


def _holds(here: Path, candidates: list[str], listing: Listing) -> bool:
    """Whether the only folder is no class, as it holds folders that may be parts or classes."""
    below = here / candidates[0]
    return any(
        not _is_none(name) or (names.holds_images(name) and listing.of(below / name).folders)
        for name in listing.of(below).folders
    )


def _is_none(name: str) -> bool:
    """Whether a folder is no class, by its name."""
    return names.holds_images(name) or names.lies_beside(name)


def _with_parts(path: Path, root: Path, parts: dict[str, list[str]], listing: Listing) -> Source:
    for part in ("train", "test"):
        if len(several := parts.get(part, [])) > 1:
            raise ValueError(
                f"{root}: several folders name the {part} part ({', '.join(several)}); keep one, "
                "or merge them"
            )
    if "train" not in parts:
        present = " and ".join(f"{name}/" for found in parts.values() for name in found)
        raise ValueError(
            f"{root}: there is no train/ beside {present}; add it, or, if these are classes, give "
            "them names that are not those of parts"
        )
    for name in listing.of(root).folders:
        if not any(name in found for found in parts.values()):
            listing.leave("beside the parts", root / name, "/")
    train = _inside(root / parts["train"][0], "train", listing)
    folders = _classes(train, listing)
    listed.agrees_with_wnids(root, train, folders)
    if not folders:
        raise ValueError(f"{train}: no directories, wanted one per class")
    classes = list(folders)
    test = None
    for name in (*parts.get("test", ()), *parts.get("validation", ())):
        held = _held_out(root / name, folders, listing)
        if held is None:
            listing.notes.append(f"not used: {name}/, as it has no labels")
        elif test is None:
            test = held
        else:
            listing.notes.append(f"not used: {name}/, as there is a test part")
    trained = _by_class(train, folders, classes, listing)
    return source(trained, test, tuple(classes), str(path), listing.said())


def _held_out(folder: Path, trained: Folders, listing: Listing) -> Part | None:
    if listed.is_annotated(folder):
        return listed.annotated(folder, list(trained))
    folder = _inside(folder, names.part_of(folder.name), listing)
    if not [name for name in listing.of(folder).folders if not _is_none(name)]:
        return None
    folders = _classes(folder, listing)
    _tell_spellings(listing, folders, trained)
    return _by_class(folder, folders, list(trained), listing)


def _tell_spellings(listing: Listing, *parts: Folders) -> None:
    spelt: dict[str, set[str]] = {}
    for name, path in ((n, path) for folders in parts for n in folders for path in folders[n]):
        spelt.setdefault(name, set()).add(path.name)
    if twice := [name for name, spellings in spelt.items() if len(spellings) > 1]:
        note = (
            f"classes written in several Unicode forms: {len(twice):,} (such as {twice[0]!r}), "
            "each taken as one"
        )
        if note not in listing.notes:
            listing.notes.append(note)


def _inside(folder: Path, part: str, listing: Listing) -> Path:
    """A part that was unpacked into a folder of the same name, or of images, in its folder."""
    for _ in range(DEPTH):
        folders = [name for name in listing.of(folder).folders if not names.lies_beside(name)]
        if len(folders) != 1:
            break
        (below,) = folders
        same = below == folder.name or (part and names.part_of(below) == part)
        if not (same or names.holds_images(below)) or not listing.of(folder / below).folders:
            break
        folder = folder / below
    return folder


def _classes(folder: Path, listing: Listing) -> Folders:
    """The folders of each class, in the order of their names."""
    found: Folders = {}
    listed_here = listing.of(folder)
    for name in listed_here.folders:
        if names.part_of(name):
            raise ValueError(
                f"{folder / name}: a folder that names a part, where one per class is wanted; lay "
                "parts out as train/CLASS/IMAGE, or give the folder another name"
            )
        if _is_none(name):
            listing.leave("beside the folders of classes", folder / name, "/")
        else:
            found.setdefault(names.composed(name), []).append(folder / name)
    _tell_spellings(listing, found)
    for name in listed_here.images if found else ():
        listing.leave("beside the folders of classes", folder / name)
    return dict(sorted(found.items()))


def _by_class(folder: Path, folders: Folders, classes: list[str], listing: Listing) -> Part:
    paths: list[Path] = []
    labels: list[int] = []
    numbers = {name: c for c, name in enumerate(classes)}
    for name, of_class in folders.items():
        if name not in numbers:
            raise ValueError(f"{folder}: {checks.unknown('class', name, classes)}")
        found = sorted(path for each in of_class for path in listing.images(each))
        if not found:
            raise ValueError(
                f"{of_class[0]}: no images ({', '.join(sorted(names.SUFFIXES))}); add some, or "
                "remove the directory"
            )
        paths += found
        labels += [numbers[name]] * len(found)
    return listed.part(paths, labels)
