"""Rules written as sums: quantities in cells, their differences and contrasts, and what is claimed of them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, Self

from vision_attn.spec import InputError
from vision_attn.verdicts.base import AllOf, Verdict
from vision_attn.verdicts.correlation import CorrelationVerdict
from vision_attn.verdicts.means import BoundVerdict, ContrastVerdict, DifferenceVerdict, EquivalenceVerdict
from vision_attn.verdicts.seeds import Measured, SeedVerdict, Terms, cell
from vision_attn.verdicts.shares import ShareVerdict


@dataclasses.dataclass(frozen=True)
class Part:
    """A rule that belongs to no claim yet."""

    kind: type[SeedVerdict]
    fields: Mapping[str, Any]
    statement: str = ""

    def of(self, claim: str, statement: str = "") -> SeedVerdict:
        """The rule as a part of a claim. Without a statement it is stated in the rule's own words."""
        made = self.kind(claim=claim, statement=statement or self.statement, **self.fields)
        return made if made.statement else made.replace(statement=made.sentence)


@dataclasses.dataclass(frozen=True)
class Contrast:
    """A quantity in a cell, or a weighted sum of it over cells, seed by seed: + - between two, * / by numbers."""

    quantity: "Quantity"
    terms: Terms

    def __add__(self, other: Self) -> Self:
        if not isinstance(other, Contrast):
            raise InputError(
                f"terms of a rule must be quantities in cells, and numbers its bound, as in .above(0.5). Got {other!r}."
            )
        if self.quantity != other.quantity:
            raise InputError(
                f"terms of a rule must be of one Quantity. Got {self.quantity} and {other.quantity} instead."
            )
        return dataclasses.replace(self, terms=(*self.terms, *other.terms))

    def __sub__(self, other: Self) -> Self:
        return self + -1 * other

    def __neg__(self) -> Self:
        return -1 * self

    def __mul__(self, weight: float) -> Self:
        if not isinstance(weight, int | float):
            raise InputError(f"weight of a term of a rule must be a number. Got a {type(weight).__name__} instead.")
        return dataclasses.replace(self, terms=tuple((weight * own, at) for own, at in self.terms))

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Self:
        return self * (1 / divisor)

    def above(self, bound: float, statement: str = "", *, bound_name: str = "") -> Part:
        """Its mean over seeds is above the bound, which may have a name, such as "chance"."""
        return self._one_sided(bound, "above", statement, bound_name)

    def below(self, bound: float, statement: str = "", *, bound_name: str = "") -> Part:
        """Its mean over seeds is below the bound, which may have a name, such as "chance"."""
        return self._one_sided(bound, "below", statement, bound_name)

    def within(self, margin: float, statement: str = "") -> Part:
        """A difference of two cells is within ± the margin: they are equivalent."""
        if sorted(weight for weight, _ in self.terms) != [-1, 1]:
            weights = [weight for weight, _ in self.terms]
            raise InputError(f"within must be asked of one cell minus another. Got terms of weights {weights} instead.")
        at, reference = (at for _, at in sorted(self.terms, key=lambda term: -term[0]))
        return self._part(EquivalenceVerdict, statement, at=at, reference=reference, margin=margin)

    def share(self, threshold: float) -> "Share":
        """The share of seeds that reach a threshold, for runs that may fail to learn at all."""
        if [weight for weight, _ in self.terms] != [1]:
            raise InputError(f"share must be asked of one cell. Got {len(self.terms)} terms instead.")
        return Share(self, threshold)

    def correlation(self, other: Self) -> "Correlation":
        """How alike two cells are item by item, such as maps by their patches: `along` of the quantity says by what."""
        if [weight for weight, _ in (self + other).terms] != [1, 1]:
            raise InputError(f"correlation must be asked of two cells. Got {len((self + other).terms)} terms instead.")
        return Correlation(self + other)

    def _one_sided(self, bound: float, side: Literal["above", "below"], statement: str, bound_name: str) -> Part:
        weights = [weight for weight, _ in self.terms]
        if weights == [1]:
            own = {"at": self.terms[0][1], "bound_name": bound_name}
            return self._part(BoundVerdict, statement, bound=bound, side=side, **own)
        if bound_name:
            raise InputError(f"bound_name must be given of one cell only. Got {bound_name!r} of a difference instead.")
        if weights == [1, -1]:
            at, reference = (at for _, at in self.terms)
            return self._part(DifferenceVerdict, statement, bound=bound, side=side, at=at, reference=reference)
        return self._part(ContrastVerdict, statement, bound=bound, side=side, terms=self.terms)

    def _part(self, kind: type[SeedVerdict], statement: str, **fields: Any) -> Part:
        return Part(kind, {**dataclasses.asdict(self.quantity), **fields}, statement)


