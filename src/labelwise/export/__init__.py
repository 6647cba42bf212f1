"""Export of runs: artefacts, graphs, and checks that they agree with the run."""

from labelwise.export.accuracy import Accuracy, measure_accuracy
from labelwise.export.artefact import Artefact, Preprocessing
from labelwise.export.engines import Eager, Engine, OnnxRuntime, OpenVINO, TorchProgram, open_engine
from labelwise.export.exporting import Export, export_run
from labelwise.export.parity import Parity, compare

__all__ = [
    "Accuracy",
    "Artefact",
    "Eager",
    "Engine",
    "Export",
    "OnnxRuntime",
    "OpenVINO",
    "Parity",
    "Preprocessing",
    "TorchProgram",
    "compare",
    "export_run",
    "measure_accuracy",
    "open_engine",
]
