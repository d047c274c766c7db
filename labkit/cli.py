"""The command line: ``labkit demo``, ``labkit ladder FILE`` and the others, for people and for programs.

Every command ends with 0, or with 1 and one sentence on standard error.  ``--json`` prints what a program may read.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from labkit import __version__
from labkit.errors import CaptureError, LabkitError, MediaError, UsageError
from labkit.texts import LANGUAGES, language, text

if TYPE_CHECKING:
    import pandas as pd

Arguments = argparse.Namespace


def demo(arguments: Arguments) -> int:
    """Play one part of the lab without a notebook and keep its files."""
    from labkit.demo import play

    options = {"profile": arguments.profile, "challenge_calls": not arguments.no_challenge}
    play(arguments.part, arguments.out, codec=arguments.codec, **options)
    return 0


def serve(arguments: Arguments) -> int:
    """Run the PBX alone in this terminal, for real phones and test tools."""
    from labkit.errors import PbxError
    from labkit.pbx.settings import EXAMPLE
    from labkit.serve import serve as run

    if arguments.example:
        print(EXAMPLE, end="")
    elif arguments.file is None:
        raise PbxError("serve.no_file")
    else:
        run(arguments.file, capture=arguments.capture)
    return 0


def ladder(arguments: Arguments) -> int:
    """Print the ladder of a capture, or draw it into a file (.svg, .png, .mmd, .txt); or print one of its messages whole."""
    from labkit.capture.capture import Capture

    capture = Capture.open(arguments.file)
    if arguments.message is not None:
        print(capture.message(arguments.message))
        return 0
    hidden = dict.fromkeys(arguments.hide, False)
    drawn = capture.ladder(call=arguments.call, **{"rtcp": arguments.rtcp, **hidden})
    if arguments.out:
        drawn.save(arguments.out)
    else:
        print(drawn)
    return 0


def diff(arguments: Arguments) -> int:
    """Compare two SIP messages of a capture header by header, by their packet numbers."""
    from labkit.capture.capture import Capture

    print(Capture.open(arguments.file).diff(arguments.first, arguments.second))
    return 0


def sockets(arguments: Arguments) -> int:
    """The sockets that the hosts of a capture, or one of them, really used."""
    from labkit.capture.capture import Capture

    return _print_table(Capture.open(arguments.file).sockets(arguments.host), arguments.json)


def calls(arguments: Arguments) -> int:
    """The calls of a capture."""
    from labkit.capture.capture import Capture

    return _print_table(Capture.open(arguments.file).calls, arguments.json)


def rtp(arguments: Arguments) -> int:
    """The RTP streams of a capture, with Wireshark's figures."""
    from labkit.capture.capture import Capture
    from labkit.capture.rtp_record import record
    from labkit.capture.rtp_stream import COLUMNS
    from labkit.capture.table import table

    streams = Capture.open(arguments.file).streams
    if arguments.no_foreign:
        streams = [stream.without_foreign() for stream in streams]
    if arguments.explain:
        for stream in streams:
            print(stream.title, stream.explain_jitter(), sep="\n")
    elif arguments.json:
        print(json.dumps([record(stream) for stream in streams], ensure_ascii=False, indent=2))
    else:
        return _print_table(table([stream.row() for stream in streams], COLUMNS, caption="capture.table_streams"), False)
    return 0


def sip_stats(arguments: Arguments) -> int:
    """SIP statistics of a capture: requests by method, responses by status, retransmissions, set-up times."""
    from labkit.capture.capture import Capture

    return _print_table(Capture.open(arguments.file).sip_stats(), arguments.json)