@dataclasses.dataclass(frozen=True)
class Share:
    """The share of seeds of a cell that reach a threshold."""

    of: Contrast
    threshold: float

    def above(self, bound: float, statement: str = "") -> Part:
        """More than this share of seeds does."""
        return self._part("above", bound, statement)

    def below(self, bound: float, statement: str = "") -> Part:
        """Less than this share of seeds does."""
        return self._part("below", bound, statement)

    def _part(self, side: str, bound: float, statement: str) -> Part:
        at = self.of.terms[0][1]
        return self.of._part(ShareVerdict, statement, at=at, threshold=self.threshold, bound=bound, side=side)


@dataclasses.dataclass(frozen=True)
class Correlation:
    """The correlation of two cells over the coordinates that their quantity goes along."""

    of: Contrast

    def above(self, bound: float, statement: str = "") -> Part:
        """Its mean over seeds is above the bound: the two are alike."""
        return self._part("above", bound, statement)

    def below(self, bound: float, statement: str = "") -> Part:
        """Its mean over seeds is below the bound: the two differ."""
        return self._part("below", bound, statement)

    def _part(self, side: str, bound: float, statement: str) -> Part:
        at, reference = (at for _, at in self.of.terms)
        return self.of._part(CorrelationVerdict, statement, at=at, reference=reference, bound=bound, side=side)


@dataclasses.dataclass(frozen=True)
class Quantity(Measured):
    """A metric, one number a seed; called with levels it is its value in that cell.

        accuracy = Quantity("accuracy", given=cell(split="test"))
        (accuracy(model="ViT") - accuracy(model="ResNet")).below(0, "The ViT is worse.")

    The further fields are those of every rule on seeds (`seeds.Measured`); a rule asks for five seeds unless
    `min_seeds` says otherwise.
    """

    metric: str = "accuracy"
    min_seeds: int = dataclasses.field(default=5, kw_only=True)

    def __call__(self, **levels: str | int | float | bool) -> Contrast:
        return Contrast(self, ((1.0, cell(**levels)),))


def claim(
    name: str, statement: str, *parts: Part, leave_out: Literal["nothing", "budget-limited"] = "nothing"
) -> Verdict:
    """A claim of one rule, or one that holds where all its parts do. Raises `InputError` without a part."""
    if not parts:
        raise InputError(f"parts of claim {name} must be one rule or more. Got none instead.")
    if wrong := [part for part in parts if not isinstance(part, Part)]:
        hint = {
            Contrast: "say what is claimed of it by .above(bound), .below(bound) or .within(margin)",
            Share: "say what is claimed of it by .above(bound) or .below(bound)",
            Correlation: "say what is claimed of it by .above(bound) or .below(bound)",
        }.get(type(wrong[0]), "a rule of one's own stands by itself in verdicts=(...)")
        given = f"a {type(wrong[0]).__name__} instead: {hint}"
        raise InputError(f"parts of claim {name} must be rules, such as accuracy(model='ViT').above(0.5). Got {given}.")
    if len(parts) > 1:
        return AllOf(claim=name, statement=statement, parts=tuple(part.of(name) for part in parts), leave_out=leave_out)
    if parts[0].statement:
        allowed = "left to the claim where it is the only one"
        raise InputError(f"statement of a part of {name} must be {allowed}. Got {parts[0].statement!r} instead.")
    return parts[0].of(name, statement)
