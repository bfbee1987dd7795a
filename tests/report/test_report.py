"""The report: a whole page that needs no other file, whose numbers are those of the event table."""

import html
import json
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from oasis.adapters import Adapter, Study
from oasis.data.mixing import Mixer, Placed, Scene
from oasis.errors import ConfigError, DataError
from oasis.evaluation.calibration import CALIBRATION, Calibration, CalibrationOptions
from oasis.evaluation.comparison import comparisons
from oasis.evaluation.event_table import evaluate, read_table, write_table
from oasis.evaluation.summary import summarise
from oasis.options import Options
from oasis.report.evaluated import compare_runs
from oasis.report.page import write_report as write_report_of
from oasis.report.tables import _detected
from oasis.run import Run

SCRIPT = '"><script>alert(1)</script>'
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
VOID = ("meta", "img", "input", "link", "br")


class Settings(Options):
    test: int = 12


class BoxScene(Scene):
    """A box of light over the whole image and, in two samples of three, another one in its middle."""

    classes = ("box", "<script>")

    def __init__(self, shape):
        self.shape = shape

    def place(self, index, rng):
        height = float(rng.uniform(5, 20))
        placed = [Placed("box", np.full(self.shape, 3, np.float32), (0,) * (len(self.shape) - 1))]
        if index % 3:
            middle = np.full([self.shape[0], *[4] * (len(self.shape) - 1)], height, np.float32)
            placed.append(Placed("<script>", middle, (4,) * (len(self.shape) - 1)))
        return placed, {"note": SCRIPT, "height": height if index % 3 else np.nan}

    def observe(self, target, placed, rng):
        noise = rng.exponential(1, self.shape).astype(np.float32)
        return target.sum(axis=0) + noise, np.ones((1, *self.shape[1:]), bool)


class Images(Adapter):
    """Boxes <b>in boxes</b>."""

    classes = BoxScene.classes
    unit = "counts"
    options_type = Settings
    shape = (1, 16, 12)
    study = Study("<script>", "height", "height (<i>counts</i>)", (5, 12, 20, 30), "height > 0", "not height > 0")
    defaults = {"model": {"name": "unet", "base_channels": 4, "depth": 2}}
    thresholds = 1

    def dataset(self, split):
        return Mixer(BoxScene(self.shape), self.options.test, self.seed, split, fixed=True)


class Waves(Images):
    """Pulses in two bands."""

    spatial_dims = 1
    bands = 2
    shape = (2, 24)


class Photons(Images):
    """The same in another unit."""

    unit = "photons"


class Brighter(Images):
    """The same classes, by an adapter of its own."""


class Volumes(Images):
    """Boxes in three dimensions, of which nothing is asked."""

    spatial_dims = 3
    shape = (1, 8, 12, 10)
    study = None


def make_run(folder, kind="Images", **values):
    """A run as training and evaluation leave it, with weights as they are drawn."""
    setup = Run.from_values({"adapter": f"{__file__}:{kind}", "run": str(folder), **values})
    setup.save()
    separator = setup.new_separator()
    separator.save(folder)
    (folder / "log.csv").write_text("epoch,train/total,val/total,seconds\n0,3,2,30\n1,2,1,60\n2,1,1.5,30\n")
    (folder / "region_weights.csv").write_text("region,classes,weight\nbackground,0,1\nbox&<script>,2,7.25\n")
    table = evaluate(separator, setup.dataset("test"), setup.adapter, workers=0)
    write_table(table, folder / "events.parquet")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs on the same events."""
    folder = tmp_path_factory.mktemp("runs")
    second = make_run(folder / "second", loss={"region_weights": {"box": 5}})
    return [make_run(folder / "first"), second]


@pytest.fixture
def undrawn(monkeypatch):
    """Leave figures out of reports, which are most of the time that one takes."""
    monkeypatch.setattr("oasis.report.words.png", lambda figure: b"")


def write_report(folders, out=None, **options):
    return write_report_of([Run(folder, trust_code=True) for folder in folders], out, **options)


class Page(HTMLParser):
    """The elements of a page as (tag, attributes), the text of each, and that they are closed in order."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.source = path.read_text()
        self.feed(self.source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.texts.append("")
        if tag not in VOID:
            self.open.append((tag, len(self.texts) - 1))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for _, index in self.open:
            self.texts[index] += data

    def attributes(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, tag):
        return [text for (name, _), text in zip(self.elements, self.texts, strict=True) if name == tag]

    def table(self, caption):
        """The cells of the rows of a table, the header row first."""
        inside = re.search(f"<caption>{re.escape(caption)}.*?</table>", self.source, re.DOTALL)[0]
        rows = re.findall(r"<tr>(.*?)</tr>", inside, re.DOTALL)
        return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]


