import numpy as np
import pytest

from oasis.data.joining import Joined
from oasis.data.mixing import SampleDataset
from oasis.data.samples import Sample
from oasis.errors import DataError


class Numbered(SampleDataset):
    def __init__(self, length, size=4, meta=("id",), context=None):
        self.facts = length, size, meta, context

    def __len__(self):
        return self.facts[0]

    def sample(self, index, epoch):
        _, size, meta, context = self.facts
        image = np.full((1, size), 10 * epoch + index, np.float32)
        given = None if context is None else np.zeros((context, size), np.float32)
        return Sample(image, image[None], np.ones((1, size), bool), dict.fromkeys(meta, index), given)


def test_samples_follow_one_another_and_keep_their_epoch():
    joined = Joined({"a": Numbered(2), "b": Numbered(1), "c": Numbered(3)})
    assert len(joined) == 6
    assert [int(joined[(1, index)].image[0, 0]) for index in range(6)] == [10, 11, 10, 10, 11, 12]
    assert joined[-1].meta["id"] == "c/2"


def test_ids_stay_unique():
    joined = Joined({"a": Numbered(3), "b": Numbered(3)})
    assert len({joined[index].meta["id"] for index in range(6)}) == 6
    assert "id" not in Joined({"a": Numbered(1, meta=()), "b": Numbered(1, meta=())})[0].meta


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Numbered(0), "b: contains no samples"),
        (Numbered(2, size=5), r"b: its samples have maps of shape \(1, 1, 5\), the first \(1, 1, 4\)"),
        (Numbered(2, meta=("id", "energy")), "b: its samples have metadata .*energy"),
        (Numbered(2, context=1), r"b: its samples have context \(1, 4\), the first None"),
    ],
)
def test_parts_have_to_fit(other, message):
    with pytest.raises(DataError, match=message):
        Joined({"a": Numbered(2), "b": other})
