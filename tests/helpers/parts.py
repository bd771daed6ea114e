"""Parts with several views, one of which shows the defect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from helpers.builders import save_image, surface, write_manifest_csv
from helpers.streams import CATEGORY, Stream, day

VIEWS = 4

PATTERN = "path:*/{part}_cam*"
"""Views of a part lie in the folders of the nights that they came in: the folder is no part of the name."""


def part_defect(number: int) -> str:
    """Defect of a part: every third has a hole, every third a scratch."""
    return ("good", "hole", "scratch")[number % 3]


def defective_view(number: int) -> int:
    """View of a part that shows its defect; it is another one from part to part."""
    return number // 3 % VIEWS


def part_images(root: Path, numbers: Sequence[int], *, views: Sequence[int] = range(VIEWS)) -> Iterator[dict[str, str]]:
    """Save views of parts as ``PART_camVIEW.png``; gives the rows of their manifest, labelled as each view shows it."""
    for number in numbers:
        for view in views:
            shown = part_defect(number) if view == defective_view(number) else "good"
            path = f"p{number:03d}_cam{view}.png"
            save_image(root / path, surface(100 * number + view, shown))
            yield {"path": path, "category": "board", "label": shown, "part": f"p{number:03d}"}


def part_manifest(root: Path, numbers: Sequence[int], *, views: Sequence[int] = range(VIEWS)) -> Path:
    """Manifest of parts with the column ``part``."""
    return write_manifest_csv(root / "parts.csv", list(part_images(root, numbers, views=views)))


def deliver(stream: Stream, night: int, numbers: Sequence[int], *, views: Sequence[int] = range(VIEWS)) -> None:
    """Write views of parts in a night; a part looks the same whenever its views come."""
    for number in numbers:
        for view in views:
            shown = part_defect(number) if view == defective_view(number) else "good"
            path = stream.data / CATEGORY / str(day(night)) / f"p{number:03d}_cam{view}.png"
            stream.put(path, surface(100 * number + view, shown), shown)