def check(page):
    """What holds for any report: nothing is fetched, everything is described, nothing of a file is markup."""
    kinds = Counter(tag for tag, _ in page.elements)
    assert kinds["link"] == kinds["iframe"] == kinds["b"] == kinds["i"] == 0
    assert kinds["script"] == kinds["style"] == 1
    assert "http:" not in page.source
    assert "https:" not in page.source
    identities = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(identities)) == len(identities)
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert name not in attributes or attributes[name].startswith("data:image/" if tag == "img" else "#")
        if tag == "a":
            assert attributes["href"][1:] in identities
        if tag == "img":
            assert attributes["alt"].strip()
        if tag == "th":
            assert attributes["scope"] in ("row", "col")
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.attributes("meta")
    assert page.attributes("html") == [{"lang": "en"}]
    assert [len(page.text(tag)) for tag in ("h1", "title", "main")] == [1, 1, 1]


@pytest.mark.parametrize("kind", ["Waves", "Images", "Volumes"])
def test_a_page_needs_no_other_file(tmp_path, kind):
    page = Page(write_report([make_run(tmp_path / "run", kind)]))
    check(page)
    assert len(page.text("article")) == 12
    assert page.source.count('<figure class="input">') == 12
    for what in ("truth", "prediction", "residual"):
        assert page.source.count(f'<figure class="{what}">') == 24
    kinds = {attributes["src"][: len("data:image/svg")] for attributes in page.attributes("img")}
    assert ("data:image/svg" in kinds) == (kind == "Waves")
    assert SCRIPT in page.text("article")[0]
    assert "Boxes <b>in boxes</b>." in "".join(page.text("td")) or kind != "Images"


def test_numbers_are_those_of_the_event_table(tmp_path, runs, undrawn):
    page = Page(write_report(runs[:1], tmp_path / "new" / "report.html"))
    table = read_table(runs[0] / "events.parquet")
    rows = table[(table["class"] == "<script>") & (table["height"] >= 12) & (table["height"] < 20)]
    header, _, second, empty = page.table("first: &lt;script&gt; in bins")
    assert header == ["height (&lt;i&gt;counts&lt;/i&gt;)", "events", "bias (%)", "spread (%)", "IoU"]
    assert second[:2] == ["12 to 20", str(len(rows))]
    assert second[2].startswith(f"{rows['delta_percent'].median():+.1f} [".replace("-", "−"))
    assert second[4].startswith(f"{rows['iou'].median():.2f} [")
    assert empty == ["20 to 30", "0", "–", "–", "–"]
    everything = page.table("first: every class")[1]
    assert everything[:2] == ["box", "12"]
    predicted = table[table["class"] == "<script>"]["intensity_predicted"]
    absent = predicted[table["height"].isna()].median()
    detection = dict(page.table("Telling height &gt; 0 from")[1:])
    assert detection["median in background events (counts)"].startswith(f"{absent:.0f} [")
    assert detection["detected at 1 % false positives (%)"] == "too few background events"
    facts = dict(page.table("What was trained")[1:])
    assert facts["epochs"] == "3 of at most 50; the lowest validation loss, 1, in epoch 2"
    assert facts["evaluated on"] == "12 events"
    assert "2.0 minutes in epochs" in facts["trained"]
    assert page.table("Weight of each overlap region")[2] == ["box&amp;&lt;script&gt;", "7.25"]


def test_detection_is_stated_at_a_rate_that_the_events_allow():
    rng = np.random.default_rng(0)
    height = np.where(np.arange(3000) < 1000, 10.0, np.nan)
    predicted = rng.normal(np.where(height > 0, 3, 0), 1)
    table = pd.DataFrame({"class": "<script>", "height": height, "intensity_predicted": predicted})
    summary = summarise(table.assign(intensity_true=1.0, delta_percent=0.0, iou=1.0), Images.study)
    facts = _detected(summary, "counts")
    share = (predicted[:1000] > np.sort(predicted[1000:])[-21]).mean()
    assert facts["detected at 1 % false positives (%)"].startswith(f"{100 * share:.1f} [")
    assert facts["detected at 0.1 % false positives (%)"] == "too few background events"


def test_captions_of_an_event_are_its_numbers(tmp_path, runs, undrawn):
    page = Page(write_report(runs[:1], tmp_path / "report.html"))
    table = read_table(runs[0] / "events.parquet")
    known = table[(table["class"] == "<script>") & table["delta_percent"].notna()]
    worst = known.loc[known["delta_percent"].abs().idxmax()]
    text = page.text("article")[0]
    assert f"{worst['id']} worst" in text
    for words in (
        f"truth: {worst['intensity_true']:.3g}",
        f"predicted: {worst['intensity_predicted']:.3g}",
        f"ΔI\u00a0{worst['delta_percent']:+.1f}\u00a0%, IoU\u00a0{worst['iou']:.2f}".replace("-", "−"),
    ):
        assert words in text


