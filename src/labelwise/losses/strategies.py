"""Strategies for unknown cells by the name of their setting."""

from __future__ import annotations

from labelwise.losses.unknown import Strategy
from labelwise.losses.unknown_assumed import (
    AssumeNegative,
    DurandWeighting,
    ExternalScores,
    SmoothedNegative,
    WeakNegative,
)
from labelwise.losses.unknown_entropy import EntropyMaximisation, PseudoNegatives
from labelwise.losses.unknown_expected import ExpectedPositives, OnlineLabelEstimates
from labelwise.losses.unknown_margin import Hill, SelfPacedCorrection
from labelwise.losses.unknown_ratio import VariationalPositives
from labelwise.losses.unknown_selected import (
    ClassAwareSelection,
    LargeLossCorrection,
    LargeLossFlip,
    LargeLossRejection,
)

IGNORE = "ignore"
"""Leaves unknown cells out; every loss does this by default, so there is no strategy class of this name."""

STRATEGIES: dict[str, type[Strategy]] = {
    "negative": AssumeNegative,
    "an-ls": SmoothedNegative,
    "wan": WeakNegative,
    "durand": DurandWeighting,
    "epr": ExpectedPositives,
    "role": OnlineLabelEstimates,
    "em": EntropyMaximisation,
    "em-apl": PseudoNegatives,
    "hill": Hill,
    "splc": SelfPacedCorrection,
    "ll-r": LargeLossRejection,
    "ll-ct": LargeLossCorrection,
    "ll-cp": LargeLossFlip,
    "csl": ClassAwareSelection,
    "vpu": VariationalPositives,
    "external": ExternalScores,
}
