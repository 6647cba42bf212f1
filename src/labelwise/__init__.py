"""Labelwise: multi-label image classification with one feature per label."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelwise.collection import Collection as Collection
    from labelwise.collection import embed as embed
    from labelwise.collection import teach as teach
    from labelwise.data import Dataset as Dataset
    from labelwise.data import read as read
    from labelwise.errors import LabelwiseError as LabelwiseError
    from labelwise.evaluation.evaluate import evaluate as evaluate
    from labelwise.export import export_run as export_run
    from labelwise.export.hub import HubModel as HubModel
    from labelwise.inference import Predictor as Predictor
    from labelwise.inference import load as load
    from labelwise.methods import create_model as create_model
    from labelwise.registry import list_methods as list_methods
    from labelwise.training.fit import fit as fit
    from labelwise.types import LabelSet as LabelSet
    from labelwise.types import Output as Output
    from labelwise.types import Targets as Targets

__version__ = "0.1.0"

# Names are imported on first use, so that `import labelwise` does not load torch.
_HOME = {
    "Collection": "collection",
    "embed": "collection",
    "teach": "collection",
    "Dataset": "data",
    "read": "data",
    "LabelwiseError": "errors",
    "evaluate": "evaluation",
    "export_run": "export",
    "HubModel": "export.hub",
    "create_model": "methods",
    "list_methods": "registry",
    "Predictor": "inference",
    "load": "inference",
    "fit": "training",
    "LabelSet": "types",
    "Output": "types",
    "Targets": "types",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"labelwise.{_HOME[name]}"), name)
    try:
        return import_module(f"labelwise.{name}")
    except ModuleNotFoundError:
        raise AttributeError(f"module 'labelwise' has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