def test_two_runs_are_shown_side_by_side(tmp_path, runs):
    page = Page(write_report(runs, tmp_path / "report.html", events=4))
    check(page)
    assert page.text("h1") == ["Report of first, second"]
    assert len(page.text("article")) == 4
    assert page.source.count('<figure class="truth">') == 8
    assert page.source.count('<figure class="prediction">') == 16
    assert "box, prediction of second minus truth" in {image["alt"] for image in page.attributes("img")}
    assert ["loss.region_weights.box", "–", "5"] in page.table("Settings that differ")
    assert page.table("Telling height &gt; 0 from")[0] == ["", "first", "second"]
    compared = page.table("&lt;script&gt; of second against first on the same")
    tables = {path.name: read_table(path / "events.parquet") for path in runs}
    (expected,) = comparisons(tables, Images.study, Images.unit)
    assert [row[0] for row in compared[1:]] == [row.label for row in expected.differences]
    bias = expected.differences[0]
    assert compared[1][1].replace("−", "-") == f"{bias.first:.1f}"
    assert compared[1][3].replace("−", "-").startswith(f"{bias.by.value:+.1f}")
    assert f"oasis report {runs[0]} {runs[1]} --events 4" in page.text("pre")[0]
    assert (runs[1] / "config.yaml").read_text() in page.text("pre")[2]


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path, undrawn):
    paths = [make_run(tmp_path / part / "run") for part in "ab"]
    page = Page(write_report(paths, tmp_path / "report.html", events=0))
    assert page.table("What was trained")[0] == ["", *map(str, paths)]
    assert page.text("article") == []


def test_coverage_is_shown_of_a_calibrated_run(tmp_path, undrawn):
    run = make_run(tmp_path / "run", data={"test": 80})
    table = read_table(run / "events.parquet")
    options = CalibrationOptions(strata=None, width_by=None, correct=False)
    calibration = Calibration.fit(table, ["box"], options)
    calibration.save(run / CALIBRATION)
    [quantile] = (fitted.quantiles[0] for fitted in calibration.classes["box"].values())
    boxes = table[table["class"] == "box"]
    held = ((boxes["intensity_true"] - boxes["intensity_predicted"]).abs() <= quantile).mean()
    page = Page(write_report([run], events=0))
    header, row = page.table("run: share of events whose 90% interval covers the truth")
    assert header == ["quantity", "stratum", "events", "coverage", "median width"]
    assert row[:3] == ["box: intensity_true", "all", "80"]
    assert row[3].startswith(f"{held:.2f} [")
    assert "oasis calibrate" in page.text("pre")[0]


def test_the_file_stays_small_whatever_the_events(tmp_path, runs, undrawn, monkeypatch):
    monkeypatch.setattr("oasis.report.events.PIXELS", 12 * 11 * 8 * 8)
    monkeypatch.setattr("oasis.report.events.SIDE", (8, 160))
    page = Page(write_report(runs, tmp_path / "small.html", events=12))
    pictures = re.findall(r'<figure class="(?:input|truth|prediction|residual)"><img src="([^"]*)', page.source)
    assert len(pictures) == 12 * 11
    assert sum(map(len, pictures)) < 12 * 11 * (8 * 8 + 1200) * 4 / 3


def test_without_event_table(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "events.parquet").unlink()
    with pytest.raises(DataError) as error:
        write_report([run])
    assert str(error.value) == f"{run}: there is no event table: run  oasis evaluate {run}  first"


def test_an_event_table_of_another_training_is_refused(tmp_path):
    run = make_run(tmp_path / "run")
    other = make_run(tmp_path / "other", seed=1)
    identity = read_table(other / "events.parquet")["configuration"].iloc[0]
    write_table(read_table(run / "events.parquet").assign(configuration=identity), run / "events.parquet")
    with pytest.raises(DataError, match=f"{run}: the separator has the configuration .* table has {identity}: "):
        write_report([run])


def test_runs_that_do_not_fit_together(tmp_path, runs):
    first = runs[0]
    other = make_run(tmp_path / "other", "Photons")
    others = make_run(tmp_path / "others", seed=1)
    fewer = make_run(tmp_path / "fewer", data={"test": 3})
    other_events = (
        f"evaluated on other events than {first}: evaluate both on the same samples, with the same section data"
    )
    cases = {
        (): (ConfigError, "expected 1 to 6 runs in a report, found 0"),
        (first,) * 7: (ConfigError, "expected 1 to 6 runs in a report, found 7"),
        (first, first): (ConfigError, f"a run is named twice: {first}, {first}"),
        (first, other): (
            ConfigError,
            f"{other}: separates box, <script> in 'photons', but {first} box, <script> in 'counts': compare runs "
            "of the same classes and unit",
        ),
        (first, others): (DataError, f"{others}: {other_events}"),
        (first, fewer): (DataError, f"{fewer}: {other_events}"),
        (tmp_path,): (ConfigError, f"{tmp_path / 'config.yaml'}: no such file"),
    }
    for paths, (kind, message) in cases.items():
        with pytest.raises(kind) as error:
            write_report(paths, tmp_path / "report.html")
        assert str(error.value) == message
    assert not (tmp_path / "report.html").exists()


