"""Every sentence exists in English and in French, with the same blanks, and is used."""

from __future__ import annotations

import ast
import pickle
import re
import string
from pathlib import Path

import pytest

from labkit import texts
from labkit.errors import LabkitError, PhoneError

ID = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")


def domains(code: str) -> set[str]:
    return {path.stem for path in (texts.LOCALE / code).glob("*.po")}


def all_ids(code: str) -> dict[str, str]:
    return {message_id: sentence for domain in domains(code) for message_id, sentence in texts.catalogue(domain, code).items()}


def blanks(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name is not None}


def strings_in_package(root: Path) -> set[str]:
    """Every string constant of the code and of the question bank."""
    found: set[str] = set()
    for path in (root / "labkit").rglob("*.py"):
        found |= {
            node.value
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
    for path in (root / "labkit").rglob("*.toml"):
        found |= set(re.findall(r'"([^"\n]+)"', path.read_text("utf-8")))
    return found


def completed_in_package(root: Path) -> set[str]:
    """The constant beginnings of f-strings."""
    trees = (ast.parse(path.read_text("utf-8")) for path in (root / "labkit").rglob("*.py"))
    first = (node.values[0] for tree in trees for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) and node.values)
    return {node.value for node in first if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_both_languages_have_the_same_messages() -> None:
    assert domains("en") == domains("fr")
    assert set(all_ids("en")) == set(all_ids("fr"))


def test_blanks_are_the_same() -> None:
    english, french = all_ids("en"), all_ids("fr")
    different = [message_id for message_id in english if blanks(english[message_id]) != blanks(french[message_id])]
    assert not different


def test_each_id_stands_in_the_catalogue_of_its_domain() -> None:
    for code in texts.LANGUAGES:
        for domain in domains(code):
            assert all(message_id.startswith(domain + ".") for message_id in texts.catalogue(domain, code))


def test_every_id_used_in_the_code_exists(root: Path) -> None:
    """A string constant whose first word is a catalogue and that looks like an id must be one."""
    known, names = all_ids("en"), domains("en")
    used = {value for value in strings_in_package(root) if ID.fullmatch(value) and value.split(".")[0] in names}
    files = {value for value in used if value.endswith((".csv", ".json", ".pcap", ".pcapng", ".po", ".svg", ".toml", ".txt", ".wav"))}
    missing = {value for value in used - set(known) - files if not any(message_id.startswith(value) for message_id in known)}
    assert not missing


def test_every_message_is_used(root: Path) -> None:
    """By its whole id, or by a beginning that the code completes (``f"sip.status.{code}"``)."""
    strings, names = strings_in_package(root), domains("en")
    prefixes = tuple(value for value in completed_in_package(root) if "." in value and value.split(".")[0] in names)
    unused = [message_id for message_id in all_ids("en") if message_id not in strings and not message_id.startswith(prefixes)]
    assert not unused


def test_language_switches_and_refuses() -> None:
    assert texts.language("fr") == "fr" == texts.language()
    assert "recommencez" in texts.text("net.port_taken", address="127.0.0.1:5060", reason="x")
    assert "try again" in texts.text("net.port_taken", language="en", address="127.0.0.1:5060", reason="x")
    for unknown in ("de", "", "french fries", 5):
        with pytest.raises(LabkitError, match=re.escape(f"anglais et français, pas {unknown!r}")):
            texts.language(unknown)  # type: ignore[arg-type]
    assert texts.language() == "fr", "a refused language changes nothing"


@pytest.mark.parametrize(("given", "code"), [("FR", "fr"), ("fr_FR", "fr"), ("fr-CA", "fr"), ("fr_FR.UTF-8", "fr"), (" En ", "en")])
def test_a_language_is_named_as_systems_name_it(given: str, code: str) -> None:
    assert texts.language(given) == code == texts.language()


def test_an_error_crosses_a_pipe_and_speaks_there() -> None:
    for error in (LabkitError("language.unknown", given="de"), PhoneError("phone.call_over", code=486, name="BOB")):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error) and str(copy) == str(error) and copy.values == error.values
