"""Checks of the batches of a training whose loss or gradient is not finite."""

from oasis.data.samples import Batch
from oasis.errors import DataError

SHOWN = 8  # names of samples in a message


def names_of(batch: Batch) -> str:
    """Return the identities of the samples of a batch, for a message.

    Example:
        >>> import torch
        >>> images = torch.zeros(2, 1, 4)
        >>> names_of(Batch(images, images[:, None], images > 0, [{"id": "a"}, {}]))
        'a, ?'
    """
    names = [str(meta.get("id", "?")) for meta in batch.meta]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def check_valid_pixels(batch: Batch) -> None:
    """Check that the images of a batch are finite where they are valid.

    Raises:
        DataError: valid pixels are NaN or infinite.
    """
    wrong = (~batch.image.isfinite() & batch.valid).flatten(1).sum(1)
    if wrong.any():
        index = int(wrong.nonzero()[0])
        raise DataError(
            f"sample {batch.meta[index].get('id', index)}: {int(wrong[index])} pixels of the image are NaN or "
            "infinite but marked as valid, and a term of the loss reads the image: mark them as not valid"
        )
