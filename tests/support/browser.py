"""Headless Chromium, driven by Selenium."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
from selenium import webdriver
from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from mlsys.cloud.loopback import without_proxies

ROOT = Path(__file__).parents[2]
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = (
    *("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "no-first-run"),
    *("disable-sync", "disable-background-networking", "disable-component-update"),
    *("disable-default-apps", "no-proxy-server", "hide-scrollbars", "window-size=1400,1000"),
)
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


LACKS = None if os.environ.get("REQUIRE_BROWSER") else missing()
MARKS = (pytest.mark.browser, pytest.mark.skipif(LACKS is not None, reason=LACKS or ""))


class Guarded(Service):
    """The driver under `mlsys.local.guard`: it and its browsers end with this process."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        # A path is given, so Selenium's own manager looks for none. A signal to the tests' process
        # group does not reach the guard's session.
        super().__init__(sys.executable, popen_kw={"start_new_session": True})

    def command_line_args(self) -> list[str]:
        """Return the arguments of Python."""
        driver = shutil.which("chromedriver")
        assert driver is not None
        guard = ["-m", "mlsys.local.guard", "--remove", self._folder, "--", driver]
        return [*guard, *super().command_line_args()]

    def send_remote_shutdown_command(self) -> None:
        """Leave it to the guard, which ends the driver's process group."""


class Browser(webdriver.Chrome):
    """One window of a browser."""

    def __init__(self, folder: str, *, javascript: bool = True) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium() or ""
        for flag in (*FLAGS, f"user-data-dir={folder}"):
            options.add_argument(f"--{flag}")
        if not javascript:
            prefs = {"profile.managed_default_content_settings.javascript": 2}
            options.add_experimental_option("prefs", prefs)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        with mock.patch.dict(os.environ, without_proxies(os.environ)):
            super().__init__(options, Guarded(folder))
        self.set_script_timeout(60)

    def show(self, width: int, *, dark: bool) -> None:
        """Show the page in a window of this inner width, in dark colours or light ones."""
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}  # no colour on its way
        self.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, still]})

    @property
    def text(self) -> str:
        """What a reader sees of the page."""
        return self.find_element(By.TAG_NAME, "body").text

    def texts(self, selector: str) -> list[str]:
        """Return the texts of the elements that a CSS selector finds."""
        return [each.text for each in self.find_elements(By.CSS_SELECTOR, selector)]

    def link(self, text: str) -> None:
        """Follow the link with this text, once it is there."""
        self._press(By.LINK_TEXT, text)

    def press(self, selector: str) -> None:
        """Press a button, once it is there."""
        self._press(By.CSS_SELECTOR, selector)

    def _press(self, by: str, value: str) -> None:
        """Press as by the keyboard: every element that acts has to be reached by it."""
        self.until(lambda page: bool(page.find_elements(by, value)))
        self.find_element(by, value).send_keys(Keys.ENTER)

    def fill(self, **values: str) -> None:
        """Write into the fields of these names; of a select, choose the option."""
        for name, value in values.items():
            element = self.find_element(By.NAME, name)
            if element.tag_name == "select":
                Select(element).select_by_value(value)
            else:
                element.clear()
                element.send_keys(value)

    def until(self, shows: Callable[[Browser], bool], seconds: float = SECONDS) -> None:
        """Wait until the page shows something; it may be replaced meanwhile."""
        try:
            WebDriverWait(self, seconds, 0.1, [WebDriverException]).until(lambda _: shows(self))
        except TimeoutException:
            raise AssertionError(f"{self.current_url} shows: {self.text[:2000]}") from None

    def faults(self) -> list[str]:
        """Return what axe finds wrong with the page, of serious impact or worse."""
        if not self.execute_script("return 'axe' in window"):
            self.execute_script(AXE.read_text())
        violations = self.execute_async_script(
            "const done = arguments[0];"
            "axe.run({resultTypes: ['violations']}).then(found => done(found.violations));"
        )
        return [
            f"{each['id']}: {node['html'][:200]}"
            for each in violations
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]

    def requested(self) -> set[str]:
        """Return the addresses that pages have loaded since the last call."""
        messages = [json.loads(each["message"])["message"] for each in self.get_log("performance")]
        return {
            each["params"]["request"]["url"]
            for each in messages
            if each["method"] == "Network.requestWillBeSent"
        }

    def picture(self, path: Path) -> None:
        """Write the whole page as a PNG."""
        shot = self.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        path.write_bytes(base64.b64decode(shot["data"]))


@contextlib.contextmanager
def browser(*, javascript: bool = True) -> Iterator[Browser]:
    """Yield a browser with a profile of its own, and leave neither behind."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        window = Browser(folder, javascript=javascript)
        try:
            yield window
        finally:
            window.quit()
