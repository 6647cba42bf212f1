"""Mutation testing of metrics, losses, masks and blending with the tests of their subpackages.

Run: python tools/mutants.py [--sample 300] [--minutes 60] [--seed 0] [--only metrics/] [--csv results/mutants.csv]

Each mutant runs in a fork of a process that has already imported torch: the tests of its own file first, then those of
its subpackage, until the first failure or until `SECONDS` of CPU time.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.machinery
import os
import random
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kept import keep

ROOT = Path(__file__).resolve().parents[1]
SOURCE, TESTS = ROOT / "src" / "labelwise", ROOT / "tests"
SECONDS = 120
ASIDE = ("test_unknown_processes.py",)
"""Tests that start other processes and are left out."""
COMPARE = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.MatMult: ast.Mult, ast.Mod: ast.Mult,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Args:
        file: the changed file.
        line: of the change.
        kind: of the mutation operator.
        change: the code before and after.
        code: the complete changed source.
    """

    file: Path
    line: int
    kind: str
    change: str
    code: str

    @property
    def place(self) -> str:
        """File and line, to print."""
        return f"{self.file.relative_to(SOURCE)}:{self.line}"


def files(only: str) -> list[Path]:
    """The files of metrics, losses, blending and masks."""
    paths = [*SOURCE.glob("metrics/*.py"), *SOURCE.glob("losses/*.py"), *SOURCE.glob("blending/*.py")]
    paths.append(SOURCE / "data" / "masks.py")
    return sorted(f for f in paths if f.name != "__init__.py" and str(f.relative_to(SOURCE)).startswith(only))


def mutants(file: Path) -> Iterator[Mutant]:
    """All mutants of a file."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for number, node in enumerate(places(tree)):
        for kind, change in changes(node):
            changed = copy.deepcopy(tree)
            twin = list(places(changed))[number]
            before = ast.unparse(twin)
            change(twin)
            yield Mutant(file, node.lineno, kind, f"{before} -> {ast.unparse(twin)}", ast.unparse(changed))


def places(tree: ast.AST) -> Iterator[Any]:
    """Nodes that affect the computation: not annotations and error messages."""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns", "decorator_list", "bases") or isinstance(tree, ast.Raise):
            continue
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.AST):
                if isinstance(node, ast.expr):
                    yield node
                yield from places(node)


def changes(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """The possible mutations of a node: the kind, and a function that applies it in place."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARE:
        yield "compare", lambda n: n.ops.__setitem__(0, COMPARE[type(n.ops[0])]())
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        yield "arithmetic", lambda n: setattr(n, "op", ARITHMETIC[type(n.op)]())
    elif isinstance(node, ast.BoolOp):
        yield "boolean", lambda n: setattr(n, "op", ast.Or() if isinstance(n.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        yield "boolean", lambda n: setattr(n, "op", ast.UAdd())
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "constant", lambda n: setattr(n, "value", not n.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield "constant", lambda n: setattr(n, "value", n.value + 1)
    elif isinstance(node, ast.Call) and node.keywords:
        yield "argument", lambda n: n.keywords.pop()
    elif isinstance(node, ast.Call) and len(node.args) > 1:
        yield "argument", lambda n: n.args.pop()


def tests(file: Path) -> list[str]:
    """The test files of a source file, its own first; for masks only its own."""
    folder = TESTS / file.relative_to(SOURCE).parent
    own = folder / f"test_{file.stem}.py"
    others = sorted(f for f in folder.glob("test_*.py") if f != own and f.name not in ASIDE)
    first = [own] if own.is_file() else []
    return [str(f) for f in (first if folder.name == "data" else first + others)]


def replaced(mutant: Mutant) -> None:
    """Makes this process import the mutant."""
    loader = importlib.machinery.SourceFileLoader
    read = loader.get_data

    def get_data(self: Any, path: str) -> bytes:
        if path == str(mutant.file):
            return mutant.code.encode()
        if path.endswith(".pyc") and f"/{mutant.file.stem}." in path and mutant.file.parent.name in path:
            raise OSError("compiled before the change")
        return read(self, path)

    loader.get_data = get_data  # type: ignore[method-assign]
    sys.dont_write_bytecode = True


def survives(mutant: Mutant | None, chosen: list[str]) -> bool:
    """Whether all tests pass with the mutant (`None`: with the original code)."""
    child = os.fork()
    if child == 0:
        code = 3
        try:
            import pytest

            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            if mutant is not None:
                replaced(mutant)
            options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-o", "addopts="]
            code = int(pytest.main([*options, *chosen]))
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def main() -> int:
    """Runs a sample of mutants and prints the survivors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sample", type=int, default=300, help="number of sampled mutants (default: 300)")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="path prefix, such as metrics/ or losses/functional")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    os.chdir(ROOT)
    os.nice(10)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    import hypothesis  # noqa: F401
    import pytest  # noqa: F401
    import sklearn.metrics  # noqa: F401
    import torch

    torch.set_num_threads(1)
    every = [m for file in files(args.only) for m in mutants(file)]
    sample = random.Random(args.seed).sample(every, min(args.sample, len(every)))
    suites = {frozenset(tests(m.file)): tests(m.file) for m in sample}
    failing = [chosen for chosen in suites.values() if not survives(None, chosen)]
    if failing:
        print(f"tests fail without any change: {failing}")
        return 2
    rows, until = [], time.monotonic() + 60 * args.minutes
    for mutant in sample:
        if time.monotonic() > until:
            break
        end = "survived" if survives(mutant, tests(mutant.file)) else "killed"
        rows.append({"place": mutant.place, "kind": mutant.kind, "change": mutant.change[:200], "end": end})
        if end == "survived":
            print(f"survived  {mutant.place}  {mutant.kind}: {mutant.change[:150]}", flush=True)
    keep(args.csv, rows, ("place", "kind", "change", "end"))
    ends = Counter(row["end"] for row in rows)
    share = ends["killed"] / max(1, len(rows))
    print(
        f"{len(rows)} of {len(every)} mutants: {ends['killed']} killed, {ends['survived']} survived, {share:.1%} killed"
    )
    return 0 if share >= 0.9 else 1


if __name__ == "__main__":
    sys.exit(main())
