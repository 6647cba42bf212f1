"""Additional loss terms by the name of their settings; each can be combined with any method."""

from __future__ import annotations

from torch import nn

from labelwise.methods.blending_term import BlendingTerm
from labelwise.methods.consistency_term import ConsistencyTerm
from labelwise.methods.contrast_term import ContrastTerm
from labelwise.methods.discriminative_term import DiscriminativeTerm
from labelwise.methods.pseudo_term import PseudoTerm
from labelwise.methods.rules_term import RulesTerm

TERMS: dict[str, type[nn.Module]] = {
    "blending": BlendingTerm,
    "contrast": ContrastTerm,
    "discriminative": DiscriminativeTerm,
    "consistency": ConsistencyTerm,
    "pseudo": PseudoTerm,
    "rules": RulesTerm,
}
