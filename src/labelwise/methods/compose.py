"""How a method is put together from parts and what was asked of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

from torch import nn

from labelwise.classifiers import PerLabelClassifier
from labelwise.errors import LabelwiseError, first_line
from labelwise.losses import build_loss
from labelwise.methods.method import HeadSizes, Method
from labelwise.methods.terms import TERMS
from labelwise.model import LabelModel
from labelwise.relations import LabelText, LabelVectors
from labelwise.types import LabelPriors, LabelSet

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Options:
    """What was asked of a method, by part. Each mapping is laid over the method's own defaults.

    Args:
        extractor: options of the extractor.
        relation: options of the relation.
        classifier: options of the classifier.
        loss: name and options of the classification loss; ASL where it is empty.
        terms: options of further terms of the loss by name; a `weight` of 0 leaves a term out.
        priors: what the training split says of the labels.
        vector_dim: width of label vectors where they are learned.
    """

    extractor: Settings = field(default_factory=dict)
    relation: Settings = field(default_factory=dict)
    classifier: Settings = field(default_factory=dict)
    loss: Settings = field(default_factory=dict)
    terms: Mapping[str, Settings] = field(default_factory=dict)
    priors: LabelPriors | None = None
    vector_dim: int = 50


@dataclass(frozen=True)
class Part:
    """A part's class and what a method gives it.

    Args:
        kind: the class.
        given: built parts and numbers that nobody else may set.
        defaults: options where they differ from the class's own.
    """

    kind: type[nn.Module]
    given: Settings = field(default_factory=dict)
    defaults: Settings = field(default_factory=dict)

    def build(self, room: str, asked: Settings) -> Any:
        """The part, with what was asked laid over the defaults.

        Raises:
            LabelwiseError: an option that it does not take, or a value that does not fit.
        """
        options = {**self.defaults, **asked}
        check_options(self.kind, options, room, self.given)
        try:
            return self.kind(**self.given, **options)
        except LabelwiseError:
            raise
        except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
            raise LabelwiseError(
                f"{room} options {options} ({first_line(error)})", "values that fit", "correct them"
            ) from None


def compose(
    labels: LabelSet,
    backbone: nn.Module,
    asked: Options,
    extractor: Part,
    relation: Part | None = None,
    classifier: Part | None = None,
    terms: Mapping[str, Settings] | None = None,
    own_logits: bool = False,
    **more: Any,
) -> Method:
    """Backbone, extractor, relation, classifier, loss and further terms, the composition of every method.

    Args:
        labels: the label set; the extractor gets `channels` and `num_labels` besides what its part says.
        backbone: with `out_channels`.
        asked: options by part.
        extractor: gives label features.
        relation: its class takes `dim` and `num_labels` first and has `dim`; `None` for no relation.
        classifier: its class takes `num_labels` and `dim` first; `None` for one linear classifier per label.
        terms: the method's own defaults of further terms.
        own_logits: the extractor alone gives the logits; there is no classifier.
        more: passed on to `LabelModel` (`own_share`, `takes_states`) and `Method` (`branch_weight`, `show`).

    Raises:
        LabelwiseError: options that do not fit.
    """
    number = len(labels)
    given = {"channels": backbone.out_channels, "num_labels": number, **extractor.given}
    head = Part(extractor.kind, given, extractor.defaults).build("extractor", asked.extractor)
    related, width = None, int(head.dim)
    if relation is not None:
        given = {"dim": width, "num_labels": number, **relation.given}
        related = Part(relation.kind, given, relation.defaults).build("relation", asked.relation)
        width = int(related.dim)
    elif asked.relation:
        raise LabelwiseError(
            f"relation.{next(iter(asked.relation))}", "a method with a relation", "leave it out"
        )
    last = None
    if not own_logits:
        classifier = classifier or Part(PerLabelClassifier, {"text": label_text(asked)})
        given = {"num_labels": number, "dim": width, **classifier.given}
        last = Part(classifier.kind, given, classifier.defaults).build("classifier", asked.classifier)
    elif asked.classifier:
        raise LabelwiseError(
            f"classifier.{next(iter(asked.classifier))}", "a method with a classifier", "leave it out"
        )
    for_method = {k: more.pop(k) for k in ("branch_weight", "show") if k in more}
    model = LabelModel(backbone, head, last, related, **more)
    rate = None if asked.priors is None else asked.priors.positive_rate
    criterion = build_loss(positive_rate=rate, priors=asked.priors, **{"name": "asl", **asked.loss})
    groups = tuple(tuple(labels.index(name) for name in group.labels) for group in labels.groups.values())
    rules = labels.every_rule.over(labels.names)
    sizes = HeadSizes(number, int(head.dim), width, groups, last is not None, rules)
    return Method(model, criterion, build_terms(sizes, terms or {}, asked.terms), **for_method)


def build_terms(
    sizes: HeadSizes, defaults: Mapping[str, Settings], asked: Mapping[str, Settings]
) -> dict[str, nn.Module]:
    """Further terms of the loss whose weight is not 0.

    Raises:
        LabelwiseError: no such term, or options that do not fit.
    """
    found = {}
    for name in {**defaults, **asked}:
        if name not in TERMS:
            raise LabelwiseError(f"term {name!r}", f"one of {', '.join(TERMS)}", "correct the name")
        options = {**defaults.get(name, {}), **asked.get(name, {})}
        if options.get("weight", 0):
            found[name] = Part(TERMS[name], {"sizes": sizes}).build(name, options)
        else:
            check_options(TERMS[name], options, name, {"sizes": sizes})
    return found


def check_options(part: type[nn.Module], options: Settings, room: str, given: Settings) -> None:
    """Refuse options that a part does not take, naming those that it does.

    Raises:
        LabelwiseError: an unknown option, or a value outside the literals that it allows.
    """
    taken = {k: p for k, p in inspect.signature(part).parameters.items() if k not in given}
    hints = get_type_hints(part.__init__)
    for name, value in options.items():
        if name not in taken:
            raise LabelwiseError(
                f"{room}.{name}", f"one of {', '.join(taken) or 'nothing'}", "correct the option"
            )
        if get_origin(hints[name]) is Literal and value not in get_args(hints[name]):
            allowed = ", ".join(map(str, get_args(hints[name])))
            raise LabelwiseError(f"{room}.{name}={value!r}", f"one of {allowed}", "correct the option")
        default = taken[name].default
        if isinstance(default, bool) is not isinstance(value, bool) or (
            isinstance(default, str) is not isinstance(value, str)
        ):
            raise LabelwiseError(
                f"{room}.{name}={value!r}", f"a value like {default!r}", "correct the option"
            )


def label_vectors(labels: LabelSet, asked: Options) -> LabelVectors:
    """The label vectors that were asked for: given words, learned where words are missing."""
    given = None if asked.priors is None else asked.priors.vectors
    missing = () if asked.priors is None else asked.priors.missing
    return LabelVectors(len(labels), asked.vector_dim, given, [labels.index(name) for name in missing])


def label_text(asked: Options) -> LabelText:
    """What makes queries or weights from the word vectors that were asked for."""
    if asked.priors is None:
        return LabelText(None)
    return LabelText(asked.priors.vectors, asked.priors.missing)
