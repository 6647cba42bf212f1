"""MkDocs hooks that copy the linked files of the project into the site.

Pages link to code and results outside docs/. The site has a copy of each such file under project/; a link to a folder
becomes plain text.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the files outside docs/ that pages link to, recursively."""
    waiting = [page.src_uri for page in files.documentation_pages()]
    while waiting:
        page = waiting.pop()
        for _, link, _ in LINK.findall(_source(page).read_text(encoding="utf-8")):
            target = _target(page, link)
            if target is None or not target.is_file() or _shown(target):
                continue
            name = _in_site(target)
            if files.get_file_from_path(name) is None:
                files.append(File.generated(config, name, content=target.read_text(encoding="utf-8")))
                waiting += [name] if name.endswith(".md") else []
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point links out of docs/ to the copies in the site."""

    def relinked(match: re.Match[str]) -> str:
        text, link, anchor = match.groups()
        target = _target(page.file.src_uri, link)
        if target is None:
            return match.group(0)
        if target.is_dir():
            return text
        path = os.path.relpath(_in_site(target), os.path.dirname(page.file.src_uri) or ".")
        return f"[{text}]({path}{anchor or ''})"

    return LINK.sub(relinked, markdown)


def _source(page: str) -> Path:
    """Return the project file of a page of the site."""
    return ROOT / page.removeprefix("project/") if page.startswith("project/") else DOCS / page


def _target(page: str, link: str) -> Path | None:
    """Return the file that a link points to; `None` for an external link."""
    return None if ":" in link else (_source(page).parent / link).resolve()


def _shown(target: Path) -> bool:
    """Whether MkDocs includes a file by itself; it leaves out the scripts that write pages."""
    return target.is_relative_to(DOCS) and (target.parent != DOCS or target.suffix != ".py")


def _in_site(target: Path) -> str:
    """Return the path of a file in the site; files other than pages get the suffix .txt."""
    if _shown(target):
        return target.relative_to(DOCS).as_posix()
    name = f"project/{target.relative_to(ROOT).as_posix()}".replace(
        "/.", "/"
    )  # hidden files are left out of sites
    return name if name.endswith(".md") else f"{name}.txt"
