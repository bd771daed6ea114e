"""Past nights: in date order within a category, several categories side by side; running it again changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from datetime import date, timedelta
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

from anoclust_core.config import RunConfig
from anoclust_core.errors import AnoclustError, ConfigError, ResourceError
from flows.nights.outcome import NightOutcome
from flows.nights.run import run_many_nights
from tasks.telemetry import Listener


def nights_between(first: date, last: date) -> list[date]:
    """Every night of a span, both ends included.

    Raises
    ------
    ConfigError
        If it ends before it begins.

    Examples
    --------
    >>> [str(night) for night in nights_between(date(2026, 1, 31), date(2026, 2, 1))]
    ['2026-01-31', '2026-02-01']
    """
    if last < first:
        raise ConfigError(f"--from {first} is after --to {last}; give the earlier night to --from")
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def run_backfill(
    data: Path,
    store: Path,
    config: RunConfig,
    *,
    categories: Sequence[str],
    nights: Sequence[date],
    max_parallel: int = 1,
    listener: Listener | None = None,
    debug: bool = False,
) -> Iterator[NightOutcome]:
    """Process past nights; after a kill, the same call resumes.

    Parameters
    ----------
    data, store, config, listener, debug
        As in `flows.nights.run.run_nights`; processes side by side tell nobody of their progress.
    categories
        Names, at least one.
    nights
        Nights, in the order that they are worked on.
    max_parallel
        Categories worked on side by side, a process each.

    Yields
    ------
    outcome
        One per night and category. Of a category whose night fails there is none after it.

    Raises
    ------
    AnoclustError
        If the data or the settings are of no use for any category. With categories side by side, that is the outcome of
        each of them.
    """
    if max_parallel == 1 or len(categories) == 1:
        yield from run_many_nights(
            data, store, config, categories=categories, nights=nights, listener=listener, debug=debug
        )
        return
    # forked processes would share threads and locks of what is imported here
    n_processes = min(max_parallel, len(categories))
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        jobs = {
            pool.submit(_one_category, data, store, config, name, tuple(nights), debug): name for name in categories
        }
        for job in as_completed(jobs):
            try:
                yield from job.result()
            except AnoclustError as error:  # of no use for this category; the others go on
                yield NightOutcome(jobs[job], nights[0], error=error)
            except BrokenProcessPool:
                killed = ResourceError(
                    "a process of this backfill was killed from outside, perhaps because memory ran out; run the same "
                    "command again to go on, with a smaller --max-parallel if it happens again"
                )
                yield NightOutcome(jobs[job], nights[0], error=killed)


def _end_with_parent() -> None:
    """Let this process end with the one that started it, also where that is killed: a pool's would wait for ever."""
    parent = parent_process()
    assert parent is not None  # noqa: S101 - for the type checker

    def end() -> None:
        parent.join()
        os._exit(1)

    Thread(target=end, daemon=True).start()


def _one_category(
    data: Path, store: Path, config: RunConfig, category: str, nights: tuple[date, ...], debug: bool
) -> list[NightOutcome]:
    return list(run_many_nights(data, store, config, categories=[category], nights=nights, debug=debug))
