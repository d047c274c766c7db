"""A JupyterLab of the test's own, and a browser to use it as a person would."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Debian's Chromium, as root, without asking anything of the internet.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
]
SETTINGS = {
    # "full" windowing takes cells that are off the screen out of the page.
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none", "autoStartDefaultKernel": True},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def jupyterlab(notebooks: Path, home: Path) -> Iterator[tuple[str, str]]:
    """A server on ``notebooks`` with all its files in ``home``: its address and its token."""
    for plugin, values in SETTINGS.items():
        file = home / "settings" / f"{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values), "utf-8")
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")
    environment = {**os.environ, **{name: str(home / name.lower()) for name in folders}, "JUPYTERLAB_SETTINGS_DIR": str(home / "settings")}
    port, token = free_port(), secrets.token_hex(8)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    command += [f"--IdentityProvider.token={token}", "--allow-root", str(notebooks)]
    base = f"http://127.0.0.1:{port}"
    with (home / "server.log").open("wb") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as server:
        try:
            await_server(f"{base}/api/status?token={token}", server, home / "server.log")
            yield base, token
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


def await_server(url: str, server: subprocess.Popen[bytes], log: Path, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            assert server.poll() is None and time.monotonic() < end, log.read_text("utf-8")
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(0.2)  # a server that ends is noticed at once


@contextlib.contextmanager
def page_of(chromium: str, folder: Path) -> Iterator[Any]:
    """A page in a fresh headless browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(folder), executable_path=chromium, headless=True, args=FLAGS, viewport={"width": 1300, "height": 1000}
        )
        try:
            yield context.pages[0] if context.pages else context.new_page()
        finally:
            context.close()


def run_all(page: Any, base: str, token: str, notebook: str) -> None:
    """Open a notebook, wait for its kernel, and choose Run, Run All Cells."""
    page.goto(f"{base}/doc/tree/{notebook}?reset&token={token}")
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
    page.add_locator_handler(page.locator(".jp-Dialog button.jp-mod-accept"), lambda button: button.first.click())
    # "Run All" before the kernel is idle would open a dialog.
    page.locator("#jp-main-statusbar, .jp-StatusBar-Widget").get_by_text("| Idle").first.wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).first.click()
    page.locator(".lm-Menu-itemLabel", has_text="Run All Cells").first.click()
