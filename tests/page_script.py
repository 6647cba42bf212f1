"""Functions of the page's scripts, called in Node.js."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from labelwise.serving.app import PAGE


def called_in_node(folder: Path, module: str, functions: str, expression: str, given: Any) -> Any:
    """The value of an expression in JavaScript.

    Args:
        folder: an empty folder for the files of the call.
        module: file of the page, such as `decide.js`.
        functions: names to import from it, separated by commas.
        expression: its value is returned; `given` holds the data.
        given: plain data.
    """
    shutil.copy(PAGE / module, folder / "module.mjs")
    (folder / "given.json").write_text(json.dumps(given))
    (folder / "run.mjs").write_text(
        f'import {{ {functions} }} from "./module.mjs"; import {{ readFileSync }} from "node:fs";\n'
        "const given = JSON.parse(readFileSync(process.argv[2]));\n"
        f"console.log(JSON.stringify({expression}));\n"
    )
    command = ["node", folder / "run.mjs", folder / "given.json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
