"""Two people at once: a decision that names what it was made on is refused where that has changed since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from anoclust_core.errors import ConfigError
from anoclust_core.matching.identities import id_order
from tasks.stores.catalog import clusters
from tasks.stores.catalog.decisions.words import in_words, touched, when
from tasks.stores.catalog.facts import DecisionFact
from tasks.stores.catalog.schema import Decision

_TOLD: Final = 3
"""Changes that a message tells, the last ones."""


class ChangedSinceError(ConfigError):
    """A cluster is not as a person saw it: somebody else, or a re-clustering, was faster.

    Parameters
    ----------
    category, cluster
        Which one.
    changes
        What happened to it since, oldest first.
    """

    def __init__(self, category: str, cluster: str, changes: tuple[DecisionFact, ...]) -> None:
        told = "; ".join(f"{one.who} {in_words(one)} ({when(one)}, number {one.number})" for one in changes[-_TOLD:])
        more = f"{len(changes):,} changes, the last: " if len(changes) > _TOLD else ""
        super().__init__(
            f"{cluster} of {category} has changed since you saw it: {more}{told or 'another version was seen'}; look "
            f"at it again with `anoclust clusters show {category} {cluster}`, then decide"
        )
        self.category, self.cluster, self.changes = category, cluster, changes


def versions(session: Session, category: str) -> dict[str, int]:
    """Version of every cluster: the number of the last decision or re-clustering that touched it.

    A dismissal touches none.
    """
    found: dict[str, int] = dict.fromkeys(clusters.identities(session, category), 0)
    query = select(Decision.number, Decision.cluster, Decision.before, Decision.after)
    for number, cluster, before, after in session.execute(
        query.where(Decision.category == category, Decision.kind != "dismiss").order_by(Decision.number)
    ):
        found |= dict.fromkeys(touched(cluster, before, after) & found.keys(), number)
    return found


def check_seen(session: Session, category: str, expected: Mapping[str, int] | None) -> None:
    """See that clusters still have the versions that a person saw; the category is held by the transaction.

    Parameters
    ----------
    session, category
        Where.
    expected
        Versions by cluster, identity or name; None checks nothing.

    Raises
    ------
    ChangedSinceError
        If one has another version: it tells what changed, who did it, and when.
    """
    if not expected:
        return
    now = versions(session, category)
    seen = {clusters.find(session, category, named).cluster: version for named, version in expected.items()}
    for cluster in sorted(seen, key=id_order):
        if now[cluster] != seen[cluster]:
            since = [one for one in clusters.history(session, category, None) if one.number > seen[cluster]]
            changes = (one for one in since if one.kind != "dismiss")
            mine = tuple(one for one in changes if cluster in touched(one.cluster, one.before, one.after))
            raise ChangedSinceError(category, cluster, mine)
