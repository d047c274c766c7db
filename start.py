#!/usr/bin/env python3
"""Start labkit.  Standard library only; the first start installs, later ones begin at once.

    python3 start.py [lab] [JupyterLab opt.]  open the notebooks (options such as --no-browser or --port=9000 are passed on)
    python3 start.py demo [PART] [options]    one part of the lab without a notebook; its files go to labkit-demo/
    python3 start.py test [pytest options]    install what the tests need and run them

Everything is installed in .venv beside this file and nowhere else.  This file stays readable for Python 3.8, so that an old
interpreter can still say what is wrong, and it never imports labkit.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "labkit-start.json"
LOG = VENV / "labkit-install.log"
VERSIONS = ((3, 12), (3, 11))  # PJSIP's wheels end at 3.12, labkit's syntax begins at 3.11

# Programs that some tests call, and the Debian package of each.
TOOLS = {
    "baresip": "baresip",
    "chromium": "chromium",
    "linphonec": "linphone-cli",
    "sipp": "sip-tester",
    "sharkd": "wireshark-common",
    "tshark": "tshark",
}

NO_WHEEL = (
    "labkit's phones need PJSIP's wheel, and there is none for {}: use Linux on x86_64 with glibc, Windows on x86_64, "
    "macOS 14 or later on Apple silicon, or macOS 15 or later on Intel."
)
NO_PYTHON = (
    "labkit needs Python 3.11 or 3.12, and found only {}: get one with 'uv python install 3.12' or "
    "'conda create -n py312 python=3.12' and 'conda activate py312', then start again."
)
NO_ENSUREPIP = (
    "{} cannot make a virtual environment because its ensurepip module is missing: "
    "on Debian or Ubuntu install it with 'sudo apt-get install python3-venv', then start again."
)
NO_NETWORK = (
    "labkit could not be installed because the package index cannot be reached: connect to the internet for this first start and try again."
)
NO_INSTALL = "labkit could not be installed: {} (the whole story is in {})."
NO_VERB = "there is nothing called {} to start: it is lab (or nothing), demo or test; options of JupyterLab begin with a dash."
NO_VENV = "labkit could not make its environment in {}: {}."


class Trouble(Exception):
    """One sentence for the user."""


# Which Python


def probe(command: list[str]) -> dict | None:
    """What the interpreter ``command`` is, found out by running it: a pyenv shim may exist and not work.  None if so."""
    code = (
        "import json, sys, importlib.util as u;"
        "print(json.dumps([list(sys.version_info[:2]), sys.executable, bool(u.find_spec('venv') and u.find_spec('ensurepip'))]))"
    )
    try:
        done = subprocess.run([*command, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30, check=True)
        version, executable, can_make = json.loads(done.stdout.decode())
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return {"version": tuple(version), "executable": executable, "venv": can_make}


def candidates() -> list[list[str]]:
    """Commands that may be a Python 3.12 or 3.11, the present interpreter first."""
    found = [[sys.executable]]
    for major, minor in VERSIONS:
        name = "python%d.%d" % (major, minor)  # noqa: UP031
        if os.name == "nt":
            found.append(["py", "-%d.%d" % (major, minor)])  # noqa: UP031
        folders = [*os.environ.get("PATH", "").split(os.pathsep), "/opt/homebrew/bin", "/usr/local/bin", str(Path.home() / ".local/bin")]
        found += [[path] for path in (shutil.which(name, path=folder) for folder in folders if folder) if path]
        for store in (Path(os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))) / "versions", Path.home() / ".local/share/uv/python"):
            found += [[str(path)] for path in sorted(store.glob("*/bin/" + name))]
    return found


def find_python(commands: list[list[str]] | None = None) -> str:
    """The interpreter that will make the environment.  Raises :class:`Trouble` when there is none."""
    incomplete, others = "", []
    for command in commands or candidates():
        found = probe(command)
        if found is None:
            continue
        if found["version"] not in VERSIONS:
            others.append("Python %d.%d" % found["version"])  # noqa: UP031
        elif not found["venv"]:
            incomplete = found["executable"]
        else:
            return found["executable"]
    if incomplete:
        raise Trouble(NO_ENSUREPIP.format(incomplete))
    raise Trouble(NO_PYTHON.format(others[0] if others else "none that runs"))


def missing_wheel(system: str, machine: str, libc: str, macos: str) -> str:
    """The name of the present platform if PJSIP has no wheel for it, else an empty string."""
    machine = machine.lower()
    if system == "Linux":
        if machine != "x86_64":
            return "Linux on " + machine
        return "" if libc == "glibc" else "Linux without glibc (musl)"
    if system == "Darwin":
        version = int(macos.split(".")[0] or 0)
        # An old interpreter calls every macOS since 11 "10.16": then pip is left to decide.
        too_old = version < (14 if machine == "arm64" else 15) and not macos.startswith("10.16")
        return "macOS " + macos + " on " + machine if too_old else ""
    if system == "Windows":
        return "" if machine in ("amd64", "x86_64") else "Windows on " + machine
    return system


# The environment


def venv_python() -> Path:
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def fingerprint(pyproject: bytes, version: tuple) -> str:
    """Changes when an installation must be done again: other requirements, another Python, a moved folder."""
    return hashlib.sha256(b"%s\0%s\0%s" % (pyproject, repr(version[:2]).encode(), str(ROOT).encode())).hexdigest()


def read_stamp() -> dict:
    try:
        return json.loads(STAMP.read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def is_installed(extra: str, stamp: dict, pyproject: bytes) -> bool:
    """Whether the environment holds what is asked, judged by the stamp alone: no pip, no interpreter started."""
    if not venv_python().exists() or stamp.get("fingerprint") != fingerprint(pyproject, tuple(stamp.get("python", ()))):
        return False
    return not extra or extra in stamp.get("extras", [])


def last_error(log: str) -> str:
    """The sentence for a pip that failed, from what it printed."""
    signs = ("name resolution", "NewConnectionError", "Failed to establish", "Max retries exceeded", "ConnectTimeout", "getaddrinfo failed")
    if any(sign in log for sign in signs):
        return NO_NETWORK
    lines = [line.strip().rstrip(".") for line in log.splitlines() if line.strip()] or ["pip gave no reason"]
    errors = [line[len("ERROR: ") :] for line in lines if line.startswith("ERROR: ")]
    return NO_INSTALL.format(errors[0] if errors else lines[-1], LOG)


def install(extra: str) -> None:
    """Make ``.venv`` and install labkit and its requirements there, unless that was done."""
    pyproject, stamp = (ROOT / "pyproject.toml").read_bytes(), read_stamp()
    if is_installed(extra, stamp, pyproject):
        return
    platform_name = missing_wheel(platform.system(), platform.machine(), platform.libc_ver()[0], platform.mac_ver()[0])
    if platform_name:
        raise Trouble(NO_WHEEL.format(platform_name))
    python = venv_python()
    present = probe([str(python)]) if python.exists() else None
    if present is None or present["version"] not in VERSIONS:
        base = find_python()
        say("making an environment in .venv with " + base)
        done = subprocess.run([base, "-m", "venv", "--clear", str(VENV)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        present = probe([str(python)])
        if done.returncode or present is None:
            lines = done.stdout.decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise Trouble(NO_VENV.format(VENV, lines[-1].rstrip(".")))
        stamp = {}
    extras = sorted({*stamp.get("extras", []), extra} - {""})
    target = str(ROOT) + ("[" + ",".join(extras) + "]" if extras else "")
    say("installing labkit and what it needs: a minute or two, only this time")
    run_pip([str(python), "-m", "pip", "install", "--progress-bar=off", "--disable-pip-version-check", "--editable", target])
    STAMP.write_text(
        json.dumps({"fingerprint": fingerprint(pyproject, present["version"]), "python": present["version"], "extras": extras}), "utf-8"
    )


def run_pip(command: list[str]) -> None:
    """Run pip with one dot a package on the terminal and everything else in the log."""
    with LOG.open("w", encoding="utf-8") as log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as pip:
        for line in pip.stdout:
            log.write(line.decode(errors="replace"))
            if line.startswith((b"Collecting", b"Installing")):
                print(".", end="", flush=True)
    print(flush=True)
    if pip.returncode:
        raise Trouble(last_error(LOG.read_text("utf-8")))


def install_tools() -> None:
    """Install the programs that tests call, where that is possible without asking: as root on Debian.  Elsewhere name them."""
    missing = {tool: package for tool, package in TOOLS.items() if not shutil.which(tool)}
    if not missing:
        return
    apt = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing.values()]
    if shutil.which("apt-get") and getattr(os, "geteuid", lambda: 1)() == 0:
        say("installing " + ", ".join(missing.values()))
        quiet = {"stdout": subprocess.DEVNULL, "env": dict(os.environ, DEBIAN_FRONTEND="noninteractive")}
        subprocess.run(["apt-get", "update", "-q"], **quiet)
        if subprocess.run(apt, **quiet).returncode == 0:
            return
    say("without " + ", ".join(missing) + " some tests are skipped; on Debian or Ubuntu: sudo " + " ".join(apt))


# The three things to start


def command_for(arguments: list[str], root: bool) -> tuple[str, list[str]]:
    """The extra to install and the command to run in the environment for the arguments of the user.  :class:`Trouble` for a strange one."""
    python = str(venv_python())
    verb, rest = (arguments[0], arguments[1:]) if arguments and not arguments[0].startswith("-") else ("lab", arguments)
    if verb not in ("lab", "demo", "test"):
        raise Trouble(NO_VERB.format(repr(verb)))
    if verb == "test":
        return "test", [python, "-m", "pytest", *rest]
    if verb == "demo":
        part, options = (rest[0], rest[1:]) if rest and rest[0].isdigit() else ("1", rest)
        out = [] if any(option.split("=")[0] == "--out" for option in options) else ["--out", "labkit-demo"]
        return "", [python, "-m", "labkit.cli", "demo", part, *out, *options]
    # -y: Ctrl-C ends JupyterLab at once, kernels and phones with it. Jupyter refuses to run as root unless told.
    options = ["-y", "--ip=127.0.0.1", *(["--allow-root"] if root else [])]
    return "", [python, "-m", "jupyterlab", *options, *rest, str(ROOT / "notebooks")]


def hand_over(command: list[str]) -> int:
    """Become ``command``.  Windows cannot replace a process, so there this one waits and lets Ctrl-C reach the child only."""
    sys.stdout.flush()
    if os.name != "nt":
        os.execv(command[0], command)
    with subprocess.Popen(command) as child:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                continue


def say(sentence: str) -> None:
    print("labkit: " + sentence, flush=True)


def main(arguments: list[str]) -> int:
    if arguments and arguments[0] in ("-h", "--help", "help"):
        print(__doc__)
        return 0
    try:
        extra, command = command_for(arguments, getattr(os, "geteuid", lambda: 1)() == 0)
        install(extra)
        if extra == "test":
            install_tools()
    except Trouble as trouble:
        print("labkit: " + str(trouble), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nlabkit: stopped; the next start goes on with the installation.", file=sys.stderr)
        return 130
    if extra == "test":
        os.chdir(str(ROOT))
    return hand_over(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
