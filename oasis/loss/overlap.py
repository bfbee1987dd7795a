"""The overlap-aware loss: a mean error weighted over the 2^N regions, a masked total variation, and further terms.

Source of the equations: OASIS, arXiv 2510.06194. Everything is computed in at least float32, even under autocast,
and pixels that are not valid do not count, even if they are NaN.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from oasis.errors import ConfigError, DataError, nearest
from oasis.loss.compared import Compared
from oasis.loss.distances import Distance, find_distance
from oasis.loss.learned import LearnedTable
from oasis.loss.matching import matching_order, reorder
from oasis.loss.ratio import Reduction, known, mean_of
from oasis.loss.regression import pixel_weights
from oasis.loss.symmetry import check_interchangeable, representatives, share_counts
from oasis.loss.terms import Term, find_terms
from oasis.loss.weights import LearnedWeights, Rule, parse_rule
from oasis.regions import check_classes, check_weight, per_class, present, region_codes
from oasis.scaling import FittedScale

logger = logging.getLogger(__name__)


class OverlapLoss(nn.Module):
    r"""Segmentation-regression loss that weights every overlap subset of the classes (Eq. 1 of the paper).

    .. math:: L = \rho L_\mathrm{regression} + \alpha L_\mathrm{smoothness} + \sum_k \beta_k L_k

    A term of weight 0 is left out.

    Args:
        classes: the N class names.
        class_weights: weight of each class's error by name, or in the order of the classes; unnamed ones weigh 1.
        region_weights: weight of each region by name (`{"ER": 3, "ER&NR": 6}`; unnamed regions weigh 1,
            `"background"` is the region where no class is present), or a rule of `oasis.loss.weights` that
            determines them all (`{"rule": "size", "weights": {2: 6}}`).
        regression: the weight rho of the region-weighted error; 1 in the paper.
        smoothness: the weight alpha of the total variation.
        reduction: `"batch"` divides sums over the whole batch (as in the reference implementation), `"sample"`
            takes the mean over samples.
        thresholds: a class is present where its target is above its threshold; one number, or by class name.
        spatial_dims: number of trailing spatial axes; all after the class axis if None. Required for maps with
            bands `(b, N, B, *S)`.
        distance: between a predicted and a true intensity, as `oasis.loss.distances.find_distance` takes it; the
            paper's is the absolute one.
        terms: further terms by name with their weight or options, as `oasis.loss.terms.find_terms` takes them.
        interchangeable: groups of interchangeable classes: the predicted maps of a group are compared in the order
            that fits the target best, sample by sample.
        region_counts: pixels by region code, required by the rule `balanced` (`oasis.data.statistics`).

    Raises:
        ConfigError: an unknown class, region, reduction, distance or term; a weight that is negative or not
            finite; weights or thresholds that differ between interchangeable classes.

    Example:
        >>> loss = OverlapLoss(("ER", "NR"), class_weights={"ER": 5}, region_weights={"ER": 3, "ER&NR": 6})
        >>> target = torch.zeros(1, 2, 4, 4)
        >>> target[:, :, 1:3, 1:3] = 1
        >>> loss(target, target)
        tensor(0.0067)
        >>> loss.terms(target + 0.5, target)["regression"]
        tensor(0.5000)
    """

    class_weights: Tensor
    thresholds: Tensor
    fixed_table: Tensor

    def __init__(
        self,
        classes: Sequence[str],
        class_weights: Mapping[str, float] | list[float] | tuple[float, ...] | None = None,
        region_weights: Mapping[str, Any] | Rule | None = None,
        regression: float = 1.0,
        smoothness: float = 0.01,
        reduction: Reduction = "batch",
        thresholds: Mapping[str, float] | float = 0.0,
        spatial_dims: int | None = None,
        distance: str | Mapping[str, Any] | Distance = "absolute",
        terms: Mapping[str, float | Mapping[str, Any] | Term] | None = None,
        interchangeable: Sequence[Sequence[str]] = (),
        region_counts: Mapping[int, float] | None = None,
    ) -> None:
        super().__init__()
        if reduction not in ("batch", "sample"):
            raise ConfigError(f"reduction: unknown {reduction!r}; {nearest(reduction, ('batch', 'sample'))}")
        if spatial_dims not in (None, 1, 2, 3):
            raise ConfigError(f"spatial_dims: expected 1, 2 or 3, found {spatial_dims!r}")
        self.classes = check_classes(classes)
        self._inspected = False  # whether predictions were looked at, which takes time
        self.reduction: Reduction = reduction
        self.spatial_dims = spatial_dims
        self.distance = find_distance(distance)
        weights = per_class(self.classes, class_weights, 1.0, "class_weights")
        if not weights.any():
            raise ConfigError("class_weights: all are 0, so that nothing would be learned: give one that is not")
        self.register_buffer("class_weights", weights, persistent=False)
        limits = per_class(self.classes, thresholds, 0.0, "thresholds")
        self.register_buffer("thresholds", limits, persistent=False)
        rule = parse_rule(region_weights)
        if region_counts:
            region_counts = share_counts(region_counts, self.classes, interchangeable)
        table = rule.table(self.classes, region_counts)
        self.register_buffer("fixed_table", table, persistent=False)
        self.groups = self._groups(interchangeable)
        representative = representatives(self.classes, interchangeable) if interchangeable else None
        self.learned = LearnedTable(rule, table, representative) if isinstance(rule, LearnedWeights) else None
        further = find_terms(terms, self.classes, limits)
        weights_of_terms = {
            "regression": check_weight(regression, "regression"),
            "smoothness": check_weight(smoothness, "smoothness"),
            **{name: term.weight for name, term in further.items()},
        }
        self.term_weights = {name: weight for name, weight in weights_of_terms.items() if weight > 0}
        self.further = {name: term for name, term in further.items() if name in self.term_weights}
        if not self.term_weights:
            raise ConfigError("loss: all terms have weight 0: give a weight to regression or to another term")

    @property
    def table(self) -> Tensor:
        """The weight of every region (2^N,), by code.

        In training mode these are the learned weights, in evaluation mode the initial ones, so that losses of
        different epochs are comparable.
        """
        return self.learned.table if self.learned is not None and self.training else self.fixed_table

    def regions(self, target: Tensor) -> Tensor:
        """Return the region code (b, *S) of every pixel of a target (b, N, *S)."""
        return region_codes(present(target, self.thresholds))

    def compare(
        self,
        prediction: Tensor,
        target: Tensor,
        valid: Tensor | None = None,
        codes: Tensor | None = None,
        scale: FittedScale | None = None,
        image: Tensor | None = None,
    ) -> Compared:
        """Return the comparison of a batch: the terms, the order of interchangeable maps and the sums by region.

        The arguments and errors are those of `forward`.

        Example:
            >>> loss = OverlapLoss(("a", "b"), interchangeable=[("a", "b")])
            >>> target = torch.tensor([[[4.0, 0.0], [0.0, 1.0]]])
            >>> compared = loss.compare(target.flip(1), target)
            >>> compared.order
            tensor([[1, 0]])
            >>> compared.ratios()["regression"].mean()
            tensor(0.)
        """
        valid = self._check(prediction, target, valid, codes)
        prediction, target = _at_least_float32(prediction), _at_least_float32(target)
        codes = self.regions(target) if codes is None else codes
        self._warn_of_negative(prediction)
        order = None
        if self.groups:
            weights = self.weights(codes, valid, target)
            order = matching_order(prediction, target, self.groups, weights, self.distance)
            prediction = reorder(prediction, order)
        return Compared(self, prediction, target, valid, codes, scale, image, order)

    def combine(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Return the total of Eq. 1 from its terms."""
        return torch.stack([weight * terms[name] for name, weight in self.term_weights.items()]).sum()

    def terms(self, prediction: Tensor, target: Tensor, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Return the scalar `total` and every term by name.

        The arguments are those of `forward`.
        """
        ratios = self.compare(prediction, target, *args, **kwargs).ratios()
        means = {name: ratio.mean(self.reduction) for name, ratio in ratios.items()}
        return {"total": self.combine(means), **means}

    def forward(
        self,
        prediction: Tensor,
        target: Tensor,
        valid: Tensor | None = None,
        codes: Tensor | None = None,
        scale: FittedScale | None = None,
        image: Tensor | None = None,
    ) -> Tensor:
        """Return the loss as a scalar.

        Args:
            prediction: (b, N, *S) maps.
            target: (b, N, *S) true maps in the same units.
            valid: (b, 1, *S), non-zero where pixels count; all count if None.
            codes: (b, *S) region codes, required if the target is in scaled units but thresholds are in physical
                units; by default `self.regions(target)`.
            scale: the scaling of both maps, which the further terms undo; None if they are in physical units.
            image: (b, B, *S) the measured mixture in physical units, for the terms that need it.

        Raises:
            DataError: the shapes are inconsistent, or the target is not finite where it is valid.
        """
        return self.terms(prediction, target, valid, codes, scale, image)["total"]

    def denominators(
        self,
        target: Tensor,
        valid: Tensor | None = None,
        codes: Tensor | None = None,
        scale: FittedScale | None = None,
        image: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return what each term is divided by, which does not depend on the prediction; see `share`."""
        valid = self._check(target, target, valid, codes)
        target = _at_least_float32(target).detach()
        codes = self.regions(target) if codes is None else codes
        ratios = Compared(self, target, target, valid, codes, scale, image).ratios()
        return {name: ratio.totals(self.reduction)[1] for name, ratio in ratios.items()}

    def share(
        self, prediction: Tensor, target: Tensor, denominators: Mapping[str, Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return the share of a part in the loss of a larger batch: the shares of all parts add up to that loss.

        The same holds for gradients, so that they can be accumulated part by part.

        Args:
            prediction: (b, N, *S) maps of the part.
            target: (b, N, *S) its true maps.
            denominators: sums over all parts of what `denominators` returns.
            *args: further arguments as for `forward`.
            **kwargs: further arguments as for `forward`.

        Example:
            >>> loss = OverlapLoss(("a", "b"), class_weights={"a": 5})
            >>> target = torch.tensor([[[4.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, 0.0]]])
            >>> parts = [target[:1], target[1:]]
            >>> known = [loss.denominators(part) for part in parts]
            >>> sums = {name: sum(part[name] for part in known) for name in known[0]}
            >>> sum(loss.share(part + 1, part, sums) for part in parts) == loss(target + 1, target)
            tensor(True)
        """
        ratios = self.compare(prediction, target, *args, **kwargs).ratios()
        sums = {name: ratio.totals(self.reduction)[0] for name, ratio in ratios.items()}
        return self.combine({name: mean_of(torch.stack([sums[name], denominators[name]])) for name in sums})

    def weights(self, codes: Tensor, valid: Tensor | None, like: Tensor) -> Tensor:
        """Return the weight of every pixel, as `pixel_weights` does."""
        return pixel_weights(codes, self.table.to(like.dtype), None if valid is None else valid[:, 0])

    def _warn_of_negative(self, prediction: Tensor) -> None:
        """Log that the first predictions are negative, which intensities are not."""
        if self._inspected or torch.compiler.is_compiling():
            return
        self._inspected = True
        if known((prediction.detach() < 0).any()):
            logger.warning(
                "the loss is given negative predictions, but intensities are at least 0: apply softplus to the "
                "output of the network, or a head of oasis.separator.heads"
            )

    def _groups(self, interchangeable: Sequence[Sequence[str]]) -> list[list[int]]:
        """Return groups as indices, after a check that their members share weights and thresholds."""
        if interchangeable:
            check_interchangeable(self.fixed_table, self.classes, interchangeable)
        groups = [[self.classes.index(name) for name in group] for group in interchangeable]
        for what, values in (("class_weights", self.class_weights), ("thresholds", self.thresholds)):
            for group in groups:
                if len(set(values[group].tolist())) > 1:
                    found = {self.classes[member]: values[member].item() for member in group}
                    raise ConfigError(f"{what}: {found} are interchangeable: give them the same value")
        return groups

    def _check(
        self, prediction: Tensor, target: Tensor, valid: Tensor | None, codes: Tensor | None
    ) -> Tensor | None:
        for what, values in (("prediction", prediction), ("target", target)):
            if not isinstance(values, Tensor) or values.is_complex():
                found = values.dtype if isinstance(values, Tensor) else type(values).__name__
                raise DataError(f"{what}: expected a tensor of real numbers, found {found}")
        if prediction.shape != target.shape:
            raise DataError(
                f"prediction of shape {tuple(prediction.shape)} and target of shape {tuple(target.shape)} differ"
            )
        if prediction.ndim < 3 or prediction.shape[1] != len(self.classes):
            raise DataError(
                f"expected (batch, {len(self.classes)} classes, *spatial), found {tuple(prediction.shape)}"
            )
        if 0 in prediction.shape[2:]:
            raise DataError(f"images without pixels, of shape {tuple(prediction.shape)}")
        if self.spatial_dims is not None and self.spatial_dims > prediction.ndim - 2:
            raise DataError(
                f"expected {self.spatial_dims} axes after batch and classes, found {tuple(prediction.shape)}"
            )
        if codes is not None and codes.shape != prediction[:, 0].shape:
            raise DataError(f"codes has shape {tuple(codes.shape)}, expected {tuple(prediction[:, 0].shape)}")
        if valid is None:
            return None
        spatial = prediction.shape[2:] if self.spatial_dims is None else prediction.shape[-self.spatial_dims :]
        if valid.shape != (len(prediction), 1, *spatial):
            raise DataError(f"valid has shape {tuple(valid.shape)}, expected {(len(prediction), 1, *spatial)}")
        extra = prediction.ndim - valid.ndim
        return (valid != 0).view(len(valid), *[1] * (1 + extra), *spatial)


def _at_least_float32(values: Tensor) -> Tensor:
    # subclasses of other libraries do not support the fused sums; those of a compiler have to stay
    foreign = type(values) is not Tensor and not torch.compiler.is_compiling()
    plain = values.as_subclass(Tensor) if foreign else values
    return plain if plain.dtype == torch.float64 else plain.float()
