"""A headless Chromium for tests, spoken to over its pipe: what a page logs, what it asks for, how wide it becomes.

The DevTools protocol is JSON objects that end with a zero byte, so no client library is needed.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str | None:
    """The browser of this machine, if it has one."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


@dataclass
class Visit:
    """What one page did."""

    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    width: int = 0
    text: str = ""
    clipped: list[str] = field(default_factory=list)
    faint: list[str] = field(default_factory=list)
    png: bytes = b""


class Browser:
    """One process for many pages: `with Browser() as browser: browser.visit(path, width=390, dark=True)`."""

    def __enter__(self) -> Browser:
        self.profile = tempfile.mkdtemp(prefix="chromium-")
        theirs_in, self.ours_out = os.pipe()
        self.ours_in, theirs_out = os.pipe()

        # Chromium reads commands from descriptor 3 and answers on 4.
        shell = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--no-first-run",
        ]
        flags += ["--disable-background-networking", f"--user-data-dir={self.profile}", "--remote-debugging-pipe", "about:blank"]
        self.process = subprocess.Popen(
            ["bash", "-c", shell, str(chromium()), *flags], pass_fds=(theirs_in, theirs_out), stderr=subprocess.DEVNULL
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.buffer, self.count, self.events = b"", 0, []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable", session=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)
        os.close(self.ours_out)
        os.close(self.ours_in)
        shutil.rmtree(self.profile, ignore_errors=True)

    def visit(self, page: Path, width: int = 1280, dark: bool = False, picture: bool = False) -> Visit:
        """Open a page from disk and look at it."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._call("Emulation.setEmulatedMedia", session=True, features=scheme)
        self._call(
            "Emulation.setDeviceMetricsOverride", session=True, width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        self.events.clear()
        self._call("Page.navigate", session=True, url=page.resolve().as_uri())
        self._wait_for("Page.loadEventFired")
        seen = Visit(width=self._value("document.documentElement.scrollWidth"), text=self._value("document.body.innerText"))
        seen.clipped, seen.faint = self._value(CLIPPED), self._value(FAINT)
        if picture:
            shot = self._call("Page.captureScreenshot", session=True, captureBeyondViewport=True)
            seen.png = base64.b64decode(shot["data"])
        for event in self.events:
            seen.complaints += _complaint(event)
            if event["method"] == "Network.requestWillBeSent":
                seen.asked.append(event["params"]["request"]["url"])
        return seen

    def _value(self, expression: str) -> Any:
        return self._call("Runtime.evaluate", session=True, expression=expression, returnByValue=True)["result"]["value"]

    def _call(self, method: str, session: bool = False, **parameters: Any) -> dict[str, Any]:
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters, **({"sessionId": self.session} if session else {})}
        os.write(self.ours_out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self.count:
                assert "error" not in answer, (method, answer["error"])
                return dict(answer["result"])
            self.events.append(answer)

    def _wait_for(self, method: str) -> None:
        while not any(event["method"] == method for event in self.events):
            self.events.append(self._read())

    def _read(self, seconds: float = 60) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while b"\0" not in self.buffer:
            if not select.select([self.ours_in], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError(f"chromium said nothing for {seconds:.0f} s")
            piece = os.read(self.ours_in, 1 << 20)
            if not piece:
                raise EOFError("chromium ended")
            self.buffer += piece
        message, self.buffer = self.buffer.split(b"\0", 1)
        return dict(json.loads(message))


def _complaint(event: dict[str, Any]) -> list[str]:
    given = event.get("params", {})
    if event["method"] == "Log.entryAdded" and given["entry"]["level"] in ("error", "warning"):
        return [given["entry"]["text"]]
    if event["method"] == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning", "assert"):
        return [json.dumps(given["args"])]
    if event["method"] == "Runtime.exceptionThrown":
        return [given["exceptionDetails"]["text"]]
    return []


#: Text that runs out of its own box where nothing scrolls: tables scroll in a box of theirs, everything else must fit.
CLIPPED = """[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, svg') && e.clientWidth > 0
  && (e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== 'auto' || e.getBoundingClientRect().right > innerWidth + 1))
  .map(e => e.tagName + ' ' + e.textContent.slice(0, 60))
  .concat([...document.querySelectorAll('svg text')].filter(e => {
     const box = e.parentNode.querySelector('rect'), own = e.getBoundingClientRect();
     return box && own.width > 0 && own.right > box.getBoundingClientRect().right + 1; }).map(e => 'svg ' + e.textContent))"""

#: Text whose contrast with what lies behind it is below 4.5 to 1 (WCAG 2, level AA).
FAINT = """(() => {
  const parse = c => (c.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = c => { const [r, g, b] = c.slice(0, 3).map(v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * r + .7152 * g + .0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; }
    return [255, 255, 255]; };
  const found = [];
  for (const e of document.querySelectorAll('main *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || e.closest('svg') || !e.getClientRects().length) continue;
    const a = light(parse(getComputedStyle(e).color)), b = light(behind(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) found.push(ratio.toFixed(1) + ' ' + e.tagName + ' ' + e.textContent.slice(0, 40));
  }
  return found;
})()"""
