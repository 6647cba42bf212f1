"""The package without what only POSIX systems have, and without the libraries of its extras for tests."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import labelwise
from labelwise.data.cache import PrintCache
from labelwise.data.positions import open_descriptor, read_at, write_at

SOURCE = Path(labelwise.__file__).parent
MODULES = sorted(
    ".".join(("labelwise", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    if path.name != "__main__.py"
)

# Absent on Windows, as the documentation of Python states.
ABSENT = ("fcntl", "resource", "pwd", "grp", "termios")
NOT_IN_CORE = ("sklearn", "imagehash", "pywt", "joblib")
ABSENT_FROM = {
    "os": (
        *(
            "sync",
            "pread",
            "pwrite",
            "preadv",
            "pwritev",
            "posix_fallocate",
            "posix_fadvise",
            "fork",
            "killpg",
        ),
        *("getuid", "geteuid", "getpgid", "setsid", "uname", "mkfifo", "chown", "fchown", "statvfs", "nice"),
        *("sched_getaffinity", "sched_setaffinity", "O_CLOEXEC", "O_NONBLOCK", "O_DIRECTORY", "O_NOFOLLOW"),
    ),
    "signal": ("alarm", "setitimer", "pthread_sigmask", "pause", "SIGALRM", "SIGKILL", "SIGHUP", "SIGUSR1"),
    "socket": ("AF_UNIX",),
}

# Other libraries choose their code by the name of the system, which a test cannot change: they are loaded before.
START = f"""
import importlib, os, signal, socket, sys
import numpy, pyarrow.parquet, scipy.fft, torch, torchvision, timm, accelerate, torchmetrics, safetensors.torch
import huggingface_hub, typer, rich.console, yaml, pydantic, jaxtyping, jinja2, filelock, asyncio, subprocess
for optional in ("fastapi", "uvicorn", "ray.data", "onnx", "openvino", "mlflow", "wandb", "cleanlab", "pandas"):
    try: importlib.import_module(optional)
    except ImportError: pass
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {ABSENT + NOT_IN_CORE}: raise ModuleNotFoundError("not here: " + name, name=name)
filelock.FileLock = filelock.SoftFileLock  # the other one is of this system
sys.meta_path.insert(0, Refused())
for name in list(sys.modules):
    if name.split(".")[0] in {ABSENT + NOT_IN_CORE}: del sys.modules[name]
for module, names in {ABSENT_FROM}.items():
    for name in names: vars(sys.modules[module]).pop(name, None)
"""


def without_posix(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", START + program],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_every_module_is_imported_and_files_are_written_without_them(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
failed = []
for name in {MODULES}:
    try: importlib.import_module(name)
    except ImportError as error: failed.append((name, str(error)))
assert not failed, failed
import numpy as np
from labelwise.data.cache import PrintCache
from labelwise.data.loading import _outlive_signals
from labelwise.runs.files import write_text
from labelwise.runs.stored import stored
folder = Path({str(tmp_path)!r})
write_text(folder / "text", "content")
rng = np.random.default_rng(0)
keys, thumbs = rng.integers(1, 2**60, (9, 2), np.uint64), rng.integers(0, 256, (9, 16, 16, 3), np.uint8)
slots = PrintCache(folder / "prints").add(keys, keys[:, 0], thumbs)
cache = PrintCache(folder / "prints")
places, hashes = cache.find(keys[::-1])
assert (hashes == keys[::-1, 0]).all() and (cache.thumbs(places) == thumbs[::-1]).all()
def compute(part):
    np.load(part, mmap_mode="r+")[:] = 3
    return [(1, "reason")]
for _ in range(2):
    array, bad = stored(folder / "maps.npy", lambda: (2, 3), compute, "computed", print)
assert (array == 3).all() and bad == [(1, "reason")]
_outlive_signals(0)
from labelwise.data.fingerprints import fingerprint_image
from labelwise.data.readers import read
from labelwise.errors import LabelwiseError
print(fingerprint_image(thumbs[0])[0] > 0)
try: read("digits:")
except LabelwiseError as error: print(error)
"""
    assert without_posix(program).splitlines() == [
        "computed",
        "True",
        "scenes of handwritten digits without scikit-learn; expected its digits; run: pip install 'labelwise[demo]'",
    ]
    assert (tmp_path / "text").read_text() == "content"


@pytest.mark.parametrize("positioned", [True, False])
def test_bytes_are_read_and_written_at_a_place(
    positioned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not positioned:
        monkeypatch.delattr(os, "pread")
        monkeypatch.delattr(os, "pwrite")
    file = open_descriptor(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    write_at(file, b"\r\n0123456789\x1a", 3)
    with ThreadPoolExecutor(4) as threads:
        pieces = list(threads.map(lambda place: read_at(file, 4, place), range(17)))
    os.close(file)
    whole = b"\0\0\0\r\n0123456789\x1a"
    assert (tmp_path / "file").read_bytes() == whole
    assert pieces == [whole[place : place + 4] for place in range(17)]


ADD = """
import sys
from pathlib import Path
import numpy as np
from labelwise.data.cache import PrintCache
cache = PrintCache(Path("prints"))
for number in range(int(sys.argv[1]), 80, 2):
    key = np.full((1, 2), number + 1, np.uint64)
    cache.add(key, key[:, 0], np.full((1, 16, 16, 3), number, np.uint8))
"""


def test_processes_that_fill_one_cache_wait_for_each_other(tmp_path: Path) -> None:
    adding = [subprocess.Popen([sys.executable, "-c", ADD, str(own)], cwd=tmp_path) for own in range(2)]
    assert [process.wait() for process in adding] == [0, 0]
    cache, numbers = PrintCache(tmp_path / "prints"), np.arange(80)
    slots, hashes = cache.find(np.repeat(numbers[:, None] + 1, 2, 1).astype(np.uint64))
    assert sorted(slots.tolist()) == numbers.tolist()
    assert hashes.tolist() == (numbers + 1).tolist()
    assert (cache.thumbs(slots) == numbers[:, None, None, None]).all()
