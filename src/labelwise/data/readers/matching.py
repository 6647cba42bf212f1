"""Matches image names written on another machine to files that share the last parts of their path, or the stem."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int64

from labelwise.data.imagefiles import IMAGE_SUFFIXES, is_image_name

_IMAGE = rf"(?i)\.({'|'.join(suffix[1:] for suffix in sorted(IMAGE_SUFFIXES))})([?#].*)?$"


def matching(names: pa.Array, files: Sequence[str], named: Collection[str] = ()) -> Int64[np.ndarray, " N"]:
    """Index of each name's file among the files, -1 where there is none.

    Matches are one to one: a name that fits several files, or a file that fits several names, is not matched.

    Args:
        names: `[N]` paths or URLs.
        files: paths with `/`.
        named: files that already belong to other rows.
    """
    matches = np.full(len(names), -1, np.int64)
    if not len(names) or not files:
        return matches
    paths = _texts(files)
    keys, file_of = _keys(paths)
    base_names = last_part(names)
    is_path = ~(_contain(names, "?d=") | (_contain(names, "://") & _contain(names, "%", "?", "#")))
    key_counts = keys.value_counts()
    unique_keys = key_counts.field("values").filter(pc.equal(key_counts.field("counts"), 1))
    key_index = pc.index_in(
        pc.if_else(pc.is_in(base_names, value_set=unique_keys), base_names, None), value_set=keys
    )
    matched = is_path & key_index.is_valid().to_numpy(zero_copy_only=False)
    matches[matched] = file_of[key_index.fill_null(0).to_numpy()[matched].astype(np.int64)]
    likely = pc.or_(pc.is_in(base_names, value_set=keys), pc.is_in(pc.utf8_lower(base_names), value_set=keys))
    undecided = np.flatnonzero(~matched & (~is_path | likely.to_numpy(zero_copy_only=False)))
    if len(undecided):
        by_key: dict[str, list[int]] = {}
        for key, index in zip(keys.to_pylist(), file_of.tolist(), strict=True):
            by_key.setdefault(key, []).append(index)
        for row, name in zip(undecided.tolist(), names.take(pa.array(undecided)).to_pylist(), strict=True):
            matches[row] = _one_file(last_parts(name), by_key, files)
    _match_numbers(names, files, matches)
    _match_other_suffixes(names, files, keys, matches)
    if named:
        used = [index for index, file in enumerate(files) if file in named]
        matches[np.isin(matches, used)] = -1
    return _without_shared(matches, names)


def _match_numbers(names: pa.Array, files: Sequence[str], matches: Int64[np.ndarray, " N"]) -> None:
    """Matches numbers to files with leading zeros, which spreadsheets and pandas drop."""
    rows = np.flatnonzero((matches < 0) & pc.match_substring_regex(names, r"^\d{1,18}$").to_numpy(False))
    if not len(rows):
        return
    by_number: dict[int, list[int]] = {}
    for index, file in enumerate(files):
        stem = os.path.splitext(os.path.basename(file))[0]
        if stem.isascii() and stem.isdigit():
            by_number.setdefault(int(stem), []).append(index)
    for row, name in zip(rows.tolist(), names.take(pa.array(rows)).to_pylist(), strict=True):
        candidates = by_number.get(int(name), ())
        if len(candidates) == 1:
            matches[row] = candidates[0]


def _match_other_suffixes(
    names: pa.Array, files: Sequence[str], keys: pa.Array, matches: Int64[np.ndarray, " N"]
) -> None:
    """Matches a name to the only file of its stem, for images that were converted to another format."""
    rows = np.flatnonzero(matches < 0)
    if not len(rows):
        return
    known = set(keys.to_pylist())
    by_stem: dict[str, list[int]] = {}
    for index, file in enumerate(files):
        by_stem.setdefault(os.path.splitext(os.path.basename(file))[0], []).append(index)
    for row, name in zip(rows.tolist(), names.take(pa.array(rows)).to_pylist(), strict=True):
        base = (last_parts(name) or [""])[-1]
        candidates = by_stem.get(os.path.splitext(base)[0], ())
        if len(candidates) == 1 and is_image_name(base) and not known & {base, base.lower()}:
            matches[row] = candidates[0]


def _texts(files: Sequence[str]) -> pa.Array:
    """Names of files as text; bytes that are not UTF-8 are replaced, so that no name matches such a file."""
    try:
        return pa.array(files, pa.string())
    except UnicodeEncodeError:
        return pa.array([os.fsencode(file).decode(errors="replace") for file in files], pa.string())


def _keys(paths: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Keys that match a file (its name, stem, and name in lower case), and the file's index for each key."""
    base = last_part(paths)
    stem = pc.replace_substring_regex(base, r"(?s)^(.*)\.[^.]*$", r"\1")
    lower = pc.utf8_lower(base)
    changed = np.flatnonzero(pc.not_equal(lower, base).to_numpy(zero_copy_only=False))
    keys = pa.concat_arrays([base, stem, lower.take(pa.array(changed))])
    indices = np.arange(len(paths))
    return keys, np.concatenate([indices, indices, changed])


