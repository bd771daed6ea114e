"""The flow that deployments call: one night of every category."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from prefect import flow, get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed

from anoclust_core.errors import AnoclustError
from anoclust_core.matching.night_dates import night_of
from flows.nights.outcome import NightOutcome, exit_code_of, outcome_line
from flows.nights.run import run_nights
from flows.settings import STORE, resolve, with_secrets

NOTHING_CAME: Final = "Nothing came"
"""Name of the state of a run that ended well although no image came to a category."""


def _nightly_name() -> str:
    """Name of a deployment's run: the categories and the night."""
    asked = flow_run.parameters
    categories = ", ".join(asked.get("categories") or ["all categories"])
    return f"{categories} {asked.get('as_of') or _tonight(asked.get('store'), asked.get('settings'))}"


def _tonight(store: str | None, settings: dict[str, object] | None) -> str:
    try:
        nights = resolve({**with_secrets(settings or {}), STORE: store}).config.night
    except AnoclustError:  # what is wrong with them the run tells
        return "tonight"
    return str(night_of(datetime.now(UTC), timezone=nights.zone, day_starts=nights.begins))


@flow(name="nightly", flow_run_name=_nightly_name)
def nightly(
    data: str,
    store: str,
    settings: dict[str, object] | None = None,
    categories: list[str] | None = None,
    as_of: str | None = None,
) -> Any:
    """Process what is new in every category: for schedules; the same as `anoclust nightly`.

    Parameters
    ----------
    data
        Folder or manifest of the images.
    store
        Folder that everything is kept in.
    settings
        Settings by dotted name, above those of variables and ``anoclust.toml``.
    categories
        Names; all by default.
    as_of
        The night, as 2026-11-20; tonight by default, with everything that came since the last one.

    Returns
    -------
    outcomes
        By category, see `NightOutcome`, as JSON values. Prefect takes them out of a state, whose message has a line of
        each category.
    """
    resolved = resolve({**with_secrets(settings or {}), STORE: store})
    outcomes = list(
        run_nights(
            Path(data),
            resolved.store,
            resolved.config,
            categories=categories or (),
            as_of=date.fromisoformat(as_of) if as_of else None,
            listener=_log_waiting,
            debug=True,
        )
    )
    _raise_first_error(outcomes)
    return Completed(
        name=NOTHING_CAME if exit_code_of(outcomes) else None,
        message="\n".join(map(_told, outcomes)),
        data={outcome.category: outcome.as_json() for outcome in outcomes},
    )


def _told(outcome: NightOutcome) -> str:
    """One line, with the way to the report where there is something to see."""
    return outcome_line(outcome) + (f"; {outcome.report}" if outcome.is_new and outcome.report else "")


def _log_waiting(category: str, stage: str, done: int, total: int) -> None:  # noqa: ARG001 - a listener's
    """Say in the log of the run that a night waits for files."""
    if stage == "settle" and done == 0:
        get_run_logger().info("files were changed just now; waiting %d s until no more changes come", total)


def _raise_first_error(outcomes: list[NightOutcome]) -> None:
    """Let the flow fail if a category did, once every other one had its night."""
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    for outcome in failed:
        assert outcome.error is not None  # noqa: S101 - for the type checker
        outcome.error.add_note("; ".join(f"{one.category}: {one.error}" for one in failed))
        raise outcome.error
