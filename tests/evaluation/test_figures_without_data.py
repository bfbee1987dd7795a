"""Every figure can be drawn of no rows, of one, and of values that are missing, equal or infinite."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from oasis.ablation.factors import factor_figure
from oasis.adapters import Study, find_adapter
from oasis.adapters.neutrino.figures import event_figure
from oasis.data.mixing import SampleDataset
from oasis.evaluation.event_table import evaluate_maps
from oasis.evaluation.figures import comparison_figures, intensity_figure, png, training_figure
from oasis.evaluation.gallery import gallery_figure
from oasis.evaluation.pictures import event_pictures
from oasis.evaluation.summary import summarise

KEYS = ("id", "class")


def floats(table):
    return [name for name in table if table[name].dtype.kind == "f" and name not in KEYS]


def constant(value):
    return lambda table: table.assign(**dict.fromkeys(floats(table), value))


def holes(table):
    """Put NaN and both infinities into a third of all numbers."""
    rng = np.random.default_rng(0)
    values = {name: rng.choice([np.nan, np.inf, -np.inf], len(table)) for name in floats(table)}
    kept = {name: rng.random(len(table)) < 0.7 for name in values}
    return table.assign(**{name: table[name].where(kept[name], values[name]) for name in values})


def absent(table):
    """No object of any class, as of a class that the test set does not contain."""
    empty = {name: 0.0 for name in floats(table) if name.endswith("_true") or name.startswith("amplitude")}
    unknown = dict.fromkeys(("delta_percent", "iou", "overlap_fraction"), np.nan)
    return table.assign(**empty, **{name: value for name, value in unknown.items() if name in table})


TABLES = {
    "no rows": lambda table: table[:0],
    "one row": lambda table: table[:1],
    "NaN only": constant(np.nan),
    "one value": constant(3.7),
    "negative": constant(-3.7),
    "huge": constant(1e300),
    "infinite": constant(np.inf),
    "holes": holes,
    "absent": absent,
}
DOMAINS = {
    "migdal": {"events": {"test": 12}, "topology": True},
    "galaxy": {"events": {"test": 8}},
    "galaxies": {"events": {"test": 8}},
    "waveform": {"events": {"test": 40}},
    "pulses": {"events": {"test": 40}},
    "neutrino": {"events": {"test": 20}},
}


@pytest.fixture(scope="module")
def measured():
    """Event tables of the domains, of maps that are a little too faint, measured once."""
    known = {}

    def table(name):
        if name not in known:
            adapter = find_adapter(name)(DOMAINS[name])
            known[name] = (
                adapter,
                evaluate_maps(lambda batch: 0.9 * batch.target, adapter.dataset("test"), adapter, workers=0),
            )
        return known[name]

    return table


def drawn(*figures):
    """Draw figures, in which no warning must occur, and return the notes in their panels."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="Creating legend")  # said of a machine that is busy
        for figure in figures:
            assert png(figure, dpi=30).startswith(b"\x89PNG")
    return [text.get_text() for figure in figures for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize("change", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("domain", DOMAINS)
def test_figures_of_domains(measured, domain, change):
    adapter, table = measured(domain)
    notes = drawn(*adapter.figures(change(table)).values())
    assert len(change(table)) or "no data" in notes or domain in ("neutrino", "galaxies")


@pytest.mark.parametrize("change", TABLES.values(), ids=TABLES)
def test_figures_of_a_study(measured, change):
    adapter, table = measured("migdal")
    table = change(table)
    figures = comparison_figures({"run": table}, {"run": summarise(table, adapter.study)})
    notes = drawn(intensity_figure(table, adapter.unit), *figures.values())
    assert len(table) or notes == ["no data"] * 3 + [
        f"no events of {adapter.study.signal}\nor none of kind == 'NR'"
    ]


def test_a_class_that_the_test_set_does_not_contain(measured):
    _, table = measured("migdal")
    gone = {"intensity_true": 0.0, "delta_percent": np.nan, "iou": np.nan}
    table = table.assign(
        **{name: table[name].where(table["class"] == "ER", value) for name, value in gone.items()}
    )
    assert drawn(intensity_figure(table, "ADU")) == ["no data"]


LOG = pd.DataFrame({"epoch": [0, 1, 2], "train/total": [3.0, 2.0, 1.0], "val/total": [3.0, 1.0, 2.0]})


@pytest.mark.parametrize("change", TABLES.values(), ids=TABLES)
def test_the_log_of_a_training(change):
    log = LOG[:0] if change(LOG).empty else LOG.assign(**change(LOG.drop(columns="epoch")))
    drawn(training_figure({"run": log, "other": LOG[:1]}))


@pytest.mark.parametrize("change", TABLES.values(), ids=TABLES)
def test_factors_of_campaigns(change):
    study = Study("dot", "height", "height (counts)", (5, 12, 20))
    names = [f"{name}_{one}" for name in ("bias", "spread", "iou") for one in ("5-12", "12-20")]
    values = np.random.default_rng(0).normal(size=(4, len(names)))
    campaigns = pd.DataFrame(values, columns=names)
    for metrics in (change(campaigns), change(campaigns.assign(auc=0.7))):
        table = metrics.assign(overlap=[1, 8, 1, 8][: len(metrics)])
        drawn(factor_figure(table, "overlap", study, "5-12"))


@pytest.mark.parametrize("fill", [0.0, np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("valid", [True, False])
def test_pictures_of_events(toy, toy_separator, fill, valid):
    sample = toy.adapter.dataset("test")[0]
    broken = replace(
        sample,
        image=np.full_like(sample.image, fill),
        target=np.full_like(sample.target, fill),
        valid=np.full_like(sample.valid, valid),
        instances=None,
    )

    class Events(SampleDataset):
        def __len__(self):
            return 1

        def sample(self, index, epoch):
            return broken

    with np.errstate(over="ignore"):
        drawn(gallery_figure(toy_separator, Events(), {0: fill}, toy.adapter, "dot"))
    wave = replace(broken, **{name: getattr(broken, name)[..., 0] for name in ("image", "target", "valid")})
    for one in (broken, wave):
        pictures = event_pictures(one, [one.target], 32)
        assert pictures.image.startswith("data:image")


def test_a_gallery_of_no_events(toy, toy_separator):
    assert drawn(gallery_figure(toy_separator, toy.dataset("test"), {}, toy.adapter, "dot")) == ["no events"]


@pytest.mark.parametrize("fill", [0.0, np.nan, np.inf, 1e30])
def test_an_event_of_particles(fill):
    adapter = find_adapter("neutrino")({"events": {"test": 1}})
    sample = adapter.dataset("test")[0]
    maps = np.zeros(sample.target[:, 0].shape, np.float32)
    maps[:, :2] = fill  # in some planes: a point is drawn for each cube
    drawn(event_figure(sample, maps, adapter.classes))
