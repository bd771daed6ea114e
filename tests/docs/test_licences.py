"""The list of licences is what is installed."""

from __future__ import annotations

import re
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")

COPYLEFT = re.compile(r"\b(A?GPL|LGPL|MPL|EPL|CDDL|EUPL|Artistic)|General Public License|Mozilla Public", re.IGNORECASE)


def told() -> set[str]:
    """Names in the first column of the page's table."""
    cells = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line]
    return {name.strip() for cell in cells[1:] for name in cell.split(",")}


def installed() -> dict[str, str]:
    """What every package says of its licence, by name; a whole text of a licence is told by its first line."""
    found = {}
    for package in distributions():
        texts = [package.metadata.get("License-Expression"), (package.metadata.get("License") or "").partition("\n")[0]]
        texts += [one for one in package.metadata.get_all("Classifier", []) if one.startswith("License")]
        found[re.sub(r"[_.]", "-", package.metadata["Name"]).lower()] = " ".join(filter(None, texts))
    return found


def test_every_copyleft_package_is_listed() -> None:
    """A new dependency whose licence is a copyleft, or looks like one, has a line that says what it means."""
    copyleft = {name for name, licence in installed().items() if COPYLEFT.search(licence)}
    assert copyleft - told() == set()


def test_nothing_is_listed_that_is_none() -> None:
    """Every listed package that is installed says so itself."""
    known = installed()
    assert [name for name in told() if name in known and not COPYLEFT.search(known[name])] == []
    assert {"text-unidecode", "certifi"} <= told()


def test_torch_without_cuda_is_told() -> None:
    """The page names the index and make's variable, which the Makefile has and hands to pip."""
    page = (ROOT / "docs" / "installing.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "TORCH_INDEX=https://download.pytorch.org/whl/cpu" in page
    assert "$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))" in makefile
    assert "https://download.pytorch.org/whl/cpu" in (ROOT / "deployments" / "Dockerfile").read_text(encoding="utf-8")
