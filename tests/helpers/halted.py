"""The ``anoclust`` command, halted at a moment of its run until the test lets it go on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LIMIT_SECONDS = 240
"""How long a command, or the way to its halt, may take on a busy machine."""

PATIENCE = "HALTED_PATIENCE"
"""Variable with the seconds that the command waits for a server; by default as many as for a user."""

COMPLETE = "complete"
"""Moment at which a flow has everything in the store, and Prefect does not know yet."""

BLOCK = "block"
"""Moment at which the first block of image pairs has come back from a worker, and others are still to come."""


class HaltedCommand:
    """A command in a process of its own that stops before a stage, or at `COMPLETE` or `BLOCK`.

    Parameters
    ----------
    folder
        For the marks by which both processes hear of each other, and for what the command writes.
    halt
        Name of the stage.
    arguments
        As on the command line.
    environment
        Besides that of this process.
    """

    def __init__(self, folder: Path, halt: str, arguments: Sequence[str], environment: dict[str, str]) -> None:
        folder.mkdir()
        self._halted, self._go = folder / "halted", folder / "go"
        self._out, self._err = folder / "out", folder / "err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, __file__, halt, str(folder), *arguments],
                env={**os.environ, **environment},
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        until = time.monotonic() + LIMIT_SECONDS
        while not self._halted.exists():
            assert self.process.poll() is None, self.told
            assert time.monotonic() < until, f"it never came to the halt: {self.told}"
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def told(self) -> str:
        """What it has written to standard error so far."""
        return self._err.read_text()

    @property
    def printed(self) -> str:
        """What it has written to standard output so far."""
        return self._out.read_text()

    def go_on(self) -> tuple[int, float, float]:
        """Let it go on to its end; gives its exit code, its seconds, and its longest silence on standard error."""
        began = heard = time.monotonic()
        silence, said = 0.0, len(self.told)
        self._go.touch()
        while self.process.poll() is None:
            assert time.monotonic() - began < LIMIT_SECONDS, self.told
            if len(self.told) != said:
                said = len(self.told)
                silence, heard = max(silence, time.monotonic() - heard), time.monotonic()
            time.sleep(0.05)
        now = time.monotonic()
        return self.process.returncode, now - began, max(silence, now - heard)


def _main(halt: str, folder: Path, arguments: list[str]) -> None:
    """Run the command; Prefect may not be imported before the command does it."""
    from flows import cli
    from flows.prefect_server import around

    def wait() -> None:
        (folder / "halted").touch()
        while not (folder / "go").exists():
            time.sleep(0.02)

    prepared = around.make_patient

    def prepare() -> None:
        prepared()
        from tasks import telemetry
        from tasks.services import patience
        from tasks.stages import pair
        from tasks.stages.runner import StageRunner

        run_stage, finished = StageRunner.__call__, telemetry.finished

        def run_halted_stage(self: StageRunner, task: Any, **work: Any) -> Any:
            if task.name == halt:
                wait()
            return run_stage(self, task, **work)

        def finish_halted(flow: str, result: Any) -> Any:
            finished(flow, result)
            if halt == COMPLETE:
                wait()
            return result

        run_jobs = pair.run_jobs

        def run_halted_jobs(function: Any, jobs: Any, *, address: Any, on_done: Any) -> None:
            def done(at: int, count: int) -> None:
                on_done(at, count)
                if not (folder / "halted").exists():
                    wait()

            run_jobs(function, jobs, address=address, on_done=done)

        if halt == BLOCK:
            pair.tiling.adapted_block_images = lambda *_, **__: 2
            pair.run_jobs = run_halted_jobs
        patience.PATIENCE_SECONDS = float(os.environ.get(PATIENCE, patience.PATIENCE_SECONDS))  # type: ignore[misc]
        StageRunner.__call__ = run_halted_stage  # type: ignore[method-assign]
        telemetry.finished = finish_halted

    around.make_patient = prepare
    sys.argv = ["anoclust", *arguments]
    cli.main()


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
