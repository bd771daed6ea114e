"""The notebook of the docs: every cell runs and shows what the page shows; ``REWRITE_DOCS=1`` writes that into it."""

from __future__ import annotations

import ast
import base64
import io
import json
import os
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "clustering-in-a-program.ipynb"
MOST_BYTES = 200_000


def shown(source: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a cell as Jupyter does; gives what it shows: the value of its last line, and a figure that it has drawn."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, PAGE.name, "exec"), names)
    value = eval(compile(ast.Expression(last.value), PAGE.name, "eval"), names) if isinstance(last, ast.Expr) else None
    found = []
    if value is not None:
        text = repr(value).splitlines(keepends=True)
        found.append(
            {"data": {"text/plain": text}, "execution_count": None, "metadata": {}, "output_type": "execute_result"}
        )
    if plt.get_fignums():
        drawn = io.BytesIO()
        plt.savefig(drawn, format="png", dpi=70)
        plt.close("all")
        picture = {"image/png": base64.b64encode(drawn.getvalue()).decode()}
        found.append({"data": picture, "metadata": {}, "output_type": "display_data"})
    return found


def texts(outputs: list[dict[str, Any]]) -> list[list[str]]:
    """Text of what a cell shows; pixels of figures differ from one version of Matplotlib to the next."""
    return [output["data"].get("text/plain", ["a figure"]) for output in outputs]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_cell_shows_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the demo's images to clusters, new images and a pipeline."""
    monkeypatch.chdir(tmp_path)
    page = json.loads(PAGE.read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    for cell in page["cells"]:
        if cell["cell_type"] == "code":
            found = shown("".join(cell["source"]), names)
            if os.environ.get("REWRITE_DOCS"):
                cell["outputs"] = found
            assert texts(cell["outputs"]) == texts(found), "".join(cell["source"])
    if os.environ.get("REWRITE_DOCS"):
        PAGE.write_text(json.dumps(page, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def test_the_page_is_small() -> None:
    """A notebook with large pictures inside would make every clone of the repository larger for good."""
    assert PAGE.stat().st_size < MOST_BYTES
