"""Heads: from the output of the backbone to one non-negative map per class."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oasis.scaling import FittedScale
from oasis.separator.prediction import Maps


class Head(nn.Module, ABC):
    """A function without parameters from the output of the backbone to maps.

    Attributes:
        classes: number N of classes.
        bands: number B of bands of each map.
    """

    def __init__(self, classes: int, bands: int = 1) -> None:
        super().__init__()
        self.classes = classes
        self.bands = bands

    @property
    def channels(self) -> int:
        """Number of channels required from the backbone."""
        return self.classes * self.bands

    @abstractmethod
    def forward(self, features: Tensor, image: Tensor, scale: FittedScale) -> Maps:
        """Return the maps (b, N, B, *S).

        Args:
            features: (b, channels, *S) the output of the backbone.
            image: (b, B, *S) the mixture in physical units.
            scale: the scaling fitted to `image`.
        """

    def _split(self, features: Tensor, groups: int) -> Tensor:
        return features.float().view(features.shape[0], groups, self.bands, *features.shape[2:])


class SoftplusHead(Head):
    """The paper's head: the softplus of the features is the scaled map.

    Example:
        >>> from oasis.scaling import LogScale
        >>> image = torch.full((1, 1, 2), 10.0)
        >>> head = SoftplusHead(classes=2)
        >>> head(torch.zeros(1, 2, 2), image, LogScale(scale=1.0).fit(image)).values.shape
        torch.Size([1, 2, 1, 2])
    """

    def forward(self, features: Tensor, image: Tensor, scale: FittedScale) -> Maps:
        """Return softplus(features) as scaled maps."""
        return Maps(F.softplus(self._split(features, self.classes)), scale, scaled=True)


class FractionHead(Head):
    """A head that divides the intensity of each pixel among the classes and, by default, the background.

    The maps and the background add up to the image by construction, and an empty pixel stays exactly empty.
    Negative pixels count as empty.

    Example:
        >>> from oasis.scaling import LogScale
        >>> image = torch.tensor([[[12.0, 0.0]]])
        >>> head = FractionHead(classes=2)
        >>> head(torch.zeros(1, 3, 2), image, LogScale().fit(image)).in_physical_units[0, :, 0]
        tensor([[4., 0.],
                [4., 0.]])
    """

    def __init__(self, classes: int, bands: int = 1, background: bool = True) -> None:
        super().__init__(classes, bands)
        self.background = background

    @property
    def channels(self) -> int:
        """Number of channels required from the backbone: one more class for the background."""
        return (self.classes + self.background) * self.bands

    def forward(self, features: Tensor, image: Tensor, scale: FittedScale) -> Maps:
        """Return softmax(features) x image."""
        shares = torch.softmax(self._split(features, self.classes + self.background), dim=1)
        return Maps(shares[:, : self.classes] * image.clamp_min(0).unsqueeze(1), scale, scaled=False)


class DenoisedHead(Head):
    r"""A head that first denoises the image and then divides it among the classes.

    .. math:: y' = \tfrac{1}{\beta} \ln(1 + e^{\beta (y + d)}), \qquad
              \hat I_c = \frac{e^{x_c}}{\sum_k e^{x_k}} \, S^{-1}(y')

    with the scaled image :math:`y = S(I)`, a predicted correction :math:`d` per band, and :math:`\beta = 10`.
    Where the image is far above the noise, :math:`d = 0` divides all of it among the classes, as in
    `FractionHead`; around zero, where pixels can be negative, the noise is removed and faint wings below it can be
    predicted.

    Example:
        >>> from oasis.scaling import AsinhScale
        >>> image = torch.tensor([[[100.0, -1.0]]])
        >>> features = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [0.0, -1.0]]])  # two shares and the correction
        >>> maps = DenoisedHead(classes=2)(features, image, AsinhScale(noise=1.0).fit(image))
        >>> maps.in_physical_units[0, :, 0].round(decimals=3)
        tensor([[50.,  0.],
                [50.,  0.]])
    """

    SHARPNESS = 10.0

    @property
    def channels(self) -> int:
        """Number of channels required from the backbone: one more class for the correction."""
        return (self.classes + 1) * self.bands

    def forward(self, features: Tensor, image: Tensor, scale: FittedScale) -> Maps:
        """Return softmax(shares) x the denoised image."""
        split = self._split(features, self.classes + 1)
        corrected = scale.forward(image.float()) + split[:, self.classes]
        denoised = scale.inverse(F.softplus(corrected, beta=self.SHARPNESS))
        maps = torch.softmax(split[:, : self.classes], dim=1) * denoised.unsqueeze(1)
        return Maps(maps, scale, scaled=False)


HEADS: dict[str, type[Head]] = {"softplus": SoftplusHead, "fraction": FractionHead, "denoised": DenoisedHead}