def audio(arguments: Arguments) -> int:
    """Decode the voices of a capture, one WAV a stream, or a whole call in stereo."""
    from labkit.capture.capture import Capture
    from labkit.demo import save_voices

    capture, how = Capture.open(arguments.file), {"buffer_ms": arguments.buffer, "conceal": arguments.conceal}
    if not capture.streams:
        raise MediaError("cli.no_voice", path=arguments.file)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.call is not None:
        paths = [capture.call_audio(arguments.call, **how).save(arguments.out / f"call-{arguments.call}.wav")]
    else:
        paths = save_voices(capture, arguments.out, **how)
    for path in paths:
        print(path)
    return 0 if paths else 1


def decrypt(arguments: Arguments) -> int:
    """Decrypt TLS and SRTP of a capture into a new one."""
    from labkit.capture.capture import Capture

    clear = Capture.open(arguments.file).decrypt(arguments.keys, rsa_key=arguments.rsa_key, rsa_password=arguments.rsa_password)
    report = clear.decryption
    assert report is not None
    if not report.opened:
        raise CaptureError("decrypt.none_opened", path=arguments.file, reason=report.reason)
    clear.save(arguments.out)
    print(json.dumps(records(report.table()), ensure_ascii=False, indent=2) if arguments.json else report)
    return 0


def check(arguments: Arguments) -> int:
    """Judge one answer; without a capture, by the question bank alone."""
    from labkit.grading.check import check as judge

    verdict = judge(arguments.question, arguments.answer, arguments.capture)
    print(verdict)
    return 0 if verdict.outcome == "right" else 1


def explain(arguments: Arguments) -> int:
    """Say what a status code, a method, an SDP line or a TLS alert means, who sends it, and what to look at."""
    from labkit.explanations import explain as explanation

    print(explanation(" ".join(arguments.what)))
    return 0


def doctor(arguments: Arguments) -> int:
    """Say whether this machine has what the lab needs, and what to do about what is missing."""
    from labkit.doctor import examine

    findings = examine()
    if arguments.json:
        print(
            json.dumps([{"check": f.check, "ok": f.ok, "needed": f.needed, "says": str(f)} for f in findings], ensure_ascii=False, indent=2)
        )
    else:
        for finding in findings:
            print(f"{finding.sign} {finding}")
    return 0 if all(finding.ok or not finding.needed for finding in findings) else 1


def _print_table(table: pd.DataFrame, as_json: bool) -> int:
    if as_json:
        print(json.dumps(records(table), ensure_ascii=False, indent=2))
    else:
        print(table.to_string(index=False, na_rep="") if len(table) else text("cli.nothing"))
    return 0


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as plain values; what is not a number there is null."""
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=15))
    return rows


def without_reader(error: OSError) -> None:
    """Go on when the reader of the output has gone (``labkit demo | head``); raise any other ``error``.  Windows calls it EINVAL."""
    if not isinstance(error, BrokenPipeError) and (os.name != "nt" or error.errno != errno.EINVAL):
        raise error
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """Says in one sentence what is wrong, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise UsageError("cli.usage", reason=message, command=self.prog)


