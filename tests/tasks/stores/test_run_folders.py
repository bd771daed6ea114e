"""Names of runs, and the folders that bear them."""

from __future__ import annotations

from pathlib import Path

from tasks.stores.runs import began_at, latest_run, list_runs, new_run_id, publish_run

KEY = "0123456789abcdef"


def test_runs_of_one_key_within_a_second_have_names_of_their_own(tmp_path: Path) -> None:
    """Ten runs that end at once are all kept, in their order, and the last one is the latest."""
    published = []
    for _ in range(10):
        run_id = new_run_id(tmp_path, KEY)
        with publish_run(tmp_path, run_id) as draft:
            (draft / "x").touch()
        published.append(run_id)
    assert [path.name for path in reversed(list_runs(tmp_path))] == published
    assert all(began_at(name) for name in published)
    assert latest_run(tmp_path) == published[-1]
