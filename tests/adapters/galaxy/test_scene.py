"""Blends: the noise is noise, flux is kept, and galaxies lie where the options say; 8 s."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from oasis.adapters.galaxy import survey
from oasis.adapters.galaxy.scene import NEIGHBOURS, TARGET, BlendOptions, GalaxyScene
from oasis.adapters.galaxy.stamps import Stamps
from oasis.data.mixing import Mixer, add_up, keyed_rng
from oasis.errors import ConfigError, DataError

TWO = (TARGET, NEIGHBOURS)
FOUR = ("galaxy_1", "galaxy_2", "galaxy_3", "galaxy_4")
BANDS = ("g", "r", "z")
SKY = np.array([survey.sky_noise(band) for band in BANDS])


def library_of(flux, noise=None, r50=1.0):
    """A library of stamps as they are, with half-light radii in arcsec as told."""
    table = {
        "name": np.arange(len(flux)),
        "approximate": np.zeros(len(flux), bool),
        "r50": np.full(len(flux), r50),
    }
    table |= {f"flux_{band}": flux[:, index].sum((1, 2), np.float64) for index, band in enumerate(BANDS)}
    noise = np.zeros((len(flux), 3)) if noise is None else np.broadcast_to(noise, (len(flux), 3))
    return Stamps(
        flux.astype(np.float32), noise.astype(np.float32), table, BANDS, survey.PIXEL_SCALE, np.ones(3, np.float32)
    )


def gaussians(count, size=33, seed=0, faintest=21.5):
    """Galaxies of 17.5 mag and fainter, each of its own shape; 0 in the corners, as measured ones are."""
    rng = np.random.default_rng(seed)
    rows, cols = np.indices((size, size)) - size // 2
    long, short = rng.uniform(2.0, 4.0, (count, 1, 1)), rng.uniform(1.5, 2.0, (count, 1, 1))
    angle = rng.uniform(0, np.pi, (count, 1, 1))
    x, y = cols * np.cos(angle) + rows * np.sin(angle), rows * np.cos(angle) - cols * np.sin(angle)
    image = np.exp(-0.5 * ((x / long) ** 2 + (y / short) ** 2)) * (np.hypot(rows, cols) <= size // 2)
    flux = survey.nanomaggies(rng.uniform(17.5, faintest, (count, 1)) + np.array([0.6, 0.0, -0.4]))
    return flux[..., None, None] * (image / image.sum((1, 2), keepdims=True))[:, None]


def dots(count, size):
    """Galaxies of one pixel, of 1 to 1.5 nmgy."""
    flux = np.zeros((count, 3, size, size))
    flux[:, :, size // 2, size // 2] = np.linspace(1, 1.5, count)[:, None]
    return flux


def blends(library, count, classes=TWO, indices=None, seed=0, **options):
    indices = np.arange(len(library)) if indices is None else indices
    scene = GalaxyScene(library, indices, classes, BlendOptions(**options))
    mixer = Mixer(scene, count, seed, "train", fixed=True)
    return [mixer[index] for index in range(count)]


def identities(sample):
    numbers = [value for name, value in sample.meta.items() if name.endswith("_galaxy")]
    return [int(number) for number in numbers if not np.isnan(number)]


@pytest.fixture(scope="module")
def library():
    return library_of(gaussians(200))


@pytest.mark.parametrize("classes", [TWO, FOUR])
def test_image_minus_truth_is_white_noise_of_the_survey(library, classes):
    samples = blends(library, 60, classes, poisson=False)
    light = np.stack([sample.target.sum(0) for sample in samples])
    noise = np.stack([sample.image for sample in samples]) - light
    np.testing.assert_allclose(noise.std((0, 2, 3)), SKY, rtol=0.01)
    for band in range(3):
        plane = noise[:, band] / SKY[band]
        assert abs(plane.mean()) < 4 / np.sqrt(plane.size)
        for other in (light[:, band], noise[:, (band + 1) % 3]):
            assert abs(np.corrcoef(plane.ravel(), other.ravel())[0, 1]) < 0.01
        assert abs((plane[:, 1:] * plane[:, :-1]).mean()) < 0.01
        assert abs((plane[..., 1:] * plane[..., :-1]).mean()) < 0.01
    for sample in samples:
        assert [sample.meta[f"noise_{band}"] for band in BANDS] == pytest.approx(SKY)
        assert sample.valid.all()
        assert sample.image.dtype == sample.target.dtype == np.float32


def test_photons_of_galaxies_add_their_noise(library):
    scene = GalaxyScene(library, np.arange(200), TWO, BlendOptions(gain={"g": 500.0}))
    np.testing.assert_allclose(scene.gain, [500.0, survey.gain("r"), survey.gain("z")])
    samples = blends(library, 60, gain={"g": 500.0, "r": 500.0, "z": 100.0})
    light = np.stack([sample.target.sum(0) for sample in samples])
    noise = np.stack([sample.image for sample in samples]) - light
    gain = [500.0, 500.0, 100.0]
    for band in range(3):
        bright = light[:, band] > 3 * SKY[band] ** 2 * gain[band]
        assert bright.sum() > 300
        share = noise[:, band] ** 2 / (SKY[band] ** 2 + light[:, band] / gain[band])
        assert share[bright].mean() == pytest.approx(1, abs=5 * np.sqrt(2 / bright.sum()))
        assert share[~bright].mean() == pytest.approx(1, abs=0.02)


def test_noise_is_in_units_of_the_survey_or_as_given(library):
    deep, own = blends(library, 30, noise=0.5)[0], blends(library, 1, noise=0.5, sky={"z": 1.0})[0]
    assert [deep.meta[f"noise_{band}"] for band in BANDS] == pytest.approx(0.5 * SKY)
    assert [own.meta[f"noise_{band}"] for band in BANDS] == pytest.approx([0.5 * SKY[0], 0.5 * SKY[1], 0.5])


@pytest.mark.parametrize("size", [32, 33])
@pytest.mark.parametrize("classes", [TWO, FOUR])
def test_every_galaxy_is_its_stamp_turned_and_nothing_is_lost(classes, size):
    library = library_of(gaussians(40, size))
    turned = set()
    for sample in blends(library, 40, classes, size=96, separation=(0.3, 3.5)):
        chosen = identities(sample)
        assert len(set(chosen)) == len(chosen) == sample.meta["galaxies"]
        np.testing.assert_allclose(sample.target.sum((0, 2, 3)), library.flux[chosen].sum((0, 2, 3)), rtol=1e-5)
        for number, name in enumerate(classes):
            if f"{name}_galaxy" not in sample.meta or np.isnan(sample.meta[f"{name}_galaxy"]):
                continue
            stamp, image = library.flux[sample.meta[f"{name}_galaxy"]], sample.target[number]
            assert np.isclose(image, stamp.max((1, 2), keepdims=True)).sum() == 3  # the central pixel
            rows, cols = (np.flatnonzero(image[1].any(axis=axis)) for axis in (1, 0))
            part = image[:, rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
            seen = [axis[stamp[1].any(axis=1 - index)] for index, axis in enumerate([np.arange(size)] * 2)]
            whole = stamp[:, seen[0][0] : seen[0][-1] + 1, seen[1][0] : seen[1][-1] + 1]
            eight = [np.rot90(each, k, (1, 2)) for each in (whole, whole[:, ::-1]) for k in range(4)]
            matches = [
                k for k, each in enumerate(eight) if each.shape == part.shape and np.array_equal(each, part)
            ]
            assert matches
            turned |= set(matches)
    assert turned == set(range(8))


@pytest.mark.parametrize("size", [12, 13])
def test_galaxies_lie_at_separations_in_units_of_their_sizes(size):
    pixels = 5.0
    library = library_of(dots(300, size), r50=pixels * survey.PIXEL_SCALE)
    drawn, offsets, sides = [], [], []
    for sample in blends(library, 300, FOUR, size=65, separation=(0.5, 2.5), jitter=2, magnitudes=(-1, 1)):
        peaks = np.argwhere(sample.target[:, 1] > 0)
        assert len(peaks) == sample.meta["galaxies"]
        places = peaks[:, 1:]
        middle = np.abs(places - 32).max(axis=1).argmin()
        offsets.append(places[middle] - 32)
        apart = np.hypot(*(places[:, None] - places).transpose(2, 0, 1)) + 1e3 * np.eye(len(places))
        assert apart.min() >= 0.5 * 2 * pixels
        distances = np.delete(apart[middle], middle)
        assert distances.max() <= 2.5 * 2 * pixels + 0.71  # galaxies lie on whole pixels
        assert sample.meta["neighbour_separation"] == pytest.approx(distances.min() / (2 * pixels))
        if sample.meta["galaxies"] == 2:
            drawn.append(distances[0] / (2 * pixels))
            sides.append(np.arctan2(*(places[1 - middle] - places[middle])) / (2 * np.pi) + 0.5)
    assert np.abs(offsets).max() == 2
    assert {tuple(offset) for offset in np.array(offsets).tolist()} == {
        (r, c) for r in range(-2, 3) for c in range(-2, 3)
    }
    assert kstest((np.array(drawn) - 0.5) / 2, "uniform").pvalue > 0.01
    assert kstest(sides, "uniform").pvalue > 0.01


def test_centres_stay_in_the_image():
    library = library_of(dots(20, 9), r50=30 * survey.PIXEL_SCALE)
    for sample in blends(library, 50, size=48, jitter=3):
        assert np.count_nonzero(sample.target[:, 0]) == sample.meta["galaxies"]


def test_magnitudes_differ_evenly_within_their_range():
    library = library_of(gaussians(2000, size=5, faintest=22.5))
    magnitudes = survey.magnitude(library.table["flux_r"])
    differences = []
    for sample in blends(library, 1000, galaxies=(2, 2), magnitudes=(-1.0, 0.5)):
        target, neighbour = magnitudes[identities(sample)]
        if 18.5 < target < 22:
            differences.append(neighbour - target)
            assert sample.meta["neighbour_magnitude"] == pytest.approx(neighbour - target)
    assert -1.1 < min(differences) < max(differences) < 0.6  # a neighbour is chosen among 2 % of the library
    assert kstest((np.array(differences) + 1) / 1.5, "uniform").pvalue > 0.01


def test_the_nearest_neighbour_is_described():
    library = library_of(np.concatenate([dots(1, 9) * 10, dots(3, 9)]))
    for sample in blends(library, 20, galaxies=(3, 4)):
        places = np.argwhere(sample.target.sum(0)[1] > 0)
        target = np.argwhere(sample.target[0, 1] > 0)[0]
        others = places[(places != target).any(axis=1)]
        nearest = others[np.hypot(*(others - target).T).argmin()]
        light = sample.target.sum(0)[1]
        expected = survey.magnitude(light[tuple(nearest)]) - survey.magnitude(light[tuple(target)])
        assert sample.meta["neighbour_magnitude"] == pytest.approx(expected, abs=1e-5)


def test_classes_of_galaxies_are_interchangeable_and_may_be_empty(library):
    middles, counts = [], []
    for sample in blends(library, 800, FOUR, size=64, jitter=0, noise=1e-3):
        present = sample.target.any(axis=(1, 2, 3))
        assert present.sum() == sample.meta["galaxies"]
        for name, there in zip(FOUR, present, strict=True):
            assert there != np.isnan(sample.meta[f"{name}_galaxy"])
        peaks = [np.array(np.unravel_index(one[1].argmax(), one[1].shape)) for one in sample.target]
        distances = np.where(present, [np.hypot(*(peak - 32)) for peak in peaks], np.inf)
        middles.append(int(distances.argmin()))
        counts.append(int(present.sum()))
    assert chisquare(np.bincount(middles, minlength=4)).pvalue > 0.01
    assert chisquare(np.bincount(counts)[2:]).pvalue > 0.01


def test_a_galaxy_may_stand_alone(library):
    for sample in blends(library, 5, galaxies=(1, 1)):
        assert not sample.target[1].any()
        assert np.isnan(sample.meta["neighbour_separation"])
        assert identities(sample) == [sample.meta["target_galaxy"]]


def test_only_the_galaxies_of_the_split_are_used(library):
    part = np.arange(3, 200, 7)
    used = {number for sample in blends(library, 100, indices=part) for number in identities(sample)}
    assert used <= set(part.tolist())
    assert len(used) > 0.9 * len(part)
    for sample in blends(library, 5, indices=part):
        flux = sample.target[0, 1].sum()
        assert flux == pytest.approx(library.table["flux_r"][sample.meta["target_galaxy"]], rel=1e-5)


@pytest.mark.parametrize("classes", [TWO, FOUR])
def test_a_blend_is_a_function_of_its_key(library, classes):
    scene = GalaxyScene(library, np.arange(200), classes, BlendOptions())
    first, other = (Mixer(scene, 5, seed, "train", fixed=False) for seed in (3, 4))
    again = Mixer(GalaxyScene(library, np.arange(200), classes, BlendOptions()), 5, 3, "train", fixed=False)
    first[4]
    for key in ((0, 1), (2, 1), (2, 3)):
        np.testing.assert_array_equal(first[key].image, again[key].image)
        np.testing.assert_array_equal(first[key].target, again[key].target)
        np.testing.assert_equal(dict(first[key].meta), dict(again[key].meta))
        assert not np.array_equal(first[key].target, other[key].target)
    assert list(first[0].meta) == list(first[1].meta)  # columns of one table


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    size=st.integers(16, 70),
    stamp=st.integers(5, 40),
    low=st.floats(0, 1),
    width=st.floats(0.01, 3),
    galaxies=st.integers(1, 4).flatmap(lambda least: st.tuples(st.just(least), st.integers(least, 4))),
    interchangeable=st.booleans(),
)
def test_any_options_give_a_blend(size, stamp, low, width, galaxies, interchangeable):
    library = library_of(gaussians(6, stamp))
    classes = FOUR if interchangeable else TWO
    options = {"size": size, "separation": (low, low + width), "galaxies": galaxies}
    for sample in blends(library, 3, classes, **options):
        assert sample.image.shape == (3, size, size)
        assert galaxies[0] <= sample.meta["galaxies"] <= galaxies[1]
        assert np.isfinite(sample.image).all()
        assert (sample.target >= 0).all()


def measured(truth, sigma, seed=1):
    """The same galaxies with noise of `sigma` (B,) in their footprints, as a mask leaves it."""
    noise = np.random.default_rng(seed).normal(size=truth.shape) * np.asarray(sigma)[:, None, None]
    return library_of(truth + noise * (truth > 0), sigma)


def test_noise_that_stamps_bring_is_not_added_again():
    # a bright square as a galaxy, of which the truth without noise is known
    truth = np.zeros((30, 3, 25, 25))
    truth[:, :, 8:17, 8:17] = 1 + 0.01 * np.arange(30)[:, None, None, None]
    library = measured(truth, 0.6 * SKY)
    options = {"galaxies": (1, 1), "size": 40, "jitter": 0}
    scene = GalaxyScene(library, np.arange(30), TWO, BlendOptions(**options))
    added, total, outside = [], [], []
    for index in range(400):
        sample = Mixer(scene, 400, 0, "train", fixed=True)[index]
        inside = sample.target[0, 0] > 0
        residual = sample.image - sample.target[0]
        added.append(residual[:, inside] / SKY[:, None])
        outside.append(residual[:, ~inside] / SKY[:, None])
        total.append((sample.image[:, inside] - truth[sample.meta["target_galaxy"]].max()) / SKY[:, None])
        assert [sample.meta[f"noise_{band}"] for band in BANDS] == pytest.approx(SKY)
        assert sample.meta["clipped"] == 0
    assert np.std(added) == pytest.approx(0.8, rel=0.01)
    assert np.std(np.concatenate(outside, axis=1)) == pytest.approx(1, rel=0.01)
    assert np.std(total) == pytest.approx(1, rel=0.02)


def test_stamps_noisier_than_the_sky_get_none_and_it_is_stated():
    library = measured(np.ones((6, 3, 20, 20)), 2 * SKY)
    for sample in blends(library, 10, FOUR, galaxies=(2, 2), size=48):
        layers = (sample.target > 0).sum(0)
        residual = sample.image - sample.target.sum(0)
        assert not residual[layers > 0].any()
        assert residual[layers == 0].any()
        for number, band in enumerate(BANDS):
            variance = np.maximum(4.0 * layers[number], 1).mean()
            assert sample.meta[f"noise_{band}"] == pytest.approx(SKY[number] * np.sqrt(variance))


def test_measured_and_simulated_stamps_mix():
    smooth, noisy = library_of(gaussians(20, 33)), measured(gaussians(20, 33, seed=2), 0.3 * SKY)
    both = Stamps.concatenate([smooth, noisy])
    seen = set()
    for sample in blends(both, 60, FOUR, galaxies=(2, 2), gain=dict.fromkeys(BANDS, 1e-3)):
        assert (sample.target >= 0).all()
        assert sample.meta["clipped"] == 0 or max(identities(sample)) >= 20
        residual = sample.image - sample.target.sum(0)
        loud = np.abs(residual) > 8 * SKY[:, None, None]  # a gain as small as that makes photons loud
        shining = np.zeros(residual.shape, bool)
        for name, image in zip(FOUR, sample.target, strict=True):
            if sample.meta[f"{name}_galaxy"] < 20:
                shining |= image > 0
        assert not loud[~shining].any()
        assert loud.any() == shining.any()
        seen.add(int((np.array(identities(sample)) < 20).sum()))
    assert seen == {0, 1, 2}


def test_negative_pixels_of_measured_stamps_read_zero_and_their_share_is_stated():
    flux = np.full((3, 3, 9, 9), 1.0)
    flux[:, :, 0, 0] = -2.0
    sample = blends(library_of(flux, SKY), 1, galaxies=(1, 1))[0]
    assert sample.target.sum((0, 2, 3)) == pytest.approx([80, 80, 80])
    assert sample.meta["clipped"] == pytest.approx(2 / 78)


def test_a_target_without_stamps_counts_as_free_of_noise():
    noisy = measured(gaussians(5), 5 * SKY)
    scene = GalaxyScene(noisy, np.arange(5), TWO, BlendOptions(poisson=False))
    target = np.zeros((2, 3, 64, 64), np.float32)
    placed, _ = scene.place(0, keyed_rng(0, "test", 0))
    assert (
        scene.observe(target, placed, keyed_rng(0, "test", 0))[0].std()
        < scene.observe(target, [], keyed_rng(0, "test", 0))[0].std()
    )


def test_observing_depends_on_what_is_placed_and_on_nothing_before():
    scene = GalaxyScene(measured(gaussians(5), 0.8 * SKY), np.arange(5), TWO, BlendOptions())
    first, other = (scene.place(index, keyed_rng(0, "test", index))[0] for index in (0, 1))
    targets = [add_up(placed, TWO, scene.shape) for placed in (first, other)]
    once = scene.observe(targets[0], first, keyed_rng(1, "test", 0))[0]
    scene.observe(targets[1], other, keyed_rng(1, "test", 1))
    np.testing.assert_array_equal(scene.observe(targets[0], first, keyed_rng(1, "test", 0))[0], once)


def test_every_galaxy_brings_its_truth(library):
    scene = GalaxyScene(library, np.arange(len(library)), TWO, BlendOptions())
    placed, meta = scene.place(0, keyed_rng(0, "test", 0))
    assert placed[0].meta["galaxy"] == meta["target_galaxy"]
    for one in placed:
        galaxy = int(one.meta["galaxy"])
        assert one.meta["flux_r"] == library.table["flux_r"][galaxy]
        assert one.meta["r50"] == library.table["r50"][galaxy]
        _, row, col = np.unravel_index(one.values.argmax(), one.values.shape)
        assert abs(row + one.origin[0] - one.meta["row"]) <= 1
        assert abs(col + one.origin[1] - one.meta["col"]) <= 1


def test_blendedness_fills_its_bins():
    pytest.importorskip("galsim")
    pytest.importorskip("sep")
    from oasis.adapters.galaxy.simulation import simulate_galaxies

    samples = blends(simulate_galaxies(300), 600)
    reference = np.stack([sample.target[:, 1] for sample in samples]).astype(float)
    target, blend = reference[:, 0], reference.sum(1)
    blendedness = 1 - (target**2).sum((1, 2)) / (target * blend).sum((1, 2))
    shares = np.histogram(blendedness, [-1e-6, 0.05, 0.2, 0.5, 0.9])[0] / len(samples)
    assert shares.sum() == pytest.approx(1)
    assert shares.min() > 0.1


@pytest.mark.parametrize(
    ("options", "classes", "words"),
    [
        ({}, ("a", "b", "c"), "up to 4 in a blend, but there are only 3 classes"),
        ({"galaxies": (2, 9)}, TWO, "up to 9 in a blend, but only 5"),
        ({"jitter": 30}, TWO, "jitter"),
    ],
)
def test_scenes_that_cannot_be_are_refused(options, classes, words):
    with pytest.raises(ConfigError, match=words):
        GalaxyScene(library_of(gaussians(5)), np.arange(5), classes, BlendOptions(**options))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"galaxies": (3, 2)}, "galaxies: expected the lower bound first"),
        ({"galaxies": (0, 2)}, r"galaxies\.0: Input should be greater"),
        ({"separation": (-1, 2)}, "separation"),
        ({"noise": 0}, "noise"),
        ({"poison": True}, "poisson"),
    ],
)
def test_options_that_cannot_be_are_refused(values, words):
    with pytest.raises(ConfigError, match=words):
        BlendOptions.parse(values)


def test_galaxies_without_light_are_refused():
    flux = gaussians(5)
    flux[2] = 0
    with pytest.raises(DataError, match="no finite flux"):
        GalaxyScene(library_of(flux), np.arange(5), TWO, BlendOptions())
    GalaxyScene(library_of(flux), np.array([0, 1, 3, 4]), TWO, BlendOptions())


def test_a_band_of_another_survey_needs_its_noise():
    stamps = gaussians(5)[:, :1]
    table = {"name": np.arange(5), "approximate": np.zeros(5, bool), "r50": np.ones(5), "flux_F814W": np.ones(5)}
    library = Stamps(stamps.astype(np.float32), np.zeros((5, 1), np.float32), table, ("F814W",), 0.03, np.ones(1))
    with pytest.raises(ConfigError, match=r"data\.band\.F814W\.sky: not known of this band: give it"):
        GalaxyScene(library, np.arange(5), TWO, BlendOptions())
    given = BlendOptions(sky={"F814W": 0.01}, gain={"F814W": 100.0})
    assert GalaxyScene(library, np.arange(5), TWO, given).shape == (1, 64, 64)