def parser() -> argparse.ArgumentParser:
    top = _Parser(prog="labkit", description="A telephone laboratory: a real PBX, real phones, every packet captured.")
    top.add_argument("--version", action="version", version=f"labkit {__version__}")
    top.add_argument("--language", metavar="|".join(LANGUAGES), help="of sentences and feedback (default: en)")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(function: Callable[[Arguments], int]) -> argparse.ArgumentParser:
        made = commands.add_parser(function.__name__.replace("_", "-"), help=function.__doc__, description=function.__doc__)
        made.set_defaults(function=function)
        return made

    made = command(demo)
    made.add_argument("part", nargs="?", type=int, choices=[1, 2], default=1, help="the part of the lab (default: 1)")
    made.add_argument("--out", type=Path, default=Path("labkit-demo"), metavar="DIR", help="where the files go (default: labkit-demo)")
    made.add_argument("--profile", choices=["3cx", "rfc"], default="3cx", help="407 to a REGISTER as a 3CX does, or 401 by the book")
    made.add_argument("--no-challenge", action="store_true", help="do not challenge calls, as in the lab sheet's trace")
    made.add_argument("--codec", default="PCMU", help="the codec of the phones (default: PCMU)")
    made = command(serve)
    made.add_argument("file", type=Path, nargs="?", metavar="CONFIG.toml")
    made.add_argument("--example", action="store_true", help="print a documented configuration that serves as it is")
    made.add_argument("--capture", type=Path, metavar="FILE.pcapng", help="record what the PBX itself sends and receives")
    made = command(ladder)
    made.add_argument("file", type=Path)
    made.add_argument("--call", type=int, metavar="N", help="only this call, by its row in 'labkit calls' (from 0)")
    made.add_argument("-o", "--out", type=Path, metavar="FILE", help=".svg, .png, .mmd (Mermaid) or .txt")
    made.add_argument("--message", type=int, metavar="N", help="print the SIP message in packet N whole")
    made.add_argument("--rtcp", action="store_true", help="draw RTCP too")
    made.add_argument("--hide", nargs="+", choices=["rtp", "dtmf", "tls"], default=[], help="leave out these bands")
    made = command(diff)
    made.add_argument("file", type=Path)
    made.add_argument("first", type=int, metavar="N", help="number of a packet")
    made.add_argument("second", type=int, metavar="N", help="number of another")
    made = command(sockets)
    made.add_argument("file", type=Path)
    made.add_argument("host", nargs="?", help="a name or an address")
    made.add_argument("--json", action="store_true")
    for function in (calls, sip_stats):
        made = command(function)
        made.add_argument("file", type=Path)
        made.add_argument("--json", action="store_true")
    made = command(rtp)
    made.add_argument("file", type=Path)
    made.add_argument("--json", action="store_true")
    made.add_argument("--no-foreign", action="store_true", help="leave foreign payload types out (keep-alive packets and the like)")
    made.add_argument("--explain", action="store_true", help="say where an absurd jitter comes from")
    made = command(audio)
    made.add_argument("file", type=Path)
    made.add_argument("--out", type=Path, default=Path("."), metavar="DIR")
    made.add_argument("--call", type=int, metavar="N", help="this call in stereo: left what the caller says, right what the caller hears")
    made.add_argument("--buffer", type=float, metavar="MS", help="leave out what is too late for a jitter buffer of MS milliseconds")
    made.add_argument("--conceal", action="store_true", help="fill losses with the packet before, fading, instead of silence")
    made = command(decrypt)
    made.add_argument("file", type=Path)
    made.add_argument("-o", "--out", type=Path, required=True, metavar="FILE.pcapng")
    made.add_argument("--keys", type=Path, metavar="FILE", help="a TLS key log (SSLKEYLOGFILE)")
    made.add_argument("--rsa-key", type=Path, metavar="FILE", help="the server's private key, for TLS with RSA key exchange")
    made.add_argument("--rsa-password", metavar="WORD", help="of the private key")
    made.add_argument("--json", action="store_true")
    made = command(check)
    made.add_argument("question", metavar="ID")
    made.add_argument("answer")
    made.add_argument("--capture", type=Path, metavar="FILE")
    command(explain).add_argument("what", nargs="+", metavar="WHAT", help="such as 487, REFER, a=sendonly or unknown_ca")
    command(doctor).add_argument("--json", action="store_true")
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command.  Returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a Windows console may lack the arrows of a ladder
    try:
        arguments = parser().parse_args(argv)
        if arguments.language is not None:
            language(arguments.language)
        status: int = arguments.function(arguments)
        sys.stdout.flush()
        return status
    except LabkitError as error:
        sentence = str(error)
    except BrokenPipeError as error:  # labkit ladder FILE | head
        without_reader(error)
        return 0
    except OSError as error:
        sentence = text("cli.system", path=error.filename or "-", reason=error.strerror or str(error))
    except KeyboardInterrupt:
        return 130
    print(f"labkit: {sentence}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
