"""Parts by name: found without importing them, registered once, and loaded from other packages."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from labelwise import registry
from labelwise.errors import LabelwiseError
from labelwise.options import first_sentence, options_model
from labelwise.registry import LOSSES, METHODS, TERMS, Card, Registry, list_methods

KINDS: dict[str, Registry[type]] = {
    name: getattr(registry, name)
    for name in ("EXTRACTORS", "RELATIONS", "CLASSIFIERS", "LOSSES", "STRATEGIES", "TERMS")
}
PARTS = [(kind, name) for kind, parts in KINDS.items() for name in parts]


@pytest.fixture
def card() -> Iterator[Card]:
    yield Card("zebra", "a summary", "a task", "a source", "a standing")
    METHODS._entries.pop("zebra", None)


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch, package: str, entries: str, code: str) -> None:
    """Put a package with entry points on the path of imports, as an installation does."""
    (folder / f"{package}.py").write_text(code, encoding="utf-8")
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text(entries, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))


def test_registering_makes_a_method_known(card: Card) -> None:
    def build(*parts: Any) -> str:
        return "built"

    assert METHODS.register(card)(build) is build
    assert list_methods()[-1] == "zebra"
    assert METHODS["zebra"] == (card, build)


def test_the_documented_methods_are_there_in_order() -> None:
    names = list_methods()
    assert names == sorted(names)
    assert {"baseline-gap", "baseline-gmp", "baseline-mlp", "dlfl"} <= set(names)


def test_an_unknown_name_lists_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(LabelwiseError) as error:
        METHODS["dlfk"]
    assert str(error.value) == f"method 'dlfk'; expected one of {', '.join(METHODS)}; did you mean dlfl?"
    with pytest.raises(LabelwiseError, match=r"loss 'none'; expected one of asl, bce, .*; correct it"):
        LOSSES["none"]


def test_names_and_cards_are_read_without_importing_the_parts() -> None:
    assert METHODS.cards() == {name: METHODS[name][0] for name in list_methods()}
    program = "import sys; from labelwise import registry; from labelwise.cli import main\n"
    program += f"print(sum(len(getattr(registry, kind)) for kind in {list(KINDS)!r}))\n"
    program += "sys.argv = ['labelwise', 'methods', 'dlfl']\n"
    program += "try: main()\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{len(PARTS)}\nname: dlfl")
    assert done.stdout.endswith("False\n")


def test_terms_keep_the_order_in_which_older_runs_add_them() -> None:
    assert list(TERMS)[:6] == ["blending", "contrast", "discriminative", "consistency", "pseudo", "rules"]


@pytest.mark.parametrize("name", list_methods())
def test_every_card_is_complete(name: str) -> None:
    card, build = METHODS[name]
    assert card.name == name
    for part in ("summary", "task", "source", "standing", "licence"):
        assert len(getattr(card, part)) >= 8, part
    assert "\n" not in card.summary
    assert build.__doc__
    if card.source != "baseline":
        assert card.differences, "a published method says where it departs"
    assert json.loads(json.dumps(card.to_json()))["name"] == name


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_every_part_documents_its_options_and_accepts_its_defaults(kind: str, name: str) -> None:
    part = KINDS[kind][name]
    model = options_model(part)
    assert first_sentence(part)
    assert [option for option, field in model.model_fields.items() if not field.description] == []
    defaults = {option: field.default for option, field in model.model_fields.items()}
    assert model.model_validate(defaults).model_dump() == defaults


def test_a_name_is_registered_once() -> None:
    with pytest.raises(LabelwiseError) as error:
        LOSSES.register("asl")(type("Mine", (nn.Module,), {"__module__": "acme"}))
    assert str(error.value) == (
        "loss 'asl' of acme; expected a name that labelwise.losses.classification does not use; rename it"
    )
    again = {}
    for _ in range(2):  # as in a notebook whose cell runs twice
        again = LOSSES.register("zebra")(type("Mine", (nn.Module,), {"__module__": "acme"}))
    assert LOSSES["zebra"] is again
    LOSSES._entries.pop("zebra")  # type: ignore[attr-defined]


LOSS = """
from labelwise.losses import CellLoss
from labelwise.losses.functional import binary_cross_entropy

class Doubled(CellLoss):
    '''Twice the binary cross-entropy.

    Args:
        factor: of the loss.
    '''
    def __init__(self, factor: float = 2.0) -> None:
        super().__init__(lambda z, y: factor * binary_cross_entropy(z, y), "mean_known")
"""


def test_a_package_adds_a_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = "[labelwise.losses]\ndoubled = acme_doubled:Doubled\n"
    installed(tmp_path, monkeypatch, "acme_doubled", entries, LOSS)
    assert list(LOSSES)[-1] == "doubled"
    assert "acme_doubled" not in sys.modules
    assert options_model(LOSSES["doubled"]).model_fields["factor"].description == "of the loss"
    LOSSES._entries.pop("doubled")  # type: ignore[attr-defined]
    del sys.modules["acme_doubled"]


@pytest.mark.parametrize(
    ("entries", "name", "says"),
    [
        (
            "gone = acme_no_such_module:Loss",
            "gone",
            "loss 'gone' of package acme, acme_no_such_module:Loss (No module named 'acme_no_such_module'); expected a "
            "module that can be imported and registers it; correct or remove that package",
        ),
        (
            "gone = acme:Loss",
            "gone",
            "loss 'gone' of package acme, acme:Loss (module 'acme' has no attribute",
        ),
        (
            "empty = acme",
            "empty",
            "loss 'empty' of package acme, acme (it registers no loss 'empty'); expected a",
        ),
        (
            "asl = acme:other",
            "asl",
            "loss 'asl' of labelwise and of package acme; expected each name in one package; remove package acme, or "
            "rename its entry point of labelwise.losses",
        ),
    ],
)
def test_a_package_at_fault_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: str, name: str, says: str
) -> None:
    installed(tmp_path, monkeypatch, "acme", f"[labelwise.losses]\n{entries}\n", "other = object()\n")
    with pytest.raises(LabelwiseError) as error:
        LOSSES[name]
    assert str(error.value).startswith(says)
    assert LOSSES["bce"], "others are not affected"
    sys.modules.pop("acme", None)


def test_a_module_that_fails_when_it_is_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = "[labelwise.methods]\nmine = acme_broken\n"
    installed(tmp_path, monkeypatch, "acme_broken", entries, "raise RuntimeError('no licence')\n")
    with pytest.raises(LabelwiseError, match=r"method 'mine' of package acme_broken, .*\(no licence\)"):
        METHODS["mine"]
    with pytest.raises(LabelwiseError, match=r"method 'mine' of package acme_broken, .*\(no licence\)"):
        METHODS.cards()
