"""Views: pure functions of (generator, sample), and equal to a slow reference, one by one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from softprior.training.augment import (
    KINDS,
    PADDING,
    RATIO,
    SCALE,
    Boxes,
    EpochViews,
    Views,
    draw,
    normalise,
)


def keyed(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 40, height: int = 12, width: int = 10, channels: int = 3) -> Tensor:
    return torch.randint(256, (n, height, width, channels), dtype=torch.uint8)


def smooth(n: int = 40, height: int = 24, width: int = 24) -> Tensor:
    """Images without a hard edge, so that rounding a weight moves a pixel by little."""
    coarse = torch.rand(n, 3, 4, 4) * 255
    fine = F.interpolate(coarse, (height, width), mode="bilinear")
    return fine.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def reference(pixels: Tensor, boxes: Boxes, i: int, size: tuple[int, int], pad: int) -> Tensor:
    """View of one sample, (C, H, W), float32: pad, slice, flip, resize."""
    image = F.pad(pixels[i].permute(2, 0, 1).float(), (pad, pad, pad, pad))
    top, left, height, width, mirrored = (int(values[i]) for values in boxes)
    view = image[:, top : top + height, left : left + width]
    if mirrored:
        view = view.flip(-1)
    if view.shape[1:] == size:
        return view
    return F.interpolate(view[None], size, mode="bilinear", antialias=True)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_depends_on_its_sample_alone(kind: str) -> None:
    pixels = images()
    views = Views(pixels, kind)
    whole = views.epoch(keyed(1))(torch.arange(40))
    epoch = views.epoch(keyed(1))
    torch.rand(5)  # whatever else draws from the global generator
    for index in (torch.randperm(40), torch.tensor([7]), torch.tensor([3, 3, 39, 0])):
        assert torch.equal(epoch(index), whole[index])
    assert torch.equal(epoch(torch.arange(40)), whole)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_epochs_differ(kind: str) -> None:
    views = Views(images(), kind)
    index = torch.arange(40)
    assert not torch.equal(views.epoch(keyed(1))(index), views.epoch(keyed(2))(index))


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    for kind in KINDS:
        draw(kind, 9, (12, 10), keyed(0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_uint8_and_channels_last(kind: str, channels: int) -> None:
    pixels = images(channels=channels)
    kept = pixels.clone()
    batch = Views(pixels, kind).epoch(keyed(0))(torch.arange(5))
    assert batch.shape == (5, channels, 12, 10)
    assert batch.dtype == torch.uint8
    assert batch.is_contiguous(memory_format=torch.channels_last)
    batch.zero_()
    assert torch.equal(pixels, kept)
    inputs = normalise(batch, torch.zeros(channels), torch.ones(channels))
    assert inputs.is_contiguous(memory_format=torch.channels_last)


def test_none_is_the_identity() -> None:
    pixels, index = images(), torch.randperm(40)
    view = Views(pixels).epoch(keyed(0))(index)
    assert torch.equal(view, pixels[index].permute(0, 3, 1, 2))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["flip", "crop"])
def test_against_a_slow_reference(kind: str, channels: int) -> None:
    pixels, index = images(channels=channels), torch.randperm(40)
    batch = Views(pixels, kind).epoch(keyed(3))(index)
    boxes = draw(kind, 40, (12, 10), keyed(3))
    pad = PADDING if kind == "crop" else 0
    for view, i in zip(batch, index.tolist(), strict=True):
        assert torch.equal(view.float(), reference(pixels, boxes, i, (12, 10), pad))


@pytest.mark.parametrize("size", [(24, 24), (12, 12), (7, 31)])
@pytest.mark.parametrize("kind", KINDS)
def test_resized_against_a_slow_reference(kind: str, size: tuple[int, int]) -> None:
    pixels, index = smooth(), torch.randperm(40)
    batch = Views(pixels, kind, size).epoch(keyed(3))(index)
    boxes = draw(kind, 40, (24, 24), keyed(3))
    pad = PADDING if kind == "crop" else 0
    for view, i in zip(batch, index.tolist(), strict=True):
        error = (view.float() - reference(pixels, boxes, i, size, pad)).abs()
        # Two roundings of half a level, and as much again for weights of 8 bits.
        assert error.max() <= 2.0
        assert error.mean() <= 0.5


def test_resizing_against_pillow() -> None:
    image = pytest.importorskip("PIL.Image")
    np = pytest.importorskip("numpy")
    pixels = smooth(20)
    views = Views(pixels, "none", (10, 13)).epoch(keyed(0))(torch.arange(20))
    for view, source in zip(views, pixels, strict=True):
        theirs = image.fromarray(source.numpy()).resize((13, 10), image.Resampling.BILINEAR)
        error = view.permute(1, 2, 0).int() - torch.from_numpy(np.array(theirs)).int()
        assert error.abs().max() <= 2


def boxed(pixels: Tensor, top: int, left: int, height: int, width: int, mirrored: int) -> Tensor:
    """Every image through the same box."""
    box = torch.tensor([top, left, height, width, mirrored]).expand(len(pixels), 5)
    return EpochViews(Views(pixels, "resized"), box)(torch.arange(len(pixels)))


def test_the_full_box_is_the_identity_and_the_mirror_mirrors() -> None:
    pixels = images()
    expected = pixels.permute(0, 3, 1, 2)
    assert torch.equal(boxed(pixels, 0, 0, 12, 10, 0), expected)
    assert torch.equal(boxed(pixels, 0, 0, 12, 10, 1), expected.flip(-1))


def test_a_box_of_one_pixel_shows_that_pixel() -> None:
    pixels = images()
    view = boxed(pixels, 11, 9, 1, 1, 1)
    assert torch.equal(view, pixels[:, 11, 9, :, None, None].expand_as(view))


def test_every_value_survives() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1).expand(256, 6, 6, 1)
    index = torch.arange(256)
    for kind in KINDS:
        batch = Views(pixels, kind).epoch(keyed(0))(index)
        values = batch.flatten(1).amax(1)  # a crop has zeros beside it
        assert torch.equal(values, index.to(torch.uint8))


def test_resizing_is_exact() -> None:
    """Weights are multiples of 1/256, so float32 loses nothing: float64 gives the same bits."""
    pixels, index = images(), torch.arange(40)
    views = Views(pixels, "resized")
    assert views.weights is not None
    for weights in views.weights:
        assert torch.equal(weights * 256, (weights * 256).round())
        assert (weights >= 0).all()
        assert (weights[1:].sum(-1) == 1).all()
    batch = views.epoch(keyed(5))(index)
    boxes = draw("resized", 40, (12, 10), keyed(5))
    for i, view in enumerate(batch):
        top, left, height, width, mirrored = (int(values[i]) for values in boxes)
        box = pixels[i, top : top + height, left : left + width].permute(2, 0, 1).double()
        box = box.flip(-1) if mirrored else box
        rows = views.weights[0][height, :, :height].double()
        columns = views.weights[1][width, :, :width].double()
        assert torch.equal((rows @ (box @ columns.T).round()).round(), view.double())


def test_flips_are_fair_and_equal_among_kinds() -> None:
    n = 20_000
    flips = [draw(kind, n, (32, 32), keyed(0)).mirrored for kind in KINDS[1:]]
    assert torch.equal(flips[0], flips[1])
    assert torch.equal(flips[0], flips[2])
    assert stats.binomtest(int(flips[0].sum()), n).pvalue > 1e-3


def test_offsets_of_crops_are_uniform() -> None:
    boxes = draw("crop", 20_000, (32, 32), keyed(0))
    counts = torch.bincount(9 * boxes.top + boxes.left, minlength=81)
    assert len(counts) == 81
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("size", [(32, 32), (40, 8), (8, 40)])
def test_random_boxes_lie_in_the_image(size: tuple[int, int]) -> None:
    boxes = draw("resized", 20_000, size, keyed(0))
    for start, length, side in (
        (boxes.top, boxes.height, size[0]),
        (boxes.left, boxes.width, size[1]),
    ):
        assert start.min() >= 0
        assert length.min() >= 1
        assert (start + length).max() == side


def test_random_boxes_have_the_area_and_ratio_asked_for() -> None:
    side = 1000  # so large that rounding does not matter
    boxes = draw("resized", 20_000, (side, side), keyed(0))
    area = boxes.height * boxes.width / side**2
    ratio = boxes.width / boxes.height
    assert SCALE[0] * 0.99 <= area.min()
    assert area.max() <= SCALE[1]
    assert RATIO[0] * 0.99 <= ratio.min()
    assert ratio.max() <= RATIO[1] * 1.01
    # A small box always fits, so there nothing is redrawn and the law is the one drawn from.
    small = area[area < 0.5]
    assert stats.kstest(small.numpy(), stats.uniform(SCALE[0], 0.5 - SCALE[0]).cdf).pvalue > 1e-3
    inside = torch.log(ratio[area < 0.5]).numpy() / torch.log(torch.tensor(4 / 3)).item()
    assert stats.kstest(inside, stats.uniform(-1, 2).cdf).pvalue > 1e-3
    room = side + 1 - boxes.height
    starts = ((boxes.top + 0.5) / room)[room > 100]
    assert stats.kstest(starts.numpy(), stats.uniform(0, 1).cdf).pvalue > 1e-3


def test_normalise_is_per_channel() -> None:
    batch = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16)
    mean, std = torch.tensor([10.0, 120.0, 200.0]), torch.tensor([30.0, 60.0, 0.5])
    expected = (batch.double() - mean.double().view(3, 1, 1)) / std.double().view(3, 1, 1)
    torch.testing.assert_close(normalise(batch, mean, std), expected.float(), rtol=1e-6, atol=1e-5)
    assert normalise(batch, mean, std, torch.bfloat16).dtype == torch.bfloat16
    floats = batch.float()
    assert torch.equal(normalise(floats, mean, std), normalise(batch, mean, std))
    assert torch.equal(floats, batch.float())


def test_messages() -> None:
    with pytest.raises(ValueError, match=r"unknown augmentation 'crops': did you mean 'crop'\?"):
        Views(images(), "crops")
    with pytest.raises(ValueError, match=r"pixels must be uint8 \(n, H, W, C\), got torch.float32"):
        Views(images().float(), "crop")
