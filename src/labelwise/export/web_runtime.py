"""The files of onnxruntime-web that a page needs: where they are taken from, and that they are those known here."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from labelwise.errors import LabelwiseError
from labelwise.export.artefact import sha256
from labelwise.jsonfile import read_json

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""SHA-512 of the package's archive, as the npm registry states it."""
FILES = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    "ort.webgpu.bundle.min.mjs": "0730816731ce2cdfb06f273da065d4a1c7091eb9d1756a83b2916c8a89d015e2",
    "ort-wasm-simd-threaded.asyncify.wasm": "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da",
}
"""SHA-256 of each file of its folder `dist` that is copied."""
PROVIDERS = {
    "wasm": ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"),
    "webgpu": ("ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"),
}
"""Module and binary of each provider."""
_NPM_SECONDS = 600


def copy_runtime(target: Path, given: Path | None = None, start: Path | None = None) -> None:
    """Copies the files to a new folder, once they are verified.

    Args:
        target: the folder.
        given: the folder of the package; `None` takes it from `node_modules` here or above, or else from npm.
        start: where the search for `node_modules` starts; the working folder by default.

    Raises:
        LabelwiseError: no such package, another version, or a changed file.
    """
    start = (start or Path.cwd()).resolve()
    candidates = (folder / "node_modules" / PACKAGE for folder in (start, *start.parents))
    package = given or next(filter(Path.is_dir, candidates), None)
    with tempfile.TemporaryDirectory() as folder:
        dist = verified(package or _downloaded(Path(folder)))
        target.mkdir(parents=True)
        for name in FILES:
            shutil.copyfile(dist / name, target / name)


def verified(package: Path) -> Path:
    """The folder `dist` of a package, if its version and files are those of this module.

    Raises:
        LabelwiseError: another version, or a missing or changed file.
    """
    todo = f"run: npm install {PACKAGE}@{VERSION}, and give --runtime node_modules/{PACKAGE}"
    stored = read_json(package / "package.json") if (package / "package.json").is_file() else {}
    version = stored.get("version") if stored.get("name") == PACKAGE else None
    if version != VERSION:
        actual = f"version {version}" if version else "another folder"
        raise LabelwiseError(f"{package}, {actual}", f"{PACKAGE} {VERSION}", todo)
    for name, digest in FILES.items():
        file = package / "dist" / name
        if not file.is_file() or sha256(file) != digest:
            raise LabelwiseError(f"{file}, missing or changed", f"the file of {PACKAGE} {VERSION}", todo)
    return package / "dist"


def _downloaded(folder: Path) -> Path:
    """The package, downloaded by npm and unpacked."""
    spec = f"{PACKAGE}@{VERSION}"
    npm = shutil.which("npm")
    if npm is None:
        raise LabelwiseError(
            f"neither node_modules/{PACKAGE} nor npm",
            f"{spec}, which computes the graph in a browser",
            f"install Node.js, or give --runtime with the folder of {spec}",
        )
    command = [npm, "pack", spec, "--silent", "--ignore-scripts", "--pack-destination", str(folder)]
    try:
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_NPM_SECONDS)
        reason = result.stderr.strip() or result.stdout.strip() or f"exit status {result.returncode}"
    except (OSError, subprocess.TimeoutExpired) as error:
        result, reason = None, str(error)
    archive = folder / f"{PACKAGE}-{VERSION}.tgz"
    if result is None or result.returncode or not archive.is_file():
        raise LabelwiseError(
            f"npm without {spec} ({reason.splitlines()[0]})",
            "the npm registry",
            "give --runtime with its folder",
        )
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != INTEGRITY:
        raise LabelwiseError(f"{spec} of another digest", "the archive known here", "check the npm registry")
    with tarfile.open(archive) as tar:
        for name in ("package.json", *(f"dist/{name}" for name in FILES)):
            target = folder / "package" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            source = tar.extractfile(f"package/{name}")
            assert source is not None, name  # the archive has the known digest
            with source, open(target, "wb") as file:
                shutil.copyfileobj(source, file)
    return folder / "package"
