import pandas as pd

from oasis.evaluation.class_summary import summarise_classes


def test_bins_without_events_have_no_numbers():
    rows = [("a", 1.0, 0.0, 10.0), ("a", 2.0, 0.0, -5.0), ("a", 1.5, 0.0, 5.0)]
    table = pd.DataFrame(rows, columns=["class", "intensity_true", "overlap_fraction", "delta_percent"])
    text = summarise_classes(table.assign(iou=0.8)).text()
    assert "nan" not in text
    lines = {line.split(maxsplit=1)[1].strip().split("  ")[0]: line for line in text.splitlines()[2:]}
    assert lines["below 0.5"].split()[-4:] == ["0", "-", "-", "-"]
    assert "+5.0 [" in lines["none"]
