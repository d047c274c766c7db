"""What a PBX keeps: its configuration and its call records, in SQLite.  In memory by default, in a file on request.

A record is committed on the spot, in the file's write-ahead log: 15 µs, so it is done on the labkit thread and there is no moment in which
a call has ended and its record is only in somebody's queue.  A killed process loses nothing; a power cut may lose the last records, since
nobody waits for the disk.  The slow part, bringing the log into the file, is done by a thread of its own.

The tables: ``calls`` (:class:`labkit.pbx.cdr.CallRecord`), ``settings`` (name and JSON value), and one table for each list in the
configuration (``extensions``, ...) with a column for each field; a field that is no plain value is JSON.  The file holds passwords and is
readable by its owner only.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import astuple, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from labkit.errors import PbxError
from labkit.pbx.cdr import COLUMNS, CallRecord
from labkit.pbx.plain import build, plain

T = TypeVar("T")
MEMORY = ":memory:"
CHECKPOINT_RECORDS = 1000
READ_ROWS = 200
"""How many rows a reader takes at a time: as long as it reads, the PBX waits (0.2 ms)."""
VERSION = 1

_CALLS = """CREATE TABLE IF NOT EXISTS calls (
    number INTEGER PRIMARY KEY, start REAL, answered REAL, "end" REAL, caller TEXT, callee TEXT, forwarded_from TEXT,
    status INTEGER, reason TEXT, talk_seconds REAL, call_id TEXT)"""
_NAMES = ", ".join(f'"{name}"' for name in COLUMNS)
_ADD = f"INSERT INTO calls ({_NAMES}) VALUES ({', '.join('?' * len(COLUMNS))})"


class Store:
    """One database.  Any thread may use it."""

    def __init__(self, path: str | Path = MEMORY) -> None:
        self.path = str(path) if str(path) == MEMORY else str(Path(path).expanduser().resolve())
        self.problem = ""
        """Why the last record could not be written; it waits in memory, and the next one takes it along."""
        self._lock = threading.Lock()
        self._waiting: list[CallRecord] = []
        self._added = 0
        try:
            self._db = self._open()
        except (OSError, sqlite3.Error) as error:
            raise PbxError("settings.no_database", path=self.path, reason=error) from error

    def _open(self) -> sqlite3.Connection:
        if self.path != MEMORY:
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        db = sqlite3.connect(self.path, timeout=0.05, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA wal_autocheckpoint = 0")
            if db.execute("PRAGMA user_version").fetchone()[0] not in (0, VERSION):
                raise sqlite3.DatabaseError("written by a newer labkit")
            db.execute(f"PRAGMA user_version = {VERSION}")
            db.execute(_CALLS)
        except sqlite3.Error:
            db.close()
            raise
        return db

    @classmethod
    def kept(cls, path: str | Path, config: type) -> dict[str, tuple[Any, ...]]:
        """The lists of a configuration (extensions, rules, ...) that a file has from an earlier time; without those that are empty."""
        store = cls(path)
        try:
            found: dict[str, tuple[Any, ...]] = {name: store.load(name, kind) for name, kind in list_fields(config).items()}
        finally:
            store.close()
        return {name: items for name, items in found.items() if items}

    # -- call records ---------------------------------------------------------------------------------------------------------------

    def add(self, record: CallRecord) -> None:
        """Keep the record of a call that has ended.  A full disk stops no call: the record waits."""
        with self._lock:
            self._waiting.append(record)
            try:
                while self._waiting:
                    self._db.execute(_ADD, astuple(self._waiting[0]))
                    del self._waiting[0]
                    self._added += 1
                self.problem = ""
            except sqlite3.Error as error:
                self.problem = str(error)
        if self.path != MEMORY and self._added >= CHECKPOINT_RECORDS:
            self._added = 0
            threading.Thread(target=self._checkpoint, name="labkit store", daemon=True).start()

    def records(self) -> list[CallRecord]:
        """Every record, the oldest first."""
        return [CallRecord(*row[1:]) for row in self._rows(f"SELECT number, {_NAMES} FROM calls")] + list(self._waiting)

    def __len__(self) -> int:
        with self._lock:
            count: int = self._db.execute("SELECT count(*) FROM calls").fetchone()[0]
            return count + len(self._waiting)

    def _rows(self, select: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a table whose first column rises, a few at a time, so that no reader holds the PBX up."""
        last = 0
        while True:
            with self._lock:
                rows = self._db.execute(f"{select} WHERE number > ? ORDER BY number LIMIT ?", (last, READ_ROWS)).fetchall()
            yield from rows
            if len(rows) < READ_ROWS:
                return
            last = rows[-1][0]

    def _checkpoint(self) -> None:
        try:
            db = sqlite3.connect(self.path)
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")
            db.close()
        except sqlite3.Error:
            return  # the log only grows a little more; the next one tries again

    # -- configuration --------------------------------------------------------------------------------------------------------------

    def save(self, config: Any) -> None:
        """Keep a configuration (a dataclass): its lists of dataclasses as tables, the rest as settings.  Replaces what was kept before."""
        values, lists = plain(config), list_fields(type(config))
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for name, kind in lists.items():
                    columns = [field.name for field in fields(kind) if field.init]
                    self._db.execute(f'DROP TABLE IF EXISTS "{name}"')
                    self._db.execute(f'CREATE TABLE "{name}" ({", ".join(_quoted(columns))})')
                    rows = [[_cell(row[column]) for column in columns] for row in values.pop(name)]
                    self._db.executemany(f'INSERT INTO "{name}" VALUES ({", ".join("?" * len(columns))})', rows)
                self._db.execute("CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT)")
                self._db.execute("DELETE FROM settings")
                self._db.executemany("INSERT INTO settings VALUES (?, ?)", [(name, json.dumps(value)) for name, value in values.items()])
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    def load(self, name: str, kind: type[T]) -> tuple[T, ...]:
        """One list of the configuration, as it was saved: ``load("extensions", Extension)``; empty when nothing was."""
        with self._lock:
            if not self._db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)).fetchone():
                return ()
            cursor = self._db.execute(f'SELECT * FROM "{name}" ORDER BY rowid')
            columns, rows = [column[0] for column in cursor.description], cursor.fetchall()
        hints = get_type_hints(kind)
        known = [(place, column) for place, column in enumerate(columns) if column in hints]
        return tuple(
            build(kind, {column: _value(hints[column], row[place]) for place, column in known}, (name, number))
            for number, row in enumerate(rows)
        )

    def close(self) -> None:
        """Bring everything into the file; the records stay readable."""
        if self.path != MEMORY:
            with self._lock:
                self._db.close()
                self._db = sqlite3.connect(Path(self.path).as_uri() + "?mode=ro", uri=True, check_same_thread=False)

    def __repr__(self) -> str:
        return f"<Store {self.path}>"


def list_fields(config: type) -> dict[str, type]:
    """The fields of a configuration that are lists of dataclasses, and of which."""
    hints = get_type_hints(config)
    found = {name: (get_args(hint) or (None,))[0] for name, hint in hints.items()}
    return {name: kind for name, kind in found.items() if isinstance(kind, type) and is_dataclass(kind)}


def _quoted(names: list[str]) -> list[str]:
    return [f'"{name}"' for name in names]


def _cell(value: Any) -> Any:
    """A value as SQLite keeps it: texts and numbers as they are, a switch as 0 or 1, all else as JSON."""
    if isinstance(value, bool):
        return int(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value


def _value(hint: Any, cell: Any) -> Any:
    """A cell as :func:`labkit.pbx.plain.build` takes it."""
    if hint is bool:
        return bool(cell)
    return json.loads(cell) if isinstance(cell, str) and hint is not str and cell[:1] in "[{" else cell
