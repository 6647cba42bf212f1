"""Composes a method from parts and their options."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn

from labelwise.classifiers import PerLabelClassifier
from labelwise.composition.controls import attend_uniformly, check_controls
from labelwise.composition.method import Method
from labelwise.errors import LabelwiseError
from labelwise.extractors.regions import place_prior
from labelwise.losses import build_loss
from labelwise.model import LabelModel
from labelwise.options import build_part, checked_options, taken_arguments
from labelwise.registry import CLASSIFIERS, EXTRACTORS, RELATIONS, TERMS, Registry
from labelwise.relations import LabelText, LabelVectors
from labelwise.terms.term import HeadSizes
from labelwise.types import LabelPriors, LabelSet

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Options:
    """Options of a method, by part. Each mapping overrides the method's own defaults.

    Args:
        extractor: options of the extractor; its `name` selects another registered one.
        relation: options of the relation, in the same way.
        classifier: options of the classifier, in the same way.
        loss: name and options of the classification loss; ASL if empty.
        terms: options of additional loss terms by name; a `weight` of 0 turns a term off.
        priors: label statistics of the training split.
        vector_dim: width of learned label vectors.
        regions: where each label may look, see `place_prior`.
        controls: of an experiment, see `labelwise.composition.controls`.
    """

    extractor: Settings = field(default_factory=dict)
    relation: Settings = field(default_factory=dict)
    classifier: Settings = field(default_factory=dict)
    loss: Settings = field(default_factory=dict)
    terms: Mapping[str, Settings] = field(default_factory=dict)
    priors: LabelPriors | None = None
    vector_dim: int = 50
    regions: Settings = field(default_factory=dict)
    controls: Collection[str] = ()


@dataclass(frozen=True)
class Part:
    """A part's class and the method's arguments for it.

    Args:
        kind: the class.
        given: fixed arguments that options cannot set, beside those of `compose`.
        defaults: options that differ from the class's defaults.
    """

    kind: type[nn.Module]
    given: Settings = field(default_factory=dict)
    defaults: Settings = field(default_factory=dict)

    def build(self, section: str, options: Settings, context: Mapping[str, Callable[[], Any]]) -> Any:
        """Build the part with `options` over the defaults.

        Args:
            section: its name in the settings, for errors.
            options: by name.
            context: makes the arguments that the class may take, by name.

        Raises:
            LabelwiseError: an unknown option, or a value that does not fit.
        """
        passed = {
            name: make()
            for name, make in taken_arguments(self.kind, context).items()
            if name not in self.given
        }
        return build_part(self.kind, section, {**self.defaults, **options}, {**passed, **self.given})


def compose(
    labels: LabelSet,
    backbone: nn.Module,
    options: Options,
    extractor: Part,
    relation: Part | None = None,
    classifier: Part | None = None,
    terms: Mapping[str, Settings] | None = None,
    **more: Any,
) -> Method:
    """Build a method from backbone, extractor, relation, classifier, loss and additional terms.

    A part gets those of these arguments that its class takes: `channels` of the map, `num_labels`, `dim` of the label
    features, `labels`, `priors`, `vectors` (a module that returns the label vectors), `text` (see `LabelMaps`) and
    `prior` (see `place_prior`).

    Args:
        labels: the label set.
        backbone: with `out_channels`.
        options: options by part.
        extractor: the extractor. If its class has a true `own_logits`, it scores the labels and there is no classifier;
            if it has a true `takes_states`, it also accepts known label states.
        relation: of the label features, with the attribute `dim`; `None` for none.
        classifier: of the label features; `None` for one linear classifier per label.
        terms: the method's defaults of additional terms.
        more: passed on to `LabelModel` (`own_share`) and `Method` (`branch_weight`, `split_states`).

    Raises:
        LabelwiseError: options that do not fit.
    """
    sizes: dict[str, int] = {"num_labels": len(labels), "channels": int(backbone.out_channels)}  # type: ignore[arg-type]
    context: dict[str, Callable[[], Any]] = {
        **{name: partial(sizes.__getitem__, name) for name in ("num_labels", "channels", "dim")},
        "labels": lambda: labels,
        "priors": lambda: None if no_edges else options.priors,
        "text": lambda: label_text(options),
        "vectors": lambda: label_vectors(labels, options),
        "prior": lambda: prior,
    }
    check_controls(options.controls)
    no_edges = "no-edges" in options.controls
    prior = build_part(place_prior, "regions", options.regions, {"label_set": labels})

    def build(section: str, part: Part | None, registry: Registry[type]) -> Any:
        settings = dict(getattr(options, section))
        if "name" in settings and (part is not None or section == "relation"):
            kind = registry[settings.pop("name")]
            part = part if part is not None and part.kind is kind else Part(kind)
        if part is not None:
            parts[section] = Part(part.kind, dict.fromkeys(part.given), part.defaults)
            return part.build(section, settings, context)
        if settings:
            raise LabelwiseError(
                f"{section}.{next(iter(settings))}", f"a method with a {section}", "leave it out"
            )
        return None

    parts: dict[str, Part] = {}  # without the arguments themselves, which may hold weights
    head = build("extractor", extractor, EXTRACTORS)
    if "uniform-attention" in options.controls:
        attend_uniformly(head, prior)
    if prior is not None and "prior" not in taken_arguments(type(head), context):
        raise LabelwiseError(
            f"regions.outside={prior.outside:g} for a method without attention of each label to places",
            "a method such as dlfl, ssgrl, query2label, csra or class-features",
            "choose one of them, or set regions.outside=1",
        )
    decoupled_dim = sizes["dim"] = int(head.dim)
    relation_module = build("relation", relation, RELATIONS)
    sizes["dim"] = decoupled_dim if relation_module is None else int(relation_module.dim)
    own_logits = getattr(head, "own_logits", False)
    scorer = build("classifier", None if own_logits else classifier or Part(PerLabelClassifier), CLASSIFIERS)
    if no_edges and not any("priors" in taken_arguments(part.kind, context) for part in parts.values()):
        raise LabelwiseError(
            "controls=no-edges for a method without a graph of co-occurring labels",
            "a method such as ssgrl or ml-gcn",
            "leave the control out",
        )
    method_arguments = {k: more.pop(k) for k in ("branch_weight", "split_states") if k in more}
    takes_states = getattr(head, "takes_states", False)
    model = LabelModel(backbone, head, scorer, relation_module, takes_states=takes_states, **more)
    criterion = build_loss(priors=options.priors, **{"name": "asl", **options.loss})
    groups = tuple(tuple(labels.index(name) for name in group.labels) for group in labels.groups.values())
    rules = labels.every_rule.over(labels.names)
    head_sizes = HeadSizes(len(labels), decoupled_dim, sizes["dim"], groups, scorer is not None, rules)
    method = Method(model, criterion, build_terms(head_sizes, terms or {}, options.terms), **method_arguments)
    term_parts = {name: Part(TERMS[name], {}, defaults) for name, defaults in (terms or {}).items()}
    method.parts = {**parts, **term_parts}
    return method


def build_terms(
    sizes: HeadSizes, defaults: Mapping[str, Settings], options_of: Mapping[str, Settings]
) -> dict[str, nn.Module]:
    """The additional loss terms with a nonzero weight.

    Raises:
        LabelwiseError: an unknown term, or options that do not fit.
    """
    terms = {}
    for name in {**defaults, **options_of}:
        options = {**defaults.get(name, {}), **options_of.get(name, {})}
        if options.get("weight", 0):
            terms[name] = build_part(TERMS[name], name, options, {"sizes": sizes})
        else:
            checked_options(TERMS[name], options, name, {"sizes"})
    return terms


def label_vectors(labels: LabelSet, options: Options) -> LabelVectors:
    """The label vectors: word vectors of the priors; learned for labels without one."""
    vectors = None if options.priors is None else options.priors.vectors
    missing = () if options.priors is None else options.priors.missing
    return LabelVectors(len(labels), options.vector_dim, vectors, [labels.index(name) for name in missing])


def label_text(options: Options) -> LabelText:
    """Builds queries or weights from the word vectors of the priors."""
    if options.priors is None:
        return LabelText(None)
    return LabelText(options.priors.vectors, options.priors.missing)
