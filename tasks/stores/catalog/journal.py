"""The journal: every change of the catalog, in order, in a file of the store; a line each, with its own checksum.

A change is committed to the database together with its text (`changes.Changes`), and only then written here. Killed in
between, whoever opens the catalog next writes it; rolled back, it is never written. So the journal has all that was
committed and nothing else, and is never ahead of its catalog: where it is, the catalog is an older copy.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from sqlalchemy import Engine, delete, select

from anoclust_core.errors import StoreError
from tasks.stores.catalog import changes
from tasks.stores.catalog.schema import Identity, Outbox, from_json
from tasks.stores.files import sync_folder

_LINE: Final = re.compile(rb'\{"digest":"([0-9a-f]{64})","record":(\{"position":(\d+),.*\})\}\n', re.DOTALL)
_BLOCK: Final = 1 << 16


@dataclass(frozen=True)
class Entry:
    """A change as the journal holds it: its number, what was changed, and the bytes of the journal up to its end.

    Where a line is damaged the number is 0 and the record empty.
    """

    position: int
    record: dict[str, Any]
    read: int

    @property
    def is_base(self) -> bool:
        """Whether it is a whole catalog, so that no earlier change matters."""
        return bool(self.record.get("base"))


class Journal:
    """Changes of a catalog in a file that only ever grows.

    Parameters
    ----------
    path
        The file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def bytes(self) -> int:
        """Size of the file."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def last(self) -> int:
        """Position of the last change; 0 where there is none. A line that a kill cut off does not count.

        Raises
        ------
        StoreError
            If the last line is damaged.
        """
        try:
            with self.path.open("rb") as file:
                line = _last_line(file)
        except FileNotFoundError:
            return 0
        if not line:
            return 0
        found = _parsed(line)
        if found is None:
            raise StoreError(
                f"the journal {self.path} is damaged: its last line fails its checksum; run `anoclust store "
                "rebuild-catalog`, which keeps it aside and writes a new one from the catalog"
            )
        return found[0]

    def entries(self) -> Iterator[Entry]:
        """Every change from the first on, damaged ones too; a line that a kill cut off does not count."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            for line in file:
                if line.endswith(b"\n"):
                    found = _parsed(line)
                    position, record = (0, {}) if found is None else (found[0], from_json(found[1]))
                    yield Entry(position, record, file.tell())

    def append(self, records: Sequence[str]) -> None:
        """Write changes behind the last whole line, and see that they are on the disk.

        Parameters
        ----------
        records
            JSON objects as `changes.put_in_outbox` makes them.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists()
        with self.path.open("a+b") as file:
            end = file.seek(0, os.SEEK_END)
            whole = _line_end(file, end)
            if whole < end:  # a kill cut a line off; what it was about is in the outbox still
                file.truncate(whole)
            for record in records:
                digest = hashlib.sha256(record.encode()).hexdigest()
                file.write(f'{{"digest":"{digest}","record":{record}}}\n'.encode())
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync_folder(self.path.parent)


def write_out(engine: Engine, journal: Journal) -> None:
    """Write into the journal what it does not have yet; where it lacks something older, the whole catalog.

    Raises
    ------
    StoreError
        If the journal is damaged or cannot be written: the catalog has everything, and the next command tries again.
    """
    with engine.connect() as connection:
        waits = connection.execute(select(Outbox.position).limit(1)).first() is not None
        if not waits and journal.last() == connection.scalars(select(Identity.position)).one():
            return
    try:
        while not _drained(engine, journal):
            with engine.execution_options(writes=True).begin() as connection:
                changes.put_in_outbox(connection, changes.everything(connection))
    except OSError as error:
        raise StoreError(
            f"the journal {journal.path} cannot be written ({error.strerror or error}); check that you may write to "
            "the store and that its disk is not full; the catalog has what was recorded, and the next command adds it "
            "here"
        ) from error


def _drained(engine: Engine, journal: Journal) -> bool:
    """Move the outbox into the journal; False, and nothing is done, where that would leave a gap."""
    with engine.execution_options(writes=True).begin() as connection:
        # one process at a time: the row is held until the end
        position = connection.scalars(select(Identity.position).with_for_update()).one()
        waiting = connection.execute(select(Outbox.position, Outbox.record).order_by(Outbox.position)).all()
        have = journal.last()
        new = [one for one in waiting if one.position > have]
        bases = [at for at, one in enumerate(new) if '"base":true' in one.record.partition('"changes"')[0]]
        if bases:
            new = new[bases[-1] :]
        elif (new[0].position > have + 1) if new else (have < position):
            return False
        if new:
            journal.append([one.record for one in new])
        if waiting:
            connection.execute(delete(Outbox).where(Outbox.position <= waiting[-1].position))
        return True


def _parsed(line: bytes) -> tuple[int, bytes] | None:
    """Position and text of a line; None where it is damaged."""
    found = _LINE.fullmatch(line)
    if found is None or hashlib.sha256(found[2]).hexdigest().encode() != found[1]:
        return None
    return int(found[3]), found[2]


def _last_line(file: BinaryIO) -> bytes:
    """Last line that is whole, with its end; nothing where there is none."""
    end = _line_end(file, file.seek(0, os.SEEK_END))
    if end == 0:
        return b""
    file.seek(start := _line_end(file, end - 1))
    return file.read(end - start)


def _line_end(file: BinaryIO, before: int) -> int:
    """Where the last line that ends before some place ends; 0 where none does."""
    while before > 0:
        start = max(0, before - _BLOCK)
        file.seek(start)
        found = file.read(before - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        before = start
    return 0
