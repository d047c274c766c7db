"""Configuration files: the example serves, every field can be written, every mistake names its line and the remedy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from labkit import texts
from labkit.errors import PbxError
from labkit.pbx import Extension, PbxConfig
from labkit.pbx.groups import Gateway, OutboundRule
from labkit.pbx.plain import build, plain
from labkit.pbx.rules import ExtensionRules, ForwardTo, RuleException, StatusRules
from labkit.pbx.settings import EXAMPLE, line_of_key, parse, positions, read

TWO = '[[extensions]]\nnumber = "101"\nfirst_name = "ALICE"\n\n[[extensions]]\nnumber = "102"\nfirst_name = "PAUL"\n'
PSTN = '[[gateways]]\nname = "PSTN"\naddress = "127.0.0.1:5070"\n'
GROUP = '[[groups]]\nnumber = "{}"\nname = "G"\nmembers = ["102"]\notherwise = {{ target = "extension", number = "{}" }}\n'


def test_the_example_is_a_configuration() -> None:
    config = parse(EXAMPLE)
    assert [extension.first_name for extension in config.extensions] == ["BOB", "ALICE", "PAUL"]
    assert config.bind == config.advertised == ("127.0.0.1", 5060)
    assert config.rules[0].available.no_answer == ForwardTo("extension", "102")
    assert config.groups[0].members == ("100", "101", "102")
    assert all(extension.auth_password.isdigit() for extension in config.extensions)


def test_an_empty_file_is_a_pbx_on_loopback() -> None:
    assert parse("") == PbxConfig(("127.0.0.1", 5060), ("127.0.0.1", 5060))


def test_what_is_written_plainly_is_read_back() -> None:
    """Every field of the configuration survives, nested ones too."""
    rules = ExtensionRules(
        "100",
        away=StatusRules(all_calls=ForwardTo("external", "0612345678"), no_answer_after_s=5),
        exceptions=(RuleException(ForwardTo("hang_up"), caller="06*", hours="18:00-08:00"),),
    )
    config = replace(
        parse(EXAMPLE),
        rules=(rules,),
        gateways=(Gateway("PSTN", ("127.0.0.1", 5070)),),
        outbound=(OutboundRule("PSTN", prefix="0"),),
        services={"voicemail": "sip:999@127.0.0.1:5062"},
        rtp_ports=(41000, 41009),
    )
    assert build(PbxConfig, plain(config)) == config


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('bind = "127.0.0.1:5060"\nring_timeout = 3\n', 2, "Did you mean 'ring_timeout_s'?"),
        ("\n\nzzz = 3\n", 3, "Remove it; the settings here are: bind"),
        (TWO.replace('first_name = "PAUL"', 'firstname = "PAUL"'), 7, "Did you mean 'first_name'?"),
        (TWO.replace('"102"', '"101"'), 6, "101 is used by two extensions"),
        (TWO + 'auth_id = "101"\n', 8, "101 is used by two extensions"),
        (TWO.replace('"102"', '"1 2"'), 6, "cannot be dialled"),
        (TWO.replace('first_name = "PAUL"\n', ""), 5, "'first_name' is missing"),
        ('realm = "x"\nprofile = "4cx"\n', 2, "Choose one of: 3cx, rfc"),
        ("ring_timeout_s = '9'\n", 1, "Write a number"),
        ("challenge_calls = 1\n", 1, "Write true or false"),
        ('bind = "localhost"\n', 1, 'such as "127.0.0.1:5060"'),
        ('realm = "x"\nbind = "0.0.0.0:5060"\n', 2, "Add 'advertised'"),
        ("extensions = 3\n", 1, "[[tables]]"),
        ("[timers]\nt1 = 0.5\nt9 = 1\n", 3, "there is no setting 't9'"),
        ("[timers]\nt1 = true\n", 2, "Write a number"),
        ("# one\nrtp_ports = [5, 4]\n", 2, "rtp_ports"),
        ("expires_min_s = 500\nexpires_default_s = 100\n", 2, "must rise"),
        ("[guard]\nenabled = true\nban_s = -1\n", 3, "> 0"),
        (TWO + '[[rules]]\nextension = "101"\navailable = { all_calls = { target = "extension", number = "102" } }\n'
         '[[rules]]\nextension = "102"\n[rules.available]\nbusy = { target = "extension", number = "101" }\n', 14, "101 -> 102 -> 101"),
        (TWO + '[[rules]]\nextension = "101"\n[rules.available]\nbusy = { target = "extension", number = "109" }\n', 11, "109"),
        (TWO + '[[rules]]\nextension = "101"\n[rules.available]\nbussy = { target = "hang_up" }\n', 11, "Did you mean 'busy'?"),
        (TWO + '[[groups]]\nnumber = "101"\nname = "x"\nmembers = ["102"]\n', 9, "101 is used by two"),
        *((f"{setting} = {value}\n", 1, "> 0") for setting in ("ring_timeout_s", "serial_ring_s", "park_timeout_s", "nonce_lifetime_s")
          for value in ("-1.0", "0", "nan", "inf")),
        *((f"realm = 'x'\n{setting} = {value}\n", 2, setting) for setting, value in (
            ("bindings_max", 0), ("forwards_max", -1), ("transfer_bye_wait_s", -1), ("transfer_bye_wait_s", "nan"), ("session_min_s", -1))),
        *((f"[timers]\nt1 = {value}\n", 2, "timers.t1") for value in (0, -1, "nan", "inf")),
        ("[guard]\nban_s = nan\n", 2, "ban_s"),
        ('[guard]\nscanners = [""]\n', 2, "scanners"),
        ('realm = "a\\r\\nX: y"\n', 1, "visible characters on one line"),
        ('realm = ""\n', 1, "visible characters on one line"),
        ('realm = "x"\nproduct = "a\\r\\nX: y"\n', 2, "visible characters on one line"),
        (TWO.replace('"PAUL"', '"P\\r\\nX: y"'), 7, "first_name"),
        (TWO.replace('"102"', '"*60"'), 6, "*60 is a feature code"),
        ('[features]\npark = "*4"\nunpark = "*4"\n', 1, "*40 means two things, park and unpark"),
        ('[features]\ndnd_on = "*31"\n', 2, "*31 means two things, dnd_on and status"),
        ('[features]\npickup = "*0"\n', 1, "pickup"),
        ('[services]\nvoicemail = "nonsense"\n', 2, "sip:999@127.0.0.1:5062"),
        ('[services]\ncoffee = "sip:1@127.0.0.1"\n', 2, "voicemail, receptionist"),
        (TWO + '[[rules]]\nextension = "101"\n[rules.available]\nbusy = { target = "external", number = "06" }\n', 11, "no outbound rule"),
        (TWO + '[[rules]]\nextension = "101"\n[rules.available]\nno_answer_after_s = nan\n', 11, "> 0"),
        (PSTN + PSTN.replace("5070", "5071"), 5, "name or the address of another"),
        (PSTN + PSTN.replace("PSTN", "MARS"), 5, "name or the address of another"),
        (PSTN.replace("5070", "5060"), 2, "the address of the PBX itself"),
        (TWO + GROUP.format(800, 800), 12, "800 -> 800"),
        (TWO + GROUP.format(800, 801) + GROUP.format(801, 800), 17, "800 -> 801 -> 800"),
        (TWO + GROUP.format(800, 101) + '[[rules]]\nextension = "101"\navailable = { busy = { target = "extension", number = "800" } }\n',
         14, "101 -> 800 -> 101"),
        (TWO + GROUP.format(800, 101) + "ring_time_s = nan\n", 9, "ring time above zero"),
        ('bind = "127.0.0.1:5060"\nadvertised = "no such host:5060"\n', 2, "phones cannot send to no such host:5060"),
    ],
)  # fmt: skip
def test_a_mistake_names_its_line_and_the_remedy(text: str, line: int, says: str) -> None:
    with pytest.raises(PbxError) as refused:
        parse(text, "office.toml")
    sentence = str(refused.value)
    assert sentence.startswith(f"office.toml, line {line}: ") and says in sentence and len(sentence.splitlines()) == 1
    texts.language("fr")
    assert str(refused.value).startswith(f"office.toml, ligne {line} : ")


@pytest.mark.parametrize(("text", "line"), [("a = 1\nb = = 2\n", 2), ('a = "x\n', 1), ("[a]\nx = 1\n[a]\n", 3), ("a = [1,\n", 1)])
def test_what_is_no_toml_names_its_line(text: str, line: int) -> None:
    with pytest.raises(PbxError, match=f"line {line}: this is not TOML .* --example"):
        parse(text)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(PbxError, match=r"There is no file .*office.toml. 'labkit serve --example"):
        read(tmp_path / "office.toml")
    with pytest.raises(PbxError, match="cannot be read"):
        read(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'realm = "caf\xe9"\n')
    with pytest.raises(PbxError, match="UTF-8"):
        read(tmp_path / "latin.toml")


def test_a_byte_order_mark_and_too_many_brackets(tmp_path: Path) -> None:
    (tmp_path / "notepad.toml").write_bytes(b"\xef\xbb\xbf" + b'realm = "x"\n')
    assert read(tmp_path / "notepad.toml").realm == "x"
    assert line_of_key(tmp_path / "notepad.toml", "realm") == 1
    with pytest.raises(PbxError, match=r"line 2: this is not TOML \(too many brackets"):
        parse("a = 1\nb = " + 3000 * "[" + "\n")


def test_positions_of_keys_and_tables() -> None:
    text = 'a = 1\nb.c = """\nd = 2\n"""\ne = [\n  1, # [x]\n]\n[t]\nf = "]"\n[[u]]\ng = 1\n[[u]]\ng = 2\n[u.v]\nh = { i = 3 }\n'
    found = positions(text)
    assert [found[path] for path in [("a",), ("b", "c"), ("e",), ("t",), ("t", "f")]] == [1, 2, 5, 8, 9]
    assert [found[path] for path in [("u", 0, "g"), ("u", 1, "g"), ("u", 1, "v"), ("u", 1, "v", "h", "i")]] == [11, 13, 14, 15]
    assert ("d",) not in found and ("x",) not in found


def test_the_line_of_one_key(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('realm = "x"\nbind = "127.0.0.1:5060"\n')
    assert (line_of_key(tmp_path / "x.toml", "bind"), line_of_key(tmp_path / "x.toml", "media")) == (2, 1)


def test_an_extension_from_plain_values() -> None:
    assert build(Extension, {"number": "100", "first_name": "BOB"}) == Extension("100", "BOB")
