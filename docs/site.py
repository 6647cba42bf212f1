"""MkDocs hooks: linked files of the project, titles of linked pages, and notebooks of the tutorials.

Pages link to code and results outside docs/. The site has a copy of each such file under project/; a link to a folder
becomes plain text. A link whose text is the name of a page shows the title of that page.
"""

from __future__ import annotations

import os
import re
import runpy
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")
CONSOLE = re.compile(r"^```console\n.*?^```", re.DOTALL | re.MULTILINE)
NOTEBOOKS = runpy.run_path(str(DOCS / "notebooks.py"))


def on_files(files: Files, config: Any) -> Files:
    """Add the notebooks, and the files outside docs/ that pages link to, recursively."""
    for page in NOTEBOOKS["PAGES"]:
        made = nbformat.writes(NOTEBOOKS["notebook"](page))
        files.append(File.generated(config, f"tutorials/{page.stem}.ipynb", content=made))
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
    """Point links out of docs/ to the copies in the site, and offer the notebook of a tutorial."""

    def relinked(match: re.Match[str]) -> str:
        text, link, anchor = match.groups()
        target = _target(page.file.src_uri, link)
        if target is None:
            return match.group(0)
        if target.is_dir():
            return text
        if text == target.name and target.suffix == ".md":
            text = _title(target)
        path = os.path.relpath(_in_site(target), os.path.dirname(page.file.src_uri) or ".")
        return f"[{text}]({path}{anchor or ''})"

    # Without prompts a command is copied as it is typed.
    markdown = CONSOLE.sub(
        lambda block: block[0].replace("console", "bash", 1).replace("\n$ ", "\n"), markdown
    )
    markdown = LINK.sub(relinked, markdown)
    if page.file.src_uri.startswith("tutorials/"):
        name = f"{Path(page.file.src_uri).stem}.ipynb"
        offer = f"\n\n[Download as a notebook]({name}){{ .md-button download={name} }}\n"
        markdown = re.sub(r"^# .*$", lambda title: title[0] + offer, markdown, count=1, flags=re.MULTILINE)
    return markdown


def _title(page: Path) -> str:
    """Return the heading of a page."""
    return page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


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
