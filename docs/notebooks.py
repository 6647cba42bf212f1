"""The tutorials as Jupyter notebooks: `python docs/notebooks.py FOLDER` writes them; the site offers them.

The pages of docs/tutorials/ are the only source. Text becomes Markdown cells, with its pictures inside them; a console
block becomes a cell of `!` commands, a Python block a cell, a YAML block with a title a file of that name, and
`<!-- show FILE -->` a cell that shows a page which the commands wrote. The first cell makes photographs and tables for
those who have none.
"""

from __future__ import annotations

import base64
import re
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

DOCS = Path(__file__).resolve().parent
PAGES = sorted((DOCS / "tutorials").glob("*.md"))
PIECE = re.compile(
    r'^```(?P<kind>console|python|yaml)(?: title="(?P<file>\S+)")?\n(?P<text>.*?)^```\n'
    r"|^<!-- show (?P<shown>\S+) -->\n",
    re.DOTALL | re.MULTILINE,
)
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\([^):]+\)")

SETUP = '''\
# In a checkout of Labelwise: pip install '.[demo,weights]' ipykernel
import csv, os, sys
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

import labelwise as lw

os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def practise(count):
    """Scenes of handwritten digits in photos/, and tables of them: a fifth of the cells blank, one in fifty wrong."""
    rng = np.random.default_rng(0)
    scenes = lw.read(f"digits:?train={count}&val=0&test=0&size=224")
    shown, absent = (np.flatnonzero(scenes.values[:, 9] == state) for state in (1, 0))
    order = [*shown[:2], *absent[:2], *shown[2:], *absent[2:]]
    values = scenes.values[order] != (rng.random((count, 10)) < 0.02)
    blank = rng.random((count, 10)) < 0.2
    names = "zero one two three four five six seven eight sign".split()  # a nine is the new label of a tutorial
    tables = {
        "labels.csv": ["image", *names[:9]],
        "more.csv": ["image", *names],
        "people.csv": ["image", "group", "age", *names[:5]],
    }
    Path("photos").mkdir()
    for i, scene in enumerate(order):
        Image.open(BytesIO(scenes.encoded(scene))).convert("RGB").save(f"photos/{i + 1:04}.jpg")
    for file, columns in tables.items():
        with open(file, "w", newline="") as table:
            rows = csv.DictWriter(table, columns, extrasaction="ignore")
            rows.writeheader()
            for i in range(count):
                cells = {name: "" if blank[i, j] else int(values[i, j]) for j, name in enumerate(names)}
                person = {"group": i // 2, "age": ("young", "old")[i // 2 % 2]}
                rows.writerow({"image": f"photos/{i + 1:04}.jpg", **person, **cells})


if not Path("labels.csv").exists():  # without photographs of your own
    practise(300)
'''


def notebook(page: Path) -> nbformat.NotebookNode:
    """The notebook of a page."""
    text = page.read_text(encoding="utf-8")
    cells, end = [], 0
    for piece in PIECE.finditer(text):
        cells += [_text(page, text[end : piece.start()]), _code(**piece.groupdict())]
        end = piece.end()
    cells.append(_text(page, text[end:]))
    cells = [cell for cell in cells if cell.source]
    cells.insert(1, new_code_cell(SETUP))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"  # the same for the same page
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def _text(page: Path, text: str) -> nbformat.NotebookNode:
    """A cell of text; its pictures are inside it, and links to other pages are their words."""
    attached = {}
    for _, path in PICTURE.findall(text):
        picture = page.parent / path
        kind = {".jpg": "image/jpeg", ".png": "image/png", ".svg": "image/svg+xml"}[picture.suffix]
        attached[picture.name] = {kind: base64.b64encode(picture.read_bytes()).decode()}
    text = PICTURE.sub(lambda m: f"![{m[1]}](attachment:{Path(m[2]).name})", text)
    cell = new_markdown_cell(LINK.sub(r"\1", text).strip())
    return nbformat.from_dict({**cell, **({"attachments": attached} if attached else {})})


def _code(kind: str, file: str, text: str, shown: str) -> nbformat.NotebookNode:
    """A cell of a fenced block, or one that shows a page."""
    if shown:
        return new_code_cell(f'from IPython.display import IFrame\n\nIFrame("{shown}", "100%", 640)')
    if kind == "yaml":
        return new_code_cell(f"%%writefile {file}\n{text.rstrip()}")
    return new_code_cell(re.sub(r"^\$ ", "!", text, flags=re.MULTILINE).rstrip())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python docs/notebooks.py FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for page in PAGES:
        nbformat.write(notebook(page), folder / f"{page.stem}.ipynb")
        print(folder / f"{page.stem}.ipynb")
