"""The store: records that survive a killed process, tables, CSV, the configuration, and what a record costs the labkit loop."""

from __future__ import annotations

import asyncio
import csv
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from labkit.errors import PbxError
from labkit.pbx import Extension, PbxConfig
from labkit.pbx.cdr import COLUMNS, CallRecord, frame, write_csv
from labkit.pbx.plain import plain
from labkit.pbx.rules import ExtensionRules, ForwardTo, StatusRules
from labkit.pbx.store import Store, list_fields
from tests.pbx.office import EXTENSIONS, Office, play


def record(number: int, caller: str = "100") -> CallRecord:
    return CallRecord(1000.0 + number, 1002.0 + number, 1012.5 + number, caller, str(number), reason="OK", talk_seconds=10.5)


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store() if request.param == "memory" else Store(tmp_path / "office.db")


def test_records_come_back_in_their_order(store: Store) -> None:
    kept = [record(number) for number in range(1200)]
    for one in kept:
        store.add(one)
    assert store.records() == kept and len(store) == 1200
    store.close()
    assert store.records() == kept


def test_a_call_becomes_a_record(tmp_path: Path) -> None:
    """One answered call, one that the caller gives up and one to a wrong number, seen as a table and as CSV."""
    tables = []

    async def scene(office: Office) -> None:
        invite, ok, _ = await office.connected()
        office.bob.send(office.bob.in_dialog("BYE", invite, ok))
        await office.bob.response(200)
        office.alice.reply(await office.alice.ask("BYE"), 200)
        second = await office.bob.invite("101")
        await office.bob.response(100)
        office.alice.reply(await office.alice.ask("INVITE"), 180)
        await office.bob.response(180)
        office.bob.send(office.bob.cancel(second))
        await office.bob.response(200)
        await office.bob.response(487)
        await office.bob.invite("999")
        await office.bob.response(404)
        tables.append(office.pbx.records())
        office.pbx.save_records(tmp_path / "calls.csv")

    before = time.time()
    play(scene)
    table = tables[0]
    assert list(table.columns) == list(COLUMNS)
    assert [tuple(row) for row in table[["caller", "callee", "forwarded_from", "status", "reason"]].itertuples(index=False)] == [
        ("100", "101", "", 200, "OK"),
        ("100", "101", "", 487, "Request Terminated"),
        ("100", "999", "", 404, "Not Found"),
    ]
    answered, given_up = table.iloc[0], table.iloc[1]
    assert before - 1 < answered.start.timestamp() <= answered.answered.timestamp() <= answered.end.timestamp() < time.time() + 1
    assert answered.talk_seconds == pytest.approx((answered.end - answered.answered).total_seconds(), abs=0.002)
    assert str(given_up.answered) == "NaT" and given_up.talk_seconds == 0
    assert answered.call_id and answered.call_id != given_up.call_id
    with (tmp_path / "calls.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["200", "487", "404"]
    assert rows[0]["start"].endswith("+00:00") and rows[1]["answered"] == ""


def test_no_records_are_an_empty_table() -> None:
    assert list(frame([]).columns) == list(COLUMNS) and len(frame([])) == 0


def test_a_spreadsheet_gets_no_formula_from_a_stranger(tmp_path: Path) -> None:
    path = write_csv([record(1, caller="=cmd()")], tmp_path / "x.csv")
    assert "'=cmd()" in path.read_text()
    with pytest.raises(PbxError, match="cannot be written"):
        write_csv([], tmp_path / "no" / "x.csv")


@pytest.mark.skipif(sys.platform == "win32", reason="only on systems with SIGKILL")
def test_a_killed_process_loses_no_finished_record(tmp_path: Path) -> None:
    """The process says a number after each record and is killed in the middle; every number that it said is in the file."""
    code = (
        "import sys; from labkit.pbx.store import Store; from labkit.pbx.cdr import CallRecord\n"
        "store = Store(sys.argv[1])\n"
        "for number in range(10**9):\n"
        "    store.add(CallRecord(1.0, 2.0, 3.0, '100', str(number)))\n"
        "    print(number, flush=True)\n"
    )
    path = tmp_path / "office.db"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said = line
            if said == "2500\n":
                process.send_signal(signal.SIGKILL)
        last = int(said)
    assert last >= 2500
    again = Store(path)
    kept = [int(one.callee) for one in again.records()]
    assert kept[: last + 1] == list(range(last + 1)) and len(kept) <= last + 2
    again.add(record(1))
    again.close()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only on systems with /dev/full")
def test_a_record_that_cannot_be_written_waits(tmp_path: Path) -> None:
    store = Store(tmp_path / "office.db")
    other = sqlite3.connect(tmp_path / "office.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    store.add(record(1))
    assert "locked" in store.problem and store.records() == [record(1)]
    other.execute("COMMIT")
    other.close()
    store.add(record(2))
    assert store.problem == "" and store.records() == [record(1), record(2)]


def test_the_configuration_is_kept_in_tables(store: Store) -> None:
    config = PbxConfig(("127.0.0.1", 5060), ("127.0.0.1", 5060), extensions=EXTENSIONS, profile="rfc")
    store.save(PbxConfig(("127.0.0.1", 5060), ("127.0.0.1", 5060), extensions=(Extension("7", "OLD"),)))
    store.save(config)
    assert store.load("extensions", Extension) == EXTENSIONS
    assert store.load("nothing", Extension) == ()
    for name, kind in list_fields(PbxConfig).items():
        assert store.load(name, kind) == getattr(config, name)
    assert plain(config)["bind"] == "127.0.0.1:5060"


def test_rules_that_change_while_the_pbx_runs_are_kept(tmp_path: Path) -> None:
    rules = ExtensionRules("101", available=StatusRules(no_answer=ForwardTo("extension", "102"), no_answer_after_s=7.5))

    async def scene(office: Office) -> None:
        office.pbx.set_rules(rules)

    play(scene, database=str(tmp_path / "office.db"))
    kept = Store.kept(tmp_path / "office.db", PbxConfig)
    assert kept["rules"] == (rules,) and kept["extensions"] == EXTENSIONS and "groups" not in kept


@pytest.mark.skipif(sys.platform == "win32", reason="only on systems with file modes")
def test_the_file_is_its_owners(tmp_path: Path) -> None:
    Store(tmp_path / "office.db")
    assert stat.S_IMODE((tmp_path / "office.db").stat().st_mode) == 0o600


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("not a database at all, but long enough to be taken for one" * 20)
    for path in (tmp_path / "x.db", tmp_path / "no" / "y.db"):
        with pytest.raises(PbxError, match="cannot be opened") as refused:
            Store(path)
        assert str(path) in str(refused.value)


def test_the_loop_hardly_notices(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """While 5000 records are added on a loop and another thread reads all of them again and again."""
    store = Store(tmp_path / "office.db")
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            store.records()

    async def add() -> list[float]:
        took = []
        for number in range(5000):
            began = time.perf_counter()
            store.add(record(number))
            took.append(time.perf_counter() - began)
            if number % 50 == 0:
                await asyncio.sleep(0)
        return sorted(took)

    alone = asyncio.run(add())
    reader = threading.Thread(target=read)
    reader.start()
    beside = asyncio.run(add())
    stop.set()
    reader.join()
    for what, took in (("alone", alone), ("beside a reader", beside)):
        figure(
            f"a call record in a file, {what}: p50 {took[2500] * 1e6:.0f} µs, p99 {took[4950] * 1e6:.0f} µs, max {took[-1] * 1e3:.1f} ms"
        )
    assert alone[2500] < 0.005
    assert len(store.records()) == 10000
