"""Export of runs: artefacts, graphs, and checks that they agree with the run."""

from typing import TYPE_CHECKING

from labelwise.lazy import names_of

if TYPE_CHECKING:
    from labelwise.export.accuracy import Accuracy as Accuracy
    from labelwise.export.accuracy import measure_accuracy as measure_accuracy
    from labelwise.export.artefact import Artefact as Artefact
    from labelwise.export.artefact import Preprocessing as Preprocessing
    from labelwise.export.engines import Eager as Eager
    from labelwise.export.engines import TorchProgram as TorchProgram
    from labelwise.export.engines import open_engine as open_engine
    from labelwise.export.exporting import Export as Export
    from labelwise.export.exporting import export_run as export_run
    from labelwise.export.parity import Parity as Parity
    from labelwise.export.parity import compare as compare
    from labelwise.export.phones import CoreML as CoreML
    from labelwise.export.phones import ExecuTorch as ExecuTorch
    from labelwise.export.phones import LiteRT as LiteRT
    from labelwise.export.phones import Structure as Structure
    from labelwise.export.runtimes import Engine as Engine
    from labelwise.export.runtimes import OnnxRuntime as OnnxRuntime
    from labelwise.export.runtimes import OpenVINO as OpenVINO

_HOME = {
    "Accuracy": "accuracy",
    "Artefact": "artefact",
    "CoreML": "phones",
    "Eager": "engines",
    "Engine": "runtimes",
    "ExecuTorch": "phones",
    "Export": "exporting",
    "LiteRT": "phones",
    "OnnxRuntime": "runtimes",
    "OpenVINO": "runtimes",
    "Parity": "parity",
    "Preprocessing": "artefact",
    "Structure": "phones",
    "TorchProgram": "engines",
    "compare": "parity",
    "export_run": "exporting",
    "measure_accuracy": "accuracy",
    "open_engine": "engines",
}
__all__ = sorted(_HOME)
__getattr__ = names_of(__name__, _HOME)
