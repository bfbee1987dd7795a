"""Re-mixing: new mixtures from the class maps of a data set without a simulation."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from oasis.data.instances import Instances
from oasis.data.mixing import SampleDataset, keyed_rng
from oasis.data.samples import Sample
from oasis.data.warping import Factors, draw_factors
from oasis.errors import ConfigError, DataError
from oasis.options import Options


class Remix(Options):
    """Options of new mixtures, after `alpha_ranges` and `uncorrelated_channel_prob` of CAREamics' MicroSplit.

    Attributes:
        amplitudes: bounds of the factor of each class's map, drawn log-uniformly.
        probability: the probability that a sample is re-mixed at all.
    """

    amplitudes: Factors = (1.0, 1.0)
    probability: float = Field(1.0, ge=0, le=1)


class Remixed(SampleDataset):
    """A data set with new mixtures in every epoch.

    The map of each class k comes from another sample j_k, times an amplitude a_k; background and noise are kept:
    image = sum_k a_k target_k(j_k) + r, with the residual r = image - sum_k target_k of sample i itself. Pixels
    are valid where they are in all of these samples. If all of them have instances, those of class k come from
    sample j_k, their values times a_k. Of the metadata only the identity is kept, sample i first and then the
    source of each class, as in `"train/3+train/17+train/5"`.

    Args:
        dataset: at least two samples of one shape, without context.
        options: amplitudes and probability.
        seed: the seed of everything random.

    Raises:
        ConfigError: fewer than two samples.

    Example:
        >>> class Steps(SampleDataset):
        ...     def __len__(self):
        ...         return 2
        ...     def sample(self, index, epoch):
        ...         target = np.full((2, 1, 3), 1 + index, np.float32)
        ...         return Sample(target.sum(0) + 0.5, target, np.ones((1, 3), bool), {"id": index})
        >>> sample = Remixed(Steps(), Remix(), seed=0)[0]
        >>> sample.image, sample.meta
        (array([[4.5, 4.5, 4.5]], dtype=float32), {'id': '0+1+1'})
    """

    def __init__(self, dataset: SampleDataset, options: Remix, seed: int) -> None:
        if len(dataset) < 2:
            raise ConfigError(f"augmentation.remix: needs 2 samples or more, found {len(dataset)}: leave it out")
        self.dataset = dataset
        self.options = options
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, index: int, epoch: int) -> Sample:
        """Return sample `index`, re-mixed with the random key (seed, index, epoch).

        Raises:
            DataError: samples differ in shape or have a context.
        """
        own = self.dataset.sample(index, epoch)
        if own.context is not None:
            raise DataError(
                f"augmentation.remix: sample {_name(own, index)} has a context, which belongs to its own image: "
                "leave remix out"
            )
        rng = keyed_rng(self.seed, "remixing", index, epoch)
        if rng.random() >= self.options.probability:
            return own
        draws = rng.integers(len(self) - 1, size=len(own.target))
        sources: list[int] = (draws + (draws >= index)).tolist()
        amplitudes = draw_factors(self.options.amplitudes, rng, size=len(sources))
        read = {source: self.dataset.sample(source, epoch) for source in set(sources)}
        for source, other in read.items():
            if other.target.shape != own.target.shape:
                raise DataError(
                    f"augmentation.remix: samples {_name(own, index)} and {_name(other, source)} have targets of "
                    f"shapes {own.target.shape} and {other.target.shape}, expected one shape: leave remix out"
                )
        maps = np.stack([read[source].target[k] for k, source in enumerate(sources)])
        target = (maps * amplitudes.reshape(-1, *[1] * own.image.ndim)).astype(np.float32)
        residual = own.image - own.target.sum(axis=0, dtype=np.float64)
        return Sample(
            image=(target.sum(axis=0, dtype=np.float64) + residual).astype(np.float32),
            target=target,
            valid=np.logical_and.reduce([own.valid, *(other.valid for other in read.values())]),
            meta={"id": "+".join([_name(own, index), *(_name(read[source], source) for source in sources)])},
            instances=_remixed([read[source] for source in sources], amplitudes),
        )


def _remixed(sources: Sequence[Sample], amplitudes: NDArray[np.float64]) -> Callable[[], Instances] | None:
    """Return a function that collects the instances of class k of sample k, or None if one sample has none."""
    if not all(source.has_instances for source in sources):
        return None

    def make() -> Instances:
        records = [source.instances for source in sources]
        return Instances.concatenate(
            [
                record.select(record.labels == label).scale(factor)
                for label, (record, factor) in enumerate(zip(records, amplitudes, strict=True))
                if record is not None
            ]
        )

    return make


def _name(sample: Sample, index: int) -> str:
    return str(sample.meta.get("id", index))
