"""Headless Chromium over WebDriver (https://www.w3.org/TR/webdriver2/), without a client library.

Selenium would bring ten packages into the lock for these few calls.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).parents[2]
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element's reference
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
    *(
        "--window-size=1400,1000",
        "--disable-dev-shm-usage",
        "--no-proxy-server",
        "--disable-default-apps",
    ),
)
ENTER = "\ue007"
SECONDS = 20.0  # that a page may take until it shows something


def missing() -> str | None:
    """Return what lacks on this machine for these tests, or None."""
    if chromium() is None or shutil.which("chromedriver") is None:
        return "Chromium and its driver are not installed: apt-get install chromium chromium-driver"
    if not AXE.is_file():
        return "axe-core is not installed: npm ci"
    return None


def chromium() -> str | None:
    """Return the browser's program."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for name in names if (path := shutil.which(name))), None)


class Browser:
    """One window of a browser."""

    def __init__(self, driver: str, profile: str, *, javascript: bool = True) -> None:
        self._http = requests.Session()
        self._http.trust_env = False
        prefs = {} if javascript else {"profile.managed_default_content_settings.javascript": 2}
        chrome = {
            "binary": chromium(),
            "args": [*FLAGS, f"--user-data-dir={profile}"],
            "prefs": prefs,
        }
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": chrome,
            "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"},
        }
        self._url = driver
        answer = self._call("POST", "session", {"capabilities": {"alwaysMatch": wanted}})
        self._url = f"{driver}/session/{answer['sessionId']}"

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self._http.request(method, f"{self._url}/{path}", json=body, timeout=60)
        value = answer.json()["value"]
        if answer.status_code >= 400:
            raise RuntimeError(f"{path}: {value['error']}: {value['message'][:300]}")
        return value

    def close(self) -> None:
        """End the browser."""
        self._call("DELETE", "")
        self._http.close()

    def resize(self, width: int, height: int = 900) -> None:
        """Show the page in a window whose inner width is `width`."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)

    def darken(self, dark: bool) -> None:
        """Show pages as to somebody who prefers dark colours, or light ones."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}  # no colour on its way
        self.devtools("Emulation.setEmulatedMedia", {"features": [scheme, still]})

    def devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        """Execute a command of the DevTools protocol."""
        return self._call("POST", "goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, address: str) -> None:
        """Go to an address."""
        self._call("POST", "url", {"url": address})

    @property
    def address(self) -> str:
        """The address that is shown."""
        return self._call("GET", "url")

    @property
    def title(self) -> str:
        """The page's title."""
        return self._call("GET", "title")

    @property
    def text(self) -> str:
        """What a reader sees of the page."""
        return self._call("GET", f"element/{self.find('body')}/text")

    def find(self, selector: str) -> str:
        """Return the first element that a CSS selector finds."""
        query = {"using": "css selector", "value": selector}
        return self._call("POST", "element", query)[ELEMENT]

    def count(self, selector: str) -> int:
        """Return how many elements a CSS selector finds."""
        return len(self._call("POST", "elements", {"using": "css selector", "value": selector}))

    def link(self, text: str) -> None:
        """Follow the link with this text, once it is there."""
        query = {"using": "link text", "value": text}
        self.until(lambda page: bool(page._call("POST", "elements", query)))
        self._type(self._call("POST", "element", query)[ELEMENT], ENTER)

    def press(self, selector: str) -> None:
        """Press a button, as by the keyboard: every element that acts has to be reached by it."""
        self._type(self.find(selector), ENTER)

    def _type(self, element: str, text: str) -> None:
        self._call("POST", f"element/{element}/value", {"text": text})

    def fill(self, **values: str) -> None:
        """Write into the fields of these names; of a select, choose the option."""
        for name, value in values.items():
            element = self.find(f"[name={name}]")
            if self._call("GET", f"element/{element}/name") == "select":
                option = self.find(f'[name={name}] option[value="{value}"]')
                self._call("POST", f"element/{option}/click", {})
            else:
                self._call("POST", f"element/{element}/clear", {})
                self._type(element, value)

    def until(self, shows: Callable[[Browser], bool], seconds: float = SECONDS) -> None:
        """Wait until the page shows something."""
        until = time.monotonic() + seconds
        while True:
            with contextlib.suppress(RuntimeError):  # the page is just being replaced
                if shows(self):
                    return
            assert time.monotonic() < until, f"{self.address} shows: {self.text[:2000]}"
            time.sleep(0.1)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript in the page, and return the result."""
        return self._call("POST", "execute/sync", {"script": script, "args": list(arguments)})

    def faults(self) -> list[str]:
        """Return what axe finds wrong with the page, of serious impact or worse."""
        self.run(AXE.read_text())
        script = "const done = arguments[0]; axe.run().then(r => done(r.violations));"
        found = self._call("POST", "execute/async", {"script": script, "args": []})
        return [
            f"{each['id']}: {node['html'][:200]}"
            for each in found
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]

    def requests(self) -> set[str]:
        """Return the addresses that pages have loaded since the last call."""
        addresses = set()
        for entry in self._call("POST", "se/log", {"type": "performance"}):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                addresses.add(message["params"]["request"]["url"])
        return addresses

    def complaints(self) -> list[str]:
        """Return what the browser has written to its console since the last call."""
        return [e["message"] for e in self._call("POST", "se/log", {"type": "browser"})]

    def picture(self, path: Path) -> None:
        """Write the whole page as a PNG."""
        beyond = {"captureBeyondViewport": True}
        path.write_bytes(base64.b64decode(self.devtools("Page.captureScreenshot", beyond)["data"]))


@contextlib.contextmanager
def browsers() -> Iterator[Callable[..., Browser]]:
    """Yield a function that opens browsers; all of them end with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    opened: list[Browser] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        driver = subprocess.Popen(
            ["chromedriver", f"--port={port}", "--log-level=OFF"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        url = f"http://127.0.0.1:{port}"

        def make(**options: Any) -> Browser:
            opened.append(Browser(url, f"{folder}/{len(opened)}", **options))
            return opened[-1]

        try:
            _wait_for(url)
            yield make
        finally:
            for browser in opened:
                with contextlib.suppress(Exception):
                    browser.close()
            driver.terminate()
            driver.wait(10)


def _wait_for(url: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        until = time.monotonic() + SECONDS
        while True:
            try:
                if session.get(f"{url}/status", timeout=5).json()["value"]["ready"]:
                    return
            except requests.ConnectionError:
                assert time.monotonic() < until, "chromedriver does not start"
            time.sleep(0.1)
