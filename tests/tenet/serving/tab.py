"""One tab of a headless Chromium, driven through its own protocol; for the tests of the page at /chat."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tenet.serving.test_load import wait_for

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
    "--window-size=900,760",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)


class Tab:
    """What a person does in a browser, and what the browser noticed.

    Attributes:
        console: warnings and errors, as JSON.
        asked: method, address and headers of each request, as JSON.
    """

    def __init__(self, socket: Any) -> None:
        self._socket, self._number = socket, 0
        self.console: list[str] = []
        self.asked: list[str] = []

    async def command(self, method: str, **params: Any) -> Any:
        self._number += 1
        await self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            answer = json.loads(await self._socket.recv())
            thrown = answer.get("method") == "Runtime.exceptionThrown"
            if thrown or answer.get("params", {}).get("entry", {}).get("level") in ("error", "warning"):
                self.console.append(json.dumps(answer["params"]))
            if answer.get("method", "").startswith("Network.requestWillBeSent"):
                self.asked.append(json.dumps(answer["params"]))
            if answer.get("id") == self._number:
                return answer.get("result", answer)

    async def run(self, script: str) -> Any:
        """The value of an expression, awaited."""
        done = await self.command("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    async def until(self, script: str) -> None:
        for _ in range(200):
            if await self.run(script):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"never true: {script}; the page says {await self.run('document.body.innerText')}")

    async def open(self, url: str) -> None:
        """Go there, as a typed address does, and wait until the page knows what the endpoint says of itself."""
        await self.command("Page.navigate", url="about:blank")
        await self.command("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && !!document.getElementById('model')?.textContent")

    async def send(self, text: str) -> None:
        """Type a message and press Enter."""
        await self.run(
            f"document.getElementById('text').value = {json.dumps(text)}; document.getElementById('form').requestSubmit()"
        )

    async def click(self, words: str, within: str = "body") -> None:
        """Press the last button of these words."""
        found = f"[...document.querySelectorAll({json.dumps(within + ' button')})]"
        await self.run(f"{found}.filter((one) => one.textContent === {json.dumps(words)} && one.offsetParent).at(-1).click()")

    async def look(self, width: int, dark: bool) -> None:
        """At this width, in light or dark."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.command("Emulation.setEmulatedMedia", features=features)
        await self.command("Emulation.setDeviceMetricsOverride", width=width, height=820, deviceScaleFactor=1, mobile=width < 600)

    async def picture(self, file: Path) -> None:
        """What is seen, as PNG."""
        shot = await self.command("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(shot["data"]))


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    """A headless Chromium; where its protocol listens."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = Path(profile) / "DevToolsActivePort"
            assert wait_for(lambda: port.exists() and port.read_text().count("\n") >= 1, 60), "Chromium did not start"
            yield f"http://127.0.0.1:{port.read_text().splitlines()[0]}"
        finally:
            process.terminate()
            process.wait(20)


def in_browser(browser: str, url: str, script: Callable[[Tab], Awaitable[None]]) -> None:
    """Open a page in a tab of its own and do something there."""
    websockets = pytest.importorskip("websockets.asyncio.client", reason="websockets is not installed")
    opened = urllib.request.Request(f"{browser}/json/new?about:blank", method="PUT")
    with urllib.request.urlopen(opened, timeout=30) as answer:
        target = json.load(answer)

    async def drive() -> None:
        async with websockets.connect(target["webSocketDebuggerUrl"], max_size=None, proxy=None) as socket:
            tab = Tab(socket)
            for domain in ("Page", "Runtime", "Log", "Network"):
                await tab.command(f"{domain}.enable")
            await tab.open(url)
            await script(tab)
            await tab.command("Page.close")

    asyncio.run(asyncio.wait_for(drive(), 120))
