"""What MkDocs does to the pages: files of the project that they link to are brought into the site.

Pages link to code and measurements beside docs/, as they do where the project is read as it lies. The site holds a
copy of each such file under project/; a link to a folder becomes plain text.
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
    """Add the files outside docs/ that pages link to, and those that these link to in turn."""
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
    """Turn links out of docs/ to the copies in the site."""

    def turned(match: re.Match[str]) -> str:
        text, link, anchor = match.groups()
        target = _target(page.file.src_uri, link)
        if target is None:
            return match.group(0)
        if target.is_dir():
            return text
        place = os.path.relpath(_in_site(target), os.path.dirname(page.file.src_uri) or ".")
        return f"[{text}]({place}{anchor or ''})"

    return LINK.sub(turned, markdown)


def _source(page: str) -> Path:
    """The file of the project that a page of the site comes from."""
    return ROOT / page.removeprefix("project/") if page.startswith("project/") else DOCS / page


def _target(page: str, link: str) -> Path | None:
    """The file that a page's link means; none for another server's."""
    return None if ":" in link else (_source(page).parent / link).resolve()


def _shown(target: Path) -> bool:
    """Whether MkDocs takes a file by itself; it leaves out the programs that write pages."""
    return target.is_relative_to(DOCS) and (target.parent != DOCS or target.suffix != ".py")


def _in_site(target: Path) -> str:
    """Where the site holds a file; all but pages get an ending that browsers show."""
    if _shown(target):
        return target.relative_to(DOCS).as_posix()
    name = f"project/{target.relative_to(ROOT).as_posix()}".replace(
        "/.", "/"
    )  # hidden files are left out of sites
    return name if name.endswith(".md") else f"{name}.txt"
