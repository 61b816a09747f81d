"""Data sets of images: the laws of parts, subsets and noise, whatever the format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from on_disk import cifar, encoded, identity, numbered, write_parquet

from softprior.training.images import NAMES, Dataset, check, load
from softprior.training.images.noise import noisy
from softprior.training.images.picture import MODES
from softprior.training.images.splits import generator, stratified
from softprior.training.images.subset import parse

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cifar(tmp_path_factory.mktemp("cifar"))


def equal(one: Dataset, two: Dataset) -> bool:
    return all(
        torch.equal(a, b)
        for part, other in zip(one[:3], two[:3], strict=True)
        for a, b in zip(part, other, strict=True)
    )


# --- parts -------------------------------------------------------------------------------------


def test_a_dataset_is_what_it_says(small: Path) -> None:
    d = load(small, seed=0, validation=0.2)
    for part, n in ((d.train, 48), (d.validation, 12), (d.test, 20)):
        assert part.pixels.shape == (n, 32, 32, 3)
        assert part.pixels.dtype == torch.uint8
        assert part.labels.shape == (n,)
        assert part.labels.dtype == torch.int64
        assert torch.equal(part.labels, part.clean)
        assert [k % 4 for k in identity(part.pixels)] == part.labels.tolist()
    assert d.classes == ("class 0", "class 1", "class 2", "class 3")
    assert d.description == (
        f"{small.name}: 48 training, 12 validation and 20 test images of 4 classes, "
        f"32 × 32 × 3, 0.2 MiB in memory, from {small}"
    )


def test_parts_are_disjoint_and_stratified(small: Path) -> None:
    d = load(small, seed=5, validation=0.2)
    assert sorted(identity(d.train.pixels) + identity(d.validation.pixels)) == list(range(60))
    assert identity(d.test.pixels) == list(range(60, 80))
    assert d.validation.labels.bincount().tolist() == [3] * 4
    assert d.train.labels.bincount().tolist() == [12] * 4


def test_the_seed_alone_moves_validation_and_nothing_moves_the_test_set(small: Path) -> None:
    first = load(small, seed=1, validation=0.2)
    torch.rand(5)  # whatever else draws from the global generator
    assert equal(first, load(small, seed=1, validation=0.2))
    other = load(small, seed=2, validation=0.2)
    assert not torch.equal(first.validation.pixels, other.validation.pixels)
    assert torch.equal(first.test.pixels, other.test.pixels)


def test_digits_are_split_as_ever() -> None:
    from sklearn.datasets import load_digits

    d = load("digits", seed=3, validation=0.1)
    bunch = load_digits()
    images, labels = torch.from_numpy(bunch.images).float(), torch.from_numpy(bunch.target)
    test, rest = stratified(labels, 0.5, generator("digits", "test"))
    held, kept = stratified(labels[rest], 0.1, generator("validation", 3))
    for part, rows in ((d.train, rest[kept]), (d.validation, rest[held]), (d.test, test)):
        assert torch.equal(part.pixels[..., 0].float(), images[rows])
        assert torch.equal(part.labels, labels[rows])
    assert int(d.train.pixels.max()) == 16
    assert torch.allclose(d.mean, images[rest[kept]].mean(), rtol=1e-6)
    assert torch.allclose(d.std, images[rest[kept]].std(), rtol=1e-6)
    assert d.classes == tuple("0123456789")
    assert d.description.endswith("10 classes, 8 × 8 × 1, 0.1 MiB in memory, from scikit-learn")


def test_moments_are_those_of_the_training_part(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    from PIL import Image

    noise = rng.integers(0, 256, (12, 5, 7, 3), dtype=np.uint8)
    noise[..., 2] = 9
    images = [encoded(Image.fromarray(pixels)) for pixels in noise]
    write_parquet(tmp_path / "train.parquet", images, [0, 1] * 6)
    d = load(tmp_path, seed=0, validation=0.2)
    flat = d.train.pixels.double().flatten(0, 2)
    assert torch.allclose(d.mean, flat.mean(0).float())
    assert torch.allclose(d.std[:2], flat.std(0).float()[:2])
    assert d.std[2] == 1  # never varies
    assert d.mean.dtype == d.std.dtype == torch.float32


def test_progress_ends_at_the_number_of_images(small: Path) -> None:
    said: list[tuple[int, int]] = []
    load(small, seed=0, validation=0.2, progress=lambda done, total: said.append((done, total)))
    assert said == [(60, 80), (80, 80)]


def test_validation_must_leave_every_class_an_image(tmp_path: Path) -> None:
    images = [encoded(numbered(k)) for k in range(6)]
    write_parquet(tmp_path / "train.parquet", images, [0, 0, 0, 0, 0, 1])
    write_parquet(tmp_path / "test.parquet", images[:2], [0, 1])
    with pytest.raises(ValueError, match=r"class 1 \(1\) has 1 training images and validation"):
        load(tmp_path, seed=0, validation=0.1)


# --- subsets -----------------------------------------------------------------------------------


def of_subset(path: Path, subset: str, seed: int = 0) -> tuple[set[int], list[int], Dataset]:
    """Which images are trained on (and validated), which tested on."""
    d = load(path, seed=seed, validation=0.2, subset=subset)
    used = identity(d.train.pixels) + identity(d.validation.pixels)
    return set(used), identity(d.test.pixels), d


@pytest.mark.parametrize("seed", range(3))
def test_a_subset_is_drawn_once_for_all_runs_and_tests_on_what_it_leaves_out(
    small: Path, seed: int
) -> None:
    text = f"classes=3,per_class=5,seed={seed}"
    used, tested, d = of_subset(small, text)
    assert (used, tested) == of_subset(small, text, seed=9)[:2]  # not from the run's seed
    classes = sorted({k % 4 for k in used})
    assert (len(used), len(classes)) == (15, 3)
    assert d.classes == tuple(f"class {c}" for c in classes)
    official = [k for k in range(60, 80) if k % 4 in classes]
    assert d.official == len(official)
    assert tested == official + [k for k in range(60) if k % 4 in classes and k not in used]
    for part in d[:3]:  # labels count the classes that are left
        assert [classes.index(k % 4) for k in identity(part.pixels)] == part.labels.tolist()
    fewer, _, _ = of_subset(small, f"classes=2,per_class=4,seed={seed}")
    assert fewer < used
    assert "tested on 15 official test images and 30 that the subset leaves out" in d.description


def test_a_subset_s_seed_draws_classes_and_images(small: Path) -> None:
    seeds = range(6)
    assert len({tuple(of_subset(small, f"classes=2,seed={s}")[2].classes) for s in seeds}) > 1
    assert len({frozenset(of_subset(small, f"per_class=5,seed={s}")[0]) for s in seeds}) == 6
    plain, tested, d = of_subset(small, "classes=4")
    assert (len(plain), len(tested), d.official) == (60, 20, 20)


def test_copies_of_training_images_leave_the_test_part_of_a_subset(tmp_path: Path) -> None:
    images = [encoded(numbered(k % 20)) for k in range(40)]  # each twice
    labels = [k % 2 for k in range(40)]
    write_parquet(tmp_path / "train.parquet", images, labels)
    tests = [*images[:6], *(encoded(numbered(k)) for k in range(100, 104))]
    write_parquet(tmp_path / "test.parquet", tests, [0, 1] * 5)
    used, tested, d = of_subset(tmp_path, "per_class=8")
    assert not used & set(tested)
    assert d.official == len([k for k in range(6) if k not in used]) + 4
    assert tested[d.official - 4 : d.official] == [100, 101, 102, 103]
    gone = 10 + 40 - 16 - len(tested)
    assert f"{gone} test images are training images, byte for byte: they are left out" in (
        d.description
    )
    assert load(tmp_path, seed=0, validation=0.2).test.labels.shape == (10,)  # as published
    write_parquet(tmp_path / "test.parquet", images[:2], [0, 1])
    with pytest.raises(ValueError, match="every test image of the subset is also a training"):
        load(tmp_path, seed=0, validation=0.2, subset="per_class=20")


def test_only_the_chosen_images_are_decoded(tmp_path: Path) -> None:
    drawn = torch.randperm(3, generator=generator("subset classes", 0))[:2].tolist()
    images = [encoded(numbered(k)) if k % 3 in drawn else b"not an image" for k in range(30)]
    labels = [k % 3 for k in range(30)]
    write_parquet(tmp_path / "train.parquet", images, labels)
    tests = [encoded(numbered(k)) for k in range(30, 60)]
    write_parquet(tmp_path / "test.parquet", tests, labels)
    d = load(tmp_path, seed=0, validation=0.2, subset="classes=2")
    assert len(d.test.labels) == 20
    with pytest.raises(ValueError, match=r"row \d: the image cannot be decoded"):
        load(tmp_path, seed=0, validation=0.2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("20", "subset must look like 'classes=20,per_class=200' .*, got '20'"),
        ("", "subset must look like .*, got ''"),
        ("clases=2", "unknown key of subset 'clases': did you mean 'classes'"),
        ("classes=2,classes=3", "has classes twice: keep one"),
        ("classes=1", "classes must be an integer ≥ 2, got '1'"),
        ("seed=1", "has a seed and nothing to draw"),
        ("per_class=4,seed=-1", "seed must be an integer ≥ 0, got '-1'"),
        ("per_class=0", "per_class must be an integer ≥ 1, got '0'"),
        ("per_class=ten", "per_class must be an integer ≥ 1, got 'ten'"),
        ("classes=5", "subset asks for 5 classes, and .* has 4"),
        ("per_class=16", r"16 training images per class, and class 0 \(class 0\) has 15"),
    ],
)
def test_bad_subsets_are_named(small: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load(small, seed=0, validation=0.2, subset=text)


def test_a_subset_string_is_parsed() -> None:
    assert parse(" classes = 3 , per_class=2") == (3, 2, 0)
    assert parse("per_class=2,seed=7") == (None, 2, 7)
    assert parse("per_class=2").text == "per_class=2,seed=0"


# --- label noise -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["symmetric", "pair"])
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.45, 1.0])
def test_noise_has_exactly_the_rate_asked_for(kind: str, rate: float) -> None:
    labels = torch.arange(1001) % 7
    wrong = noisy(labels, 7, rate, kind, generator("noise", 0)) != labels
    assert int(wrong.sum()) == round(rate * 1001)


def test_noise_is_nested_over_rates() -> None:
    labels = torch.arange(1000) % 5
    low, high = (noisy(labels, 5, rate, "symmetric", generator("n")) for rate in (0.2, 0.4))
    assert torch.equal(high[low != labels], low[low != labels])


def test_symmetric_noise_takes_every_other_class_alike_and_pairs_the_next() -> None:
    labels = torch.arange(30_000) % 3
    shift = (noisy(labels, 3, 1.0, "symmetric", generator("n")) - labels) % 3
    share = float((shift == 1).double().mean())
    assert abs(share - 0.5) < 4 * 0.5 / 30_000**0.5
    assert torch.equal(noisy(labels, 3, 1.0, "pair", generator("n")), (labels + 1) % 3)


def test_noise_leaves_truth_test_set_split_and_pixels_alone(small: Path) -> None:
    clean = load(small, seed=4, validation=0.2)
    d = load(small, seed=4, validation=0.2, label_noise=0.4, noise_kind="pair")
    for part, other in zip(d[:3], clean[:3], strict=True):
        assert torch.equal(part.clean, other.clean)
        assert torch.equal(part.pixels, other.pixels)
    assert torch.equal(d.test.labels, d.test.clean)
    wrong = [int((part.labels != part.clean).sum()) for part in d[:2]]
    assert sum(wrong) == 24
    assert d.description.endswith("pair noise on 0.4 of training and validation labels")
    assert equal(d, load(small, seed=4, validation=0.2, label_noise=0.4, noise_kind="pair"))
    # A label does not depend on who holds the sample.
    e = load(small, seed=4, validation=0.5, label_noise=0.4, noise_kind="pair")
    by_image = [
        {
            k: label
            for part in data[:2]
            for k, label in zip(identity(part.pixels), part.labels.tolist(), strict=True)
        }
        for data in (d, e)
    ]
    assert by_image[0] == by_image[1]


def test_bad_settings_are_named(small: Path) -> None:
    for setting, said in (
        ({"label_noise": 1.5}, r"label_noise must be a number in \[0, 1\], got 1.5"),
        ({"noise_kind": "pairs"}, "unknown noise_kind 'pairs': did you mean 'pair'"),
        ({"resolution": 0}, "resolution must be an integer ≥ 1, got 0"),
        ({"validation": 0.0}, r"validation must be a number in \(0, 0.9\], got 0.0"),
    ):
        with pytest.raises(ValueError, match=said):
            load(small, **{"seed": 0, "validation": 0.2, **setting})  # type: ignore[arg-type]


# --- names -------------------------------------------------------------------------------------


def test_check_is_silent_for_names_and_paths(small: Path) -> None:
    for name in (*NAMES, small, str(small)):
        check(name)
    assert NAMES == ("digits", "cifar10", "cifar100", "cub200", "tiny-imagenet")


@pytest.mark.parametrize("path", ["data/cifar", "./cifar10", "~/nothing-here", "x.parquet"])
def test_a_missing_path_is_named(path: str) -> None:
    with pytest.raises(FileNotFoundError, match="no such file or folder; give the path"):
        check(path)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"unknown dataset 'cifar': did you mean 'cifar10'\? .* the path of a"
    ):
        check("cifar")
    with pytest.raises(ValueError, match="unknown dataset ''"):
        check("")


def test_every_mode_is_read_as_grey_or_rgb() -> None:
    assert set(MODES.values()) == {"L", "RGB"}
