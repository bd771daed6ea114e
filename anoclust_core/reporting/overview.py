"""One page over all categories of a command: what came of each, and where its report is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

State = Literal["failed", "look", "well"]
"""``failed``; ``look``: a person should look at something; ``well``: nothing to do."""

ORDER: Final[tuple[State, ...]] = ("failed", "look", "well")
"""What has to be looked at first comes first."""


@dataclass(frozen=True)
class OverviewRow:
    """One category.

    Attributes
    ----------
    category
        Name of the product.
    state
        Whether somebody has to look.
    images, clusters
        How many there are; None where that is not known. Where no category has clusters, their column is left out.
    told
        What is new, grows or went wrong, a sentence each.
    seconds
        What it took.
    report
        Address of its report, relative to the page; empty where there is none.
    """

    category: str
    state: State
    images: int | None = None
    clusters: int | None = None
    told: tuple[str, ...] = ()
    seconds: float = 0.0
    report: str = ""


def render_overview(title: str, rows: Sequence[OverviewRow], *, created_at: datetime, counted: str = "images") -> str:
    """Render all categories as one self-contained HTML page, which makes no request and needs no JavaScript.

    Parameters
    ----------
    title
        What was done, in words.
    rows
        One a category; the page has them by state, and then by name.
    created_at
        When.
    counted
        What ``images`` counts, in words.

    Returns
    -------
    html
        The text of the page; write it as UTF-8.
    """
    from markupsafe import Markup

    from anoclust_core.reporting.html import (
        environment,
        read_style,
    )  # with all that draws, only for those who come here

    return (
        environment()
        .get_template("overview.html.jinja")
        .render(
            title=title,
            counted=counted,
            has_clusters=any(row.clusters is not None for row in rows),
            rows=sorted(rows, key=lambda row: (ORDER.index(row.state), row.category)),
            count={state: sum(row.state == state for row in rows) for state in ORDER},
            images=sum(row.images or 0 for row in rows),
            seconds=sum(row.seconds for row in rows),
            most_images=max((row.images or 0 for row in rows), default=0),
            created=created_at,
            css=Markup(read_style()),  # noqa: S704 - a file of this package
        )
    )