def test_runs_of_different_adapters_with_the_same_classes_are_compared(tmp_path, runs, undrawn, caplog):
    other = make_run(tmp_path / "other", "Brighter")
    note = f"the runs have different adapters: {__file__}:Images, {__file__}:Brighter"
    page = Page(write_report([runs[0], other], tmp_path / "report.html", events=1))
    assert f"Note: {note}." in page.text("p")
    assert f"{other}: {note}" in caplog.messages
    assert "of other against first" in compare_runs([Run(runs[0], trust_code=True), Run(other, trust_code=True)])
    same = Page(write_report(runs, tmp_path / "same.html", events=0))
    assert not any("Note" in text for text in same.text("p"))


@pytest.mark.parametrize(("old", "new"), [("seed: 0", "seed: 1"), ("test: 12", "test: 3")])
def test_an_event_table_of_another_configuration(tmp_path, undrawn, old, new):
    run = make_run(tmp_path / "run")
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(old, new))
    with pytest.raises(
        DataError, match=r"event test/\d+ is not the one that the run's configuration gives: run  "
    ):
        write_report([run])


def test_files_that_are_missing_or_cannot_be_written(tmp_path, runs, undrawn):
    with pytest.raises(DataError, match=r"^/proc/none/x.html: cannot be written: "):
        write_report(runs[:1], "/proc/none/x.html", events=0)
    run = make_run(tmp_path / "run")
    (run / "log.csv").unlink()
    with pytest.raises(DataError, match=r"log.csv: no such file"):
        write_report([run])


TELL = """<script>parent.postMessage([location.hash, innerWidth, document.documentElement.scrollWidth,
    [...document.querySelectorAll("article:not([hidden]) h3")].map((title) => title.firstChild.data.trim())], "*")
</script>"""
LISTEN = """<script>addEventListener("message", ({ data }) => document.body.append("\\n" + JSON.stringify(data)))
</script>"""


def browse(path, folder, views):
    """Open a report in frames of several widths; return its width and the events it shows, by hash."""
    told, frames = folder / "told.html", folder / "frames.html"
    told.write_text(path.read_text().replace("</body>", TELL + "</body>"))
    parts = [
        f'<iframe src="told.html{wish}" width="{width}" height="800"></iframe>' for wish, width in views.items()
    ]
    frames.write_text(f"<!DOCTYPE html><body>{LISTEN}{''.join(parts)}")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += [
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
    ]
    command += [f"--user-data-dir={folder / 'browser'}", "--virtual-time-budget=5000", "--window-size=1300,900"]
    command += ["--dump-dom", f"file://{frames}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    lines = [json.loads(html.unescape(line)) for line in re.findall(r"^\[.*?\](?=$|<)", done.stdout, re.MULTILINE)]
    return {wish: rest for wish, *rest in lines}


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium or Chrome to open a report in")
def test_a_browser_sorts_and_filters_events_and_nothing_is_too_wide(tmp_path, runs):
    path = write_report(runs, tmp_path / "report.html")
    table = read_table(runs[1] / "events.parquet")
    errors = table[table["class"] == "<script>"].set_index("id")["delta_percent"].abs()
    falling, rising = (errors.dropna().sort_values(ascending=up).index.tolist() for up in (False, True))
    absent = errors.index[errors.isna()].tolist()
    titles = re.findall(r"<h3>(\S*) <span>(\w*)", path.read_text())
    worst = [name for name, group in titles if group == "worst"]
    keys = re.findall(r'<option value="(\d+)">([^<]*)', path.read_text())
    key = {name: number for number, name in keys}["|ΔI|, second"]
    views = {
        "#figures": (360, [name for name, _ in titles]),
        f"#sort={key}&order=up": (390, rising + [name for name, _ in titles if name in absent]),
        f"#sort={key}&order=down&group=worst": (800, [name for name in falling if name in worst]),
        "#text=WITHOUT": (1200, [name for name, _ in titles if name in absent]),
    }
    found = browse(path, tmp_path, {wish: width for wish, (width, _) in views.items()})
    assert found.keys() == views.keys()
    for wish, (width, shown) in views.items():
        inner, needed, events = found[wish]
        assert events == shown
        assert inner == width
        assert needed <= width
