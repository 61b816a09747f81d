"""Views of another size than the images', and the constants that pixels are brought to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bits import same_bits
from torch import Tensor, nn

from softprior import BetaPrior, TeacherPrior
from softprior.training import OwnData, Recipe, Store, fit, resolve
from softprior.training.augment import Views
from softprior.training.images import load as load_images
from softprior.training.images.moments import CONSTANTS
from softprior.training.loop import load

N, SIDE, VIEW, CLASSES = 40, 12, 8, 2


def pictures(n: int = N, height: int = SIDE, width: int = SIDE, channels: int = 3) -> Tensor:
    """uint8 (n, H, W, C), with a shape in them that every size shows."""
    g = torch.Generator().manual_seed(n + height)
    coarse = torch.rand(n, channels, 3, 3, generator=g)
    image = nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return (255 * image).round().byte().permute(0, 2, 3, 1).contiguous()


def own(pixels: Tensor) -> OwnData:
    labels = torch.arange(len(pixels)) % CLASSES
    return OwnData.of((pixels.numpy(), labels.numpy()))


def brought_to(pixels: Tensor, size: int) -> Tensor:
    view = Views(pixels, "none", (size, size)).epoch(torch.Generator())
    return view(torch.arange(len(pixels))).permute(0, 2, 3, 1).contiguous()


RECIPE = Recipe(
    dataset=own(pictures()),
    model="convnet",
    view_size=VIEW,
    normalisation="imagenet",
    epochs=2,
    batch_size=16,
    validation=0.2,
)


def test_training_sees_what_it_would_if_the_images_were_so_large(tmp_path: Path) -> None:
    """Network, steps, validation and predictions: all are of the size of the views."""
    small = replace(RECIPE, dataset=own(brought_to(pictures(), VIEW)), view_size=None)
    one, other = (fit(recipe, tmp_path) for recipe in (RECIPE, small))
    assert one.recipe.digest != other.recipe.digest
    same_bits(one, other)


SHAPES: list[tuple[int, ...]] = []


class Looking(nn.Sequential):
    """Remembers the shape that it was made for, and what it sees."""

    def __init__(self, shape: tuple[int, int, int], num_classes: int) -> None:
        SHAPES.append(shape)
        super().__init__(nn.Flatten(), nn.LazyLinear(num_classes))
        self(torch.zeros(1, *shape))

    def forward(self, x: Tensor) -> Tensor:
        SHAPES.append(tuple(x.shape[1:]))
        logits: Tensor = super().forward(x)
        return logits


@pytest.mark.filterwarnings("ignore:Lazy modules", "ignore:no temperature smooths")
@pytest.mark.parametrize("augment", ["none", "flip", "crop", "resized"])
@pytest.mark.parametrize("size", [5, SIDE, 17])  # smaller than the image, as large, larger
def test_networks_see_the_size_of_the_views_alone(tmp_path: Path, augment: str, size: int) -> None:
    first = replace(RECIPE, model=Looking, augment=augment, view_size=size, epochs=1)
    prior = TeacherPrior(strength=0.6)
    for student in (
        replace(first, prior=prior, teacher=first, match_smoothing=0.1),
        replace(first, prior=prior, teacher=first, teacher_targets="stored"),
        replace(first, prior=BetaPrior(), teacher="ema"),
    ):
        SHAPES.clear()
        fit(student, tmp_path)
        assert set(SHAPES) == {(3, size, size)}


def test_the_view_is_of_the_whole_image_after_training(tmp_path: Path) -> None:
    """Whatever training cuts out of it: as Pillow has it, to a level of grey."""
    from PIL import Image

    pixels = pictures()
    for image, ours in zip(pixels, brought_to(pixels, VIEW), strict=True):
        wanted = Image.fromarray(image.numpy()).resize((VIEW, VIEW), Image.Resampling.BILINEAR)
        difference = torch.frombuffer(bytearray(wanted.tobytes()), dtype=torch.uint8).int()
        assert (difference - ours.flatten().int()).abs().max() <= 1
    # A network that is not trained says of the views what it says of such images.
    idle = replace(RECIPE, learning_rate=1e-30, epochs=1)
    cut, plain = (fit(replace(idle, augment=a), tmp_path) for a in ("resized", "none"))
    assert torch.equal(cut.predictions("test")[0].argmax(1), plain.predictions("test")[0].argmax(1))


def test_images_that_are_no_squares_are_refused_before_training(tmp_path: Path) -> None:
    wide = replace(RECIPE, dataset=own(pictures(width=20)))
    with pytest.raises(
        ValueError, match=r"view_size 8 is a square, .* 12 × 20 pixels .* such as 12"
    ):
        fit(wide, tmp_path)
    data = load(replace(fit(replace(wide, resolution=12), tmp_path).recipe))
    assert data.size == (VIEW, VIEW)
    assert data.train.pixels.shape[1:] == (12, 12, 3)
    assert load(replace(wide, view_size=None, dataset=data_path(wide, tmp_path))).size == (12, 20)


def data_path(recipe: Recipe, root: Path) -> str:
    return str(resolve(recipe, root).dataset)


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_take_the_place_of_the_moments(tmp_path: Path, name: str) -> None:
    path = data_path(RECIPE, tmp_path)
    data = load_images(path, seed=0, validation=0.2, normalisation=name)
    mean, std = (torch.tensor(of, dtype=torch.float64) * 255 for of in CONSTANTS[name])
    assert torch.equal(data.mean, mean.float())
    assert torch.equal(data.std, std.float())
    grey = replace(RECIPE, dataset=own(pictures(channels=1)[..., 0]), normalisation=name)
    with pytest.raises(
        ValueError, match=f"normalisation '{name}' is of red, green and blue, and t"
    ):
        fit(grey, tmp_path)


def test_one_split_for_every_seed(tmp_path: Path) -> None:
    path = data_path(RECIPE, tmp_path)

    def held_out(**seeds: int) -> Tensor:
        return load_images(path, validation=0.2, **seeds).validation.pixels

    assert torch.equal(held_out(seed=0, split_seed=7), held_out(seed=1, split_seed=7))
    assert torch.equal(held_out(seed=0, split_seed=7), held_out(seed=7))
    assert not torch.equal(held_out(seed=0), held_out(seed=1))
    # Label noise, and all else, is still the seed's.
    of = [
        load_images(path, seed=seed, split_seed=7, validation=0.2, label_noise=0.5).train.labels
        for seed in (0, 1)
    ]
    assert not torch.equal(*of)


def test_a_run_of_another_seed_has_the_split_and_not_the_order(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one, other = (fit(replace(RECIPE, seed=seed, split_seed=5), store) for seed in (0, 1))
    for part in ("train", "validation"):
        assert torch.equal(one.predictions(part)[1], other.predictions(part)[1])
    assert not torch.equal(one.weights()["0.weight"], other.weights()["0.weight"])
