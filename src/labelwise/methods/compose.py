"""Composes a method from parts and their options."""

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
from labelwise.methods.terms import TERM_CLASSES
from labelwise.model import LabelModel
from labelwise.relations import LabelText, LabelVectors
from labelwise.types import LabelPriors, LabelSet

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Options:
    """Options of a method, by part. Each mapping overrides the method's own defaults.

    Args:
        extractor: options of the extractor.
        relation: options of the relation.
        classifier: options of the classifier.
        loss: name and options of the classification loss; ASL if empty.
        terms: options of additional loss terms by name; a `weight` of 0 turns a term off.
        priors: label statistics of the training split.
        vector_dim: width of learned label vectors.
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
    """A part's class and the method's arguments for it.

    Args:
        kind: the class.
        given: fixed arguments that options cannot set, such as built parts.
        defaults: options that differ from the class's defaults.
    """

    kind: type[nn.Module]
    given: Settings = field(default_factory=dict)
    defaults: Settings = field(default_factory=dict)

    def build(self, section: str, options: Settings) -> Any:
        """Build the part with `options` over the defaults; `section` is its name in the settings, for errors.

        Raises:
            LabelwiseError: an unknown option, or a value that does not fit.
        """
        options = {**self.defaults, **options}
        check_options(self.kind, options, section, self.given)
        try:
            return self.kind(**self.given, **options)
        except LabelwiseError:
            raise
        except (ValueError, TypeError, AttributeError, RuntimeError, ArithmeticError) as error:
            raise LabelwiseError(
                f"{section} options {options} ({first_line(error)})", "values that fit", "correct them"
            ) from None


def compose(
    labels: LabelSet,
    backbone: nn.Module,
    options: Options,
    extractor: Part,
    relation: Part | None = None,
    classifier: Part | None = None,
    terms: Mapping[str, Settings] | None = None,
    own_logits: bool = False,
    **more: Any,
) -> Method:
    """Build a method from backbone, extractor, relation, classifier, loss and additional terms.

    Args:
        labels: the label set.
        backbone: with `out_channels`.
        options: options by part.
        extractor: the extractor; it also gets `channels` and `num_labels`.
        relation: its class takes `dim` and `num_labels` first and has `dim`; `None` for no relation.
        classifier: its class takes `num_labels` and `dim` first; `None` for one linear classifier per label.
        terms: the method's defaults of additional terms.
        own_logits: the extractor returns the logits, and there is no classifier.
        more: passed on to `LabelModel` (`own_share`, `takes_states`) and `Method` (`branch_weight`, `show`).

    Raises:
        LabelwiseError: options that do not fit.
    """
    number = len(labels)
    given = {"channels": backbone.out_channels, "num_labels": number, **extractor.given}
    head = Part(extractor.kind, given, extractor.defaults).build("extractor", options.extractor)
    related, width = None, int(head.dim)
    if relation is not None:
        given = {"dim": width, "num_labels": number, **relation.given}
        related = Part(relation.kind, given, relation.defaults).build("relation", options.relation)
        width = int(related.dim)
    elif options.relation:
        raise LabelwiseError(
            f"relation.{next(iter(options.relation))}", "a method with a relation", "leave it out"
        )
    last = None
    if not own_logits:
        classifier = classifier or Part(PerLabelClassifier, {"text": label_text(options)})
        given = {"num_labels": number, "dim": width, **classifier.given}
        last = Part(classifier.kind, given, classifier.defaults).build("classifier", options.classifier)
    elif options.classifier:
        raise LabelwiseError(
            f"classifier.{next(iter(options.classifier))}", "a method with a classifier", "leave it out"
        )
    for_method = {k: more.pop(k) for k in ("branch_weight", "show") if k in more}
    model = LabelModel(backbone, head, last, related, **more)
    rate = None if options.priors is None else options.priors.positive_rate
    criterion = build_loss(positive_rate=rate, priors=options.priors, **{"name": "asl", **options.loss})
    groups = tuple(tuple(labels.index(name) for name in group.labels) for group in labels.groups.values())
    rules = labels.every_rule.over(labels.names)
    sizes = HeadSizes(number, int(head.dim), width, groups, last is not None, rules)
    return Method(model, criterion, build_terms(sizes, terms or {}, options.terms), **for_method)


def build_terms(
    sizes: HeadSizes, defaults: Mapping[str, Settings], options_of: Mapping[str, Settings]
) -> dict[str, nn.Module]:
    """The additional loss terms with a nonzero weight.

    Raises:
        LabelwiseError: an unknown term, or options that do not fit.
    """
    terms = {}
    for name in {**defaults, **options_of}:
        if name not in TERM_CLASSES:
            raise LabelwiseError(f"term {name!r}", f"one of {', '.join(TERM_CLASSES)}", "correct the name")
        options = {**defaults.get(name, {}), **options_of.get(name, {})}
        if options.get("weight", 0):
            terms[name] = Part(TERM_CLASSES[name], {"sizes": sizes}).build(name, options)
        else:
            check_options(TERM_CLASSES[name], options, name, {"sizes": sizes})
    return terms


def check_options(part: type[nn.Module], options: Settings, section: str, given: Settings) -> None:
    """Refuse options that a part does not take; the error lists those that it takes.

    Raises:
        LabelwiseError: an unknown option, or a value outside its literals or of another type.
    """
    taken = {k: p for k, p in inspect.signature(part).parameters.items() if k not in given}
    hints = get_type_hints(part.__init__)
    for name, value in options.items():
        if name not in taken:
            raise LabelwiseError(
                f"{section}.{name}", f"one of {', '.join(taken) or 'nothing'}", "correct the option"
            )
        if get_origin(hints[name]) is Literal and value not in get_args(hints[name]):
            allowed = ", ".join(map(str, get_args(hints[name])))
            raise LabelwiseError(f"{section}.{name}={value!r}", f"one of {allowed}", "correct the option")
        default = taken[name].default
        if isinstance(default, bool) is not isinstance(value, bool) or (
            isinstance(default, str) is not isinstance(value, str)
        ):
            raise LabelwiseError(
                f"{section}.{name}={value!r}", f"a value like {default!r}", "correct the option"
            )


def label_vectors(labels: LabelSet, options: Options) -> LabelVectors:
    """The label vectors: word vectors of the priors; learned for labels without one."""
    given = None if options.priors is None else options.priors.vectors
    missing = () if options.priors is None else options.priors.missing
    return LabelVectors(len(labels), options.vector_dim, given, [labels.index(name) for name in missing])


def label_text(options: Options) -> LabelText:
    """Builds queries or weights from the word vectors of the priors."""
    if options.priors is None:
        return LabelText(None)
    return LabelText(options.priors.vectors, options.priors.missing)
