"""What objects show of themselves in a notebook: well-formed, escaped, complete."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from oasis.data.samples import Sample
from oasis.evaluation.summary import summarise
from oasis.run import Run


def parsed(shown):
    return ElementTree.fromstring(f"<div>{shown._repr_html_()}</div>")


def facts(shown):
    return {row.find("th").text: row.find("td").text for row in parsed(shown).iter("tr")}


def sample(size, **changes):
    image = np.full((2, *size), 3, np.float32)
    target = np.stack([image, 0 * image])
    return Sample(image, target, np.ones((1, *size), bool), **{"meta": {"id": "a<b>&c"}, **changes})


@pytest.mark.parametrize("size", [(9,), (6, 7), (3, 4, 5), (400, 900)])
def test_a_sample_shows_its_input_and_a_map_for_each_class(size):
    tree = parsed(sample(size))
    assert [one.text for one in tree.iter("figcaption")] == ["input", "target[0]", "target[1]"]
    assert all(one.get("src").startswith("data:image/") for one in tree.iter("img"))
    assert facts(sample(size))["meta['id']"] == "'a<b>&c'"


def test_a_sample_shows_that_there_is_more_metadata_and_values_that_are_not_finite():
    shown = sample((6, 7), meta={str(number): "x" * 1000 for number in range(20)})
    assert facts(shown)["meta"] == "8 more"
    assert len(facts(shown)["meta['0']"]) < 200
    dark = sample((6, 7))
    dark = replace(dark, image=np.full_like(dark.image, np.nan), valid=np.zeros_like(dark.valid))
    assert len(list(parsed(dark).iter("img"))) == 3


def test_a_separator_shows_what_it_consists_of(toy_separator):
    found = facts(toy_separator)
    assert found["classes"] == "dot, bar in counts"
    assert found["parameters"] == f"{sum(one.numel() for one in toy_separator.parameters()):,}"
    assert "name: unet" in found["model"]


def test_a_run_shows_its_state_before_and_after_training(toy, toy_run):
    assert facts(toy)["training"] == "not trained yet"
    trained = facts(Run(toy_run, trust_code=True))
    assert trained["training"].startswith("2 of at most 2 epochs; the lowest validation loss")
    assert trained["folder"] == str(toy_run)
    assert facts(Run(toy_run, trust_code=True).facts())["configuration"] == trained["configuration"]


def test_a_run_with_a_damaged_log_still_shows_itself(toy):
    toy.save()
    toy.files.log.write_bytes(b"\0\1")
    assert str(toy.files.log) in facts(toy)["training"]


def test_a_summary_shows_its_table():
    table = pd.DataFrame({"class": "a<b", "intensity_true": [1.0, 2.0], "overlap_fraction": [0, 0.6]})
    summary = summarise(table.assign(delta_percent=[3.0, 5.0], iou=[0.8, 0.6]))
    assert parsed(summary).find("pre").text == summary.text()
