"""One contract for the three stores: rows, searches, conditions, resuming and refusals are those of a slow count."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from postgres import PASSWORD, Postgres, running
from written import NAMES, expression, files_of, slow, synthetic

import labelwise as lw
from labelwise.collection import backends
from labelwise.collection.backends import Store, created, open_store
from labelwise.collection.embedding import embed
from labelwise.collection.store import FolderStore
from labelwise.collection.where import parse_condition
from labelwise.errors import LabelwiseError
from tiny_runs import command

KINDS = ("folder", "pgvector", "qdrant")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of this file's own."""
    with running() as server:
        yield server


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """A kind of store."""
    return str(request.param)


@pytest.fixture
def address(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An address of this kind without a collection."""
    return address_of(kind, request, tmp_path, "one")


def address_of(kind: str, request: pytest.FixtureRequest, folder: Path, name: str) -> str:
    """An address; on the server of this file, its name is that of the test as well."""
    if kind == "folder":
        return str(folder / name)
    if kind == "qdrant":
        pytest.importorskip("qdrant_client")
        return f"qdrant:{folder / 'qdrant'}#{name}"
    test = "".join(c for c in request.node.originalname if c.isalnum())[-30:]
    return f"pgvector:{request.getfixturevalue('postgres').dsn}#{name}_{test}"


def words_of(address: str) -> tuple[str, str]:
    """The option of `embed` for an address."""
    return ("--out" if backends.server(address) is None else "--store", address)


def everything(address: str) -> tuple[list[dict], list[dict]]:
    """The rows of both tables in order."""
    store = open_store(address)
    record = store.identity
    own = ["image", "path", "width", "height", "digest", "labels", "scores"]
    images = store.rows("images", [*own, "error", "whole"]).sort_by("image")
    rows = store.rows("features", [*own, "label", "score", "selected", "box", "feature"])
    rows = rows.sort_by([("image", "ascending"), ("label", "ascending")])
    assert rows.schema.field("feature").type == pa.list_(pa.float16(), record.dim)
    close(store)
    return images.to_pylist(), rows.to_pylist()


def close(store: Store) -> None:
    """Lets another client into a folder of Qdrant's local mode."""
    if hasattr(store, "_client"):
        store._client.close()


def assert_equal_rows(found: tuple[list[dict], list[dict]], expected: tuple[list[dict], list[dict]]) -> None:
    """Equal, but for the last digits of vectors."""
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert a.keys() == b.keys()
            for name in a:
                if name in ("feature", "whole", "score", "scores"):
                    np.testing.assert_allclose(a[name], b[name], atol=1e-3)
                else:
                    assert a[name] == b[name], name


def test_searches_are_a_comparison_of_all(address: str) -> None:
    collection, arrays = synthetic(address, 60)
    assert (len(collection), collection.labels) == (60, NAMES)
    present, scores = arrays["present"], arrays["scores"]
    assert collection.counts() == {name: present[:, j].sum() for j, name in enumerate(NAMES)}
    rng, chance = np.random.default_rng(5), random.Random(0)
    for j, name in enumerate(NAMES):
        rows = collection.features(name)
        assert rows["image"].to_pylist() == np.flatnonzero(present[:, j]).tolist()
        np.testing.assert_allclose(
            np.array(rows["feature"].to_pylist(), float), arrays["features"][present[:, j], j], atol=1e-3
        )
        vector = rng.standard_normal(8).astype(np.float32)
        written, code = expression(chance, 2)
        for where, allowed in (
            (None, np.ones(60, bool)),
            (written, np.array([eval(code, {"p": p, "s": s}) for p, s in zip(present, scores, strict=True)])),
        ):
            best, likeness = slow(arrays, j, vector, allowed, 20)
            for exact in (True, False):
                found = collection.nearest(name, vector, where, 20, exact)
                assert found["similarity"].to_pylist() == pytest.approx(likeness[best], abs=2e-3)
                for row in found.to_pylist():
                    assert row["similarity"] == pytest.approx(likeness[row["image"]], abs=2e-3)
                    assert present[row["image"], j]
                    assert allowed[row["image"]]
    order = np.flatnonzero(present[:, 2] & present[:, 0])
    order = order[np.argsort(-scores[order, 2], kind="stable")][:7]
    by_score = collection.search("dog", by="score", top=7, where="cat")
    assert by_score["image"].to_pylist() == order.tolist()
    assert by_score["score"].to_pylist() == pytest.approx(scores[order, 2])


def test_conditions_mean_what_python_says_in_every_store(address: str) -> None:
    collection, arrays = synthetic(address, 30)
    chance = random.Random(1)
    for _ in range(40):
        written, code = expression(chance, 3)
        rows = collection._store.rows("images", ["image"], where=parse_condition(written, NAMES))
        expected = [i for i in range(30) if eval(code, {"p": arrays["present"][i], "s": arrays["scores"][i]})]
        assert sorted(rows["image"].to_pylist()) == expected, written


class CutError(Exception):
    """The work stops here."""


def interrupt(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The next call of `add` after two stops with some of its rows."""
    server = FolderStore if kind == "folder" else backends._store_class(f"{kind}:")
    plain, count = server.add, 0

    def add(self: Store, images: pa.Table, features: pa.Table) -> None:
        nonlocal count
        count += 1
        if count < 3:
            plain(self, images, features)
        elif kind == "folder":
            self.features.add(features)  # type: ignore[attr-defined]
            raise CutError
        elif kind == "qdrant":
            self._upsert("features", features)  # type: ignore[attr-defined]
            raise CutError
        else:
            bad = pa.concat_tables(
                [images, images.slice(0, 1)]
            )  # a number twice is refused after the features
            plain(self, bad, features)

    monkeypatch.setattr(server, "add", add)


def test_a_stopped_call_is_resumed_with_each_image_once(
    kind: str,
    address: str,
    embedded: tuple[Path, list[str]],
    run_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, files = embedded
    with monkeypatch.context() as patch:
        interrupt(patch, kind)
        with pytest.raises((CutError, LabelwiseError)):
            embed(run_folder, files, address, every=True, part=3, batch_size=3)
    collection = lw.Collection.open(address)
    assert len(collection) == 6
    label = collection.labels[0]
    assert collection.features(label)["image"].to_pylist() == [0, 1, 2, 3, 5]
    found = collection.nearest(label, np.ones(collection.identity.dim, np.float32))
    assert sorted(found["image"].to_pylist()) == [0, 1, 2, 3, 5]
    assert collection.counts()[label] == 5
    close(collection._store)
    again = command(
        *("embed", run_folder, *files, *words_of(address), "--all", "--part", "3", "--workers", "0")
    )
    assert (again.code, again.err.count("6 images were in the collection before")) == (0, 1)
    assert PASSWORD not in again.err + again.out
    assert_equal_rows(everything(address), everything(str(whole)))


def test_searches_and_groups_from_the_command_line(
    kind: str, address: str, embedded: tuple[Path, list[str]], run_folder: Path, tmp_path: Path
) -> None:
    whole, files = embedded
    assert embed(run_folder, files, address, every=True).features == 100
    label = lw.Collection.open(whole).labels[2]
    words = (files[0], "--label", label, "--not", files[3], "--top", "5", "--json")
    ours, theirs = (command("search", place, *words) for place in (address, whole))
    a, b = json.loads(ours.out), json.loads(theirs.out)
    assert [row["image"] for row in a["results"]] == [row["image"] for row in b["results"]]
    unselected = label not in lw.Collection.open(whole).images()["labels"][0].as_py()
    assert a["notes"] == b["notes"]
    assert (f"{files[0]} is not selected as {label}" in ours.err) == unselected
    likeness = [[row["similarity"] for row in answer["results"]] for answer in (a, b)]
    assert likeness[0] == pytest.approx(likeness[1], abs=1e-3)
    page = tmp_path / "a.html"
    assert command("search", address, "--label", label, "--by", "score", "--out", page).code == 0
    ours = command("groups", address, "--label", label, "--kinds", "2", "--json")
    sizes = [kind["size"] for kind in json.loads(ours.out)["kinds"]]
    assert sum(sizes) == 10
    assert PASSWORD not in page.read_text() + json.dumps(a) + ours.out + ours.err


def test_another_run_other_options_and_no_collection_are_refused(
    kind: str, address: str, embedded: tuple[Path, list[str]], run_folder: Path, tmp_path: Path
) -> None:
    _, files = embedded
    absent = command("search", address, "--label", "1", "--by", "score").message
    assert "which is no collection" in absent
    embed(run_folder, files[:2], address, every=True)
    before = everything(address)
    other = tmp_path / "other"
    other.mkdir()
    for name in ("config.yaml", "labels.json", "model.safetensors"):
        (other / name).write_bytes((run_folder / name).read_bytes())
    (other / "labels.json").write_text((other / "labels.json").read_text() + "\n")
    to = words_of(address)
    refused = command("embed", other, files[2], *to, "--all").message
    assert "a collection of another model, with other weights" in refused
    assert "a collection of another --all" in command("embed", run_folder, files[2], *to).message
    unknown = command("search", address, files[0], "--label", "unicorn").message
    assert "label 'unicorn', which the run of" in unknown
    label = lw.load(run_folder).labels.names[0]
    (other / "labels.json").write_bytes((run_folder / "labels.json").read_bytes())
    weights = other / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    moved = command("search", address, files[0], "--label", label, "--run", other).message
    assert "with other weights than the run of" in moved
    assert PASSWORD not in absent + refused + unknown + moved
    assert_equal_rows(everything(address), before)


def test_a_second_writer_is_refused(kind: str, address: str, embedded: tuple[Path, list[str]]) -> None:
    record = open_store(embedded[0]).identity
    with created(address, record), pytest.raises(LabelwiseError) as refused, created(address, record):
        pass
    message = "already accessed by another" if kind == "qdrant" else "to which another process writes"
    assert message in str(refused.value)


def test_damaged_tables_are_one_line(kind: str, address: str) -> None:
    collection, _ = synthetic(address, 20)
    close(collection._store)
    words = ("search", address, "--label", "cat", "--by", "score")
    assert command(*words).code == 0
    if kind == "folder":
        for file in Path(address, "features.lance", "data").iterdir():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        assert "whose tables cannot be read" in command(*words).message
        return
    if kind == "qdrant":
        place, name = backends.split_name(address.partition(":")[2])
        from qdrant_client import QdrantClient

        client = QdrantClient(path=place)
        client.delete_collection(f"{name}_features")
        client.close()
        assert "whose tables have other columns than its record says" in command(*words).message
        (Path(place) / "meta.json").write_text("{")
        assert "which cannot be used" in command(*words).message
        return
    import psycopg

    place, name = backends.split_name(address.partition(":")[2])
    with psycopg.connect(place, autocommit=True) as connection:
        connection.execute(f"ALTER TABLE {name}.features DROP COLUMN box".encode())
        assert "whose tables have other columns than its record says" in command(*words).message
        connection.execute(f"UPDATE {name}.record SET record = 'nothing'".encode())
        assert "a table without a readable record" in command(*words).message
        connection.execute(f"DROP TABLE {name}.record".encode())
        assert "which is no collection" in command(*words).message


def test_a_folder_that_cannot_be_written_is_one_line(
    embedded: tuple[Path, list[str]], run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lancedb.table import LanceTable

    whole, files = embedded
    address, plain, calls = str(tmp_path / "c"), LanceTable.add, []

    def add(self: LanceTable, *given: object, **more: object) -> object:
        calls.append(1)
        if len(calls) == 4:  # the images of the second part
            raise OSError("No space left on device")
        return plain(self, *given, **more)  # type: ignore[arg-type]

    words = ("embed", run_folder, *files, "--out", address, "--all", "--part", "3", "--workers", "0")
    with monkeypatch.context() as patch:
        patch.setattr(LanceTable, "add", add)
        assert "whose tables cannot be written (No space left on device)" in command(*words).message
    assert "3 images were in the collection before" in command(*words).err
    assert_equal_rows(everything(address), everything(str(whole)))


def test_a_server_that_goes_away_loses_nothing(
    embedded: tuple[Path, list[str]],
    run_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, files = embedded
    with running() as server:
        from labelwise.collection.pgvector_store import PgvectorStore

        address, plain, parts = f"pgvector:{server.dsn}", PgvectorStore.add, []

        def add(self: PgvectorStore, images: pa.Table, features: pa.Table) -> None:
            if len(parts) == 2:
                server.stop()
            plain(self, images, features)
            parts.append(len(images))

        words = ("embed", run_folder, *files, "--store", address, "--all", "--part", "3", "--workers", "0")
        with monkeypatch.context() as patch:
            patch.setattr(PgvectorStore, "add", add)
            stopped = command(*words)
        assert "a server that does not answer" in stopped.message
        assert "give the same command again; finished parts are kept" in stopped.message
        reading = command("search", address, "--label", "1", "--by", "score")
        assert "a server that does not answer" in reading.message
        server.start()
        assert len(lw.Collection.open(address)) == 6
        again = command(*words)
        assert "6 images were in the collection before" in again.err
        assert_equal_rows(everything(address), everything(str(whole)))
        collection = lw.Collection.open(address)
        server.stop()
        with pytest.raises(LabelwiseError, match="a server that does not answer"):
            collection.counts()
        server.start()
        assert sum(collection.counts().values()) == 100, "a reader connects again"
        wrong = address.replace(PASSWORD, "wrong-word")
        refused = command("search", wrong, "--label", "1", "--by", "score")
        assert "password authentication failed" in refused.message
        for result in (stopped, reading, again, refused):
            assert PASSWORD not in result.out + result.err
            assert "wrong-word" not in result.out + result.err


def test_a_qdrant_that_goes_away_is_one_line(
    embedded: tuple[Path, list[str]], run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("qdrant_client")
    from qdrant_client import QdrantClient
    from qdrant_client.http.exceptions import ResponseHandlingException

    whole, files = embedded
    address, plain, calls = f"qdrant:{tmp_path / 'q'}", QdrantClient.upsert, []

    def upsert(self: QdrantClient, *given: object, **more: object) -> object:
        calls.append(1)
        if len(calls) == 6:  # the images of the third part
            raise ResponseHandlingException(ConnectionError("Connection refused"))
        return plain(self, *given, **more)  # type: ignore[arg-type]

    words = ("embed", run_folder, *files, "--store", address, "--all", "--part", "3", "--workers", "0")
    with monkeypatch.context() as patch:
        patch.setattr(QdrantClient, "upsert", upsert)
        message = command(*words).message
    assert "a server that does not answer (Connection refused)" in message
    assert "finished images are kept" in message
    assert "6 images were in the collection before" in command(*words).err
    assert_equal_rows(everything(address), everything(str(whole)))
    refused = command("search", "qdrant:http://me:secret@127.0.0.1:9", "--label", "1", "--by", "score")
    assert "qdrant:http://127.0.0.1:9#labelwise, a server that does not answer" in refused.message
    assert "secret" not in refused.err


def test_the_index_of_postgres_finds_nearly_all(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = address_of("pgvector", request, tmp_path, "many")
    from labelwise.collection import pgvector_store

    monkeypatch.setattr(pgvector_store, "INDEXED", 400)
    collection, arrays = synthetic(address, 1200)
    with collection._store._guarded() as connection:  # type: ignore[attr-defined]
        indexes = connection.execute("SELECT count(*) FROM pg_indexes WHERE indexname LIKE 'features_of_%'")
        assert indexes.fetchone() == (4,)
    rng, shares = np.random.default_rng(6), []
    allowed = arrays["present"][:, 0] & ~(arrays["scores"][:, 1] > 0.7)
    for _ in range(20):
        vector = rng.standard_normal(8).astype(np.float32)
        truth, _ = slow(arrays, 3, vector, allowed, 20)
        found = collection.nearest(NAMES[3], vector, 'cat and not "potted plant" > 0.7', 20)
        assert all(allowed[i] for i in found["image"].to_pylist())
        shares.append(len(set(found["image"].to_pylist()) & set(truth)) / 20)
    assert np.mean(shares) >= 0.95


def test_addresses_that_cannot_be_used(
    tmp_path: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = files_of(tmp_path / "photos", 1)[0]
    words = ("embed", run_folder, photo)
    assert "neither --out nor --store" in command(*words).message
    assert "both --out and --store" in command(*words, "--out", "a", "--store", "qdrant:b").message
    assert "--store of an unknown kind" in command(*words, "--store", "mysql:secret").message
    assert "--out of a server" in command(*words, "--out", "pgvector:secret").message
    for bad in ("pgvector:postgresql://me:sec#ret@host/db", "pgvector:postgresql://me:secret"):
        message = command("search", bad, "--label", "1").message
        assert "cannot be read" in message or "no name of a collection" in message
        assert "ret" not in message.replace("letters", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for kind, package in (("pgvector", "psycopg"), ("qdrant", "qdrant-client")):
        message = command("search", f"{kind}:x", "--label", "1").message
        assert f"the package {package}; run: pip install 'labelwise[{kind}]'" in message
