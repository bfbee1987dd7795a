"""Samples and batches of them."""

from typing import Any

import numpy as np
import pytest
import torch

from oasis.data.samples import Batch, Sample, collate
from oasis.errors import DataError


def make_sample(seed: int = 0, shape: tuple[int, ...] = (4, 5), bands: int = 2, context: int = 0) -> Sample:
    rng = np.random.default_rng(seed)
    target = rng.random((3, bands, *shape), np.float32)
    return Sample(
        target.sum(0),
        target,
        rng.random((1, *shape)) < 0.5,
        {"id": str(seed), "energy": seed + 0.5},
        rng.random((context, *shape), np.float32) if context else None,
    )


def assert_same(one: Sample, other: Sample) -> None:
    for name in ("image", "target", "valid"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype
    assert one.meta == other.meta
    np.testing.assert_array_equal(one.context, other.context)


@pytest.mark.parametrize("shape", [(6,), (4, 5), (2, 3, 4)])
@pytest.mark.parametrize("context", [0, 2])
def test_a_batch_holds_its_samples(shape: tuple[int, ...], context: int) -> None:
    samples = [make_sample(seed, shape, context=context) for seed in range(3)]
    batch = collate(samples)
    assert len(batch) == 3
    assert batch.image.dtype == batch.target.dtype == torch.float32
    assert batch.valid.dtype == torch.bool
    for one, other in zip(samples, batch.to("cpu").samples(), strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("dtype", [">f4", "<f8", "uint16"])
def test_images_of_other_number_types_become_float32(dtype: str) -> None:
    image = np.arange(4).reshape(1, 4).astype(dtype)
    batch = collate([Sample(image, image[None], np.ones((1, 4), bool))])
    assert batch.image.dtype == batch.target.dtype == torch.float32
    assert batch.image.flatten().tolist() == [0, 1, 2, 3]


def test_a_valid_mask_of_numbers_becomes_bool() -> None:
    image = np.ones((1, 4), np.float32)
    mask: Any = np.array([[0, 1, 1, 0]], np.uint8)
    valid = collate([Sample(image, image[None], mask)]).valid
    assert valid.dtype == torch.bool
    assert valid.tolist() == [[[False, True, True, False]]]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs a GPU")
def test_pinning_keeps_the_batch() -> None:
    batch = collate([make_sample(context=1)])
    pinned = batch.pin_memory()
    assert pinned.image.is_pinned()
    assert_same(pinned.samples()[0], batch.samples()[0])


def test_replace_changes_the_named_fields_alone() -> None:
    sample = make_sample()
    changed = sample.replace(meta={"id": "new"})
    assert changed.meta == {"id": "new"}
    assert_same(changed.replace(meta=sample.meta), sample)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": np.ones((3, 4, 5))}, ["target", "(3, 4, 5)", "(2, 4, 5)", "(classes, bands, *spatial)"]),
        ({"target": np.ones((3, 1, 4, 5))}, ["target", "(3, 1, 4, 5)", "(2, 4, 5)"]),
        ({"valid": np.ones((4, 5), bool)}, ["valid", "(4, 5)", "(1, 4, 5)"]),
        ({"valid": np.ones((2, 4, 5), bool)}, ["valid", "(2, 4, 5)", "(1, 4, 5)"]),
        ({"context": np.ones((4, 5))}, ["context", "(4, 5)", "(channels, *(4, 5))"]),
    ],
)
def test_a_sample_of_shapes_that_do_not_fit_is_refused(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        make_sample().replace(**changes)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (make_sample(shape=(4, 6)), ["different shapes", "(3, 2, 4, 5)", "(3, 2, 4, 6)"]),
        (make_sample(), ["context"]),
        (make_sample(context=2), ["context", "(1, 4, 5)", "(2, 4, 5)"]),
    ],
)
def test_samples_that_differ_form_no_batch(other: Sample, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        collate([make_sample(context=1), other])
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_batch_is_made_of_tensors_that_can_be_moved() -> None:
    batch = collate([make_sample(context=1)])
    moved = batch.to("meta")
    assert isinstance(moved, Batch)
    assert moved.context is not None
    assert {moved.image.device.type, moved.target.device.type, moved.valid.device.type} == {"meta"}
    assert moved.context.device.type == "meta"