def _contain(names: pa.Array, *marks: str) -> Bool[np.ndarray, " N"]:
    """Whether each name contains any of the marks."""
    flags = [pc.match_substring(names, mark).to_numpy(zero_copy_only=False) for mark in marks]
    return np.logical_or.reduce(flags)


def _without_shared(matches: Int64[np.ndarray, " N"], names: pa.Array) -> Int64[np.ndarray, " N"]:
    """The matches without files that fit several names."""
    rows = np.flatnonzero(matches >= 0)
    code = names.take(pa.array(rows)).dictionary_encode().indices.to_numpy(zero_copy_only=False)
    pairs = np.sort(matches[rows] * len(rows) + code)
    is_shared = np.diff(pairs // max(len(rows), 1)) == 0
    is_shared &= np.diff(pairs) > 0
    shared = np.unique(pairs[1:][is_shared] // max(len(rows), 1))
    matches[rows[np.isin(matches[rows], shared)]] = -1
    return matches


def _one_file(parts: Sequence[str], by_key: Mapping[str, Sequence[int]], files: Sequence[str]) -> int:
    """Index of the file whose path ends with the most of these parts; -1 without one, or with several."""
    if not parts:
        return -1
    base = parts[-1]
    has_suffix = is_image_name(base)
    candidates = by_key.get(base) or (by_key.get(base.lower()) if has_suffix else None) or ()
    for depth in range(2, len(parts) + 1):
        if len(candidates) <= 1:
            break
        tail = "/".join(parts[-depth:])
        ends = [(i, files[i] if has_suffix else os.path.splitext(files[i])[0]) for i in candidates]
        candidates = [i for i, end in ends if f"/{end}".endswith(f"/{tail}")] or candidates
    return candidates[0] if len(candidates) == 1 else -1


def last_part(names: pa.Array) -> pa.Array:
    """The text after the last slash or backslash."""
    return pc.replace_substring_regex(names, r"(?s)^.*[/\\]", "")


def with_image_suffix(names: pa.Array) -> Bool[np.ndarray, " N"]:
    """Whether each name ends with the suffix of an image."""
    return pc.match_substring_regex(names, _IMAGE).to_numpy(zero_copy_only=False)


def last_parts(name: str) -> list[str]:
    """The parts of a path or of the path in a URL, without empty ones.

    >>> last_parts("s3://bucket/a%20b/1.jpg"), last_parts("C:\\\\photos\\\\1.jpg")
    (['bucket', 'a b', '1.jpg'], ['C:', 'photos', '1.jpg'])
    """
    try:
        url = urlsplit(name) if "://" in name or "?d=" in name else None
    except ValueError:  # such as an unclosed bracket
        url = None
    if url:
        inner = parse_qs(url.query).get("d")  # how Label Studio writes a file of its local storage
        name = inner[0] if inner else f"{url.netloc}/{unquote(url.path)}"
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
