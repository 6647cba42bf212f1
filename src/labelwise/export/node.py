"""The exported page's own module in Node: the engine that a page's graph is compared in."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.engines.runtimes import GraphEngine, Images, as_array
from labelwise.errors import LabelwiseError

SCRIPT = Path(__file__).parent / "browser" / "node.mjs"


class Node(GraphEngine):
    """`labelwise.js` of an exported folder in Node, with onnxruntime-web in WebAssembly; use as a context.

    Args:
        file: the folder that `--format web` wrote.
        has_maps, has_features: see `GraphEngine`.

    Raises:
        LabelwiseError: Node is not installed, or the module cannot open the folder.
    """

    def _open(self, file: Path) -> tuple[str, None]:
        program = shutil.which("node")
        if program is None:
            raise LabelwiseError("no Node.js", "the program node", "install Node.js 18 or newer")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._process = subprocess.Popen(
            [program, str(SCRIPT), str(file.resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        greeting = self._reply()
        return f"{greeting['name']} in Node (wasm)", None

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process."""
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                pipe.close()
        self._process.kill()
        self._process.wait()

    def _outputs(self, images: Images, count: int) -> Sequence[np.ndarray]:
        batch = as_array(images)
        stdin: Any = self._process.stdin
        stdin.write(json.dumps(batch.shape).encode() + b"\n" + batch.tobytes())
        stdin.flush()
        return [self._read_array(shape) for shape in self._reply()][:count]

    def _read_array(self, shape: Sequence[int]) -> np.ndarray:
        stdout: Any = self._process.stdout
        byte_count = 4 * int(np.prod(shape))
        return np.frombuffer(stdout.read(byte_count), np.float32).reshape(shape)

    def _reply(self) -> Any:
        """The next JSON line of the process."""
        stdout: Any = self._process.stdout
        line = stdout.readline()
        answer = json.loads(line) if line else {"error": self._last_error()}
        if isinstance(answer, dict) and "error" in answer:
            raise LabelwiseError(
                f"labelwise.js in Node ({answer['error']})", "an export that it opens", "export again"
            )
        return answer

    def _last_error(self) -> str:
        """The first line of the process's errors that names one."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        return next((line for line in lines if "Error" in line), "no answer")
