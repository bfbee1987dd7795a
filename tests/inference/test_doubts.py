"""Measured images that are probably not what they are taken for: said once for a file, and not of others."""

import numpy as np
import pytest

from oasis.adapters.ccd import CcdAdapter
from oasis.adapters.cygno import CygnoAdapter
from oasis.adapters.folder import FolderAdapter
from oasis.adapters.galaxy import GalaxyAdapter
from oasis.adapters.migdal import MigdalAdapter
from oasis.adapters.reading import say_saturated
from oasis.data.images import Images
from oasis.inference.reader import Reader


def migdal():
    adapter, rng = MigdalAdapter({}), np.random.default_rng(0)
    detector = adapter.options.detector
    frames = np.stack([detector.noise(rng, detector.field) for _ in range(2)]).clip(0)
    frames[0, 40:60, 40:90] += 300
    offset, suppressed = frames + 1600, np.where(frames < 24, 0, frames)
    raw = np.repeat(np.repeat(frames / 16, 4, axis=1), 4, axis=2) + 100
    return adapter, {
        "adu": (frames, ""),
        "suppressed": (suppressed, ""),
        "offset": (offset, "subtract a dark frame"),
        "raw": (raw, "subtract a dark frame"),
        "turned": (frames.transpose(0, 2, 1), "the order of their axes"),
        "kev": (frames / 1925, "frames are in ADU"),
        "twice": (frames - 1600, "no dark frame was subtracted twice"),
    }


def ccd():
    adapter = CcdAdapter({})
    image = np.random.default_rng(0).normal(0, adapter.options.sensor.noise_e, (2, 128, 128))
    image[0, 20:24, 30:34] += 5000
    return adapter, {
        "e": (image, ""),
        "adu": (100 * image, "gain"),
        "kev": (image / 270, "gain"),
        "low": (-image, "is negative"),
    }


def galaxy():
    adapter = GalaxyAdapter({"library": {"simulated": 20}})
    image = np.random.default_rng(0).normal(size=(2, 3, 64, 64)) * adapter.sky_noise[:, None, None]
    image[0, :, 20:30, 30:40] += 1
    noise, middle = adapter.sky_noise[:, None, None], np.square(np.indices((64, 64)) - 31.5).sum(axis=0)
    large = image + 30 * noise * np.exp(-np.sqrt(middle) / 12)  # a galaxy that fills the image
    return adapter, {
        "nmgy": (image, ""),
        "ujy": (3.631 * image, ""),
        "njy": (3631 * image, "check its unit"),
        "large": (large, ""),
        "lifted": (image + 4 * noise, "subtract the level of the sky"),
        "lowered": (image - 2 * noise, "subtract the level of the sky"),
    }


def folder():
    adapter = FolderAdapter({"folder": "x", "classes": ["a", "b"], "camera": {"offset": 100}})
    image = np.random.default_rng(0).normal(110, 5, (2, 32, 32))
    low = image - 60
    return adapter, {
        "above": (image, ""),
        "below": (low, "image 0 is below 0 everywhere"),
        "lit": (image - 15, ""),
        "object": (np.where(np.indices((2, 32, 32))[1] < 8, low + 500, low), "times its noise in half"),
    }


@pytest.mark.parametrize("domain", [migdal, ccd, galaxy, folder])
def test_images_of_another_unit_are_doubted_once(tmp_path, caplog, domain):
    adapter, cases = domain()
    for name, (values, expected) in cases.items():
        np.save(tmp_path / f"{name}.npy", values.astype(np.float32))
        reader = Reader(adapter)
        caplog.clear()
        count = reader.shape(tmp_path / f"{name}.npy").images
        for number in range(count):
            reader.images(tmp_path / f"{name}.npy", number, number + 1)
        said = [record.getMessage() for record in caplog.records if name in record.getMessage()]
        assert len(said) == bool(expected), (name, said)
        assert expected in "".join(said)


def test_a_saturated_object_is_said_and_hot_pixels_are_not(tmp_path, caplog):
    values = np.full((3, 200, 300), 100, np.uint16)
    values[:, ::50, ::60] = 65535  # single pixels
    assert not say_saturated(tmp_path / "a.npy", values[:, :100])
    values[1, 50:60, 70:80] = 65535
    assert say_saturated(tmp_path / "a.npy", values[:, :100])
    assert "probably saturated" in caplog.text


def test_images_of_another_pedestal_are_doubted():
    adapter, rms = CygnoAdapter({}), np.random.default_rng(1).uniform(1, 3, (1, 1, 64, 64))
    image = rms * np.random.default_rng(0).normal(size=rms.shape)

    def doubt(values):
        return adapter.doubt(Images(values.astype(np.float32), np.log(rms).astype(np.float32)))

    assert not doubt(image)
    assert "the rms of the pedestal" in doubt(image + 100)
    assert "with a noise of 10" in doubt(image * 10)
