"""The page at /chat in a real browser, driven through Chromium's own protocol; and the chat in the terminal."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tenet.serving.engines.echo import EchoEngine
from tests.tenet.serving.conftest import MODEL, echo_server
from tests.tenet.serving.test_load import wait_for

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'


class Page:
    """One tab."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._number = socket, 0
        self.console: list[str] = []

    async def command(self, method: str, **params: Any) -> Any:
        self._number += 1
        await self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            answer = json.loads(await self._socket.recv())
            thrown = answer.get("method") == "Runtime.exceptionThrown"
            if thrown or answer.get("params", {}).get("entry", {}).get("level") in ("error", "warning"):
                self.console.append(json.dumps(answer["params"]))
            if answer.get("id") == self._number:
                return answer.get("result", answer)

    async def run(self, script: str) -> Any:
        """The value of an expression."""
        return (await self.command("Runtime.evaluate", expression=script, returnByValue=True))["result"].get("value")

    async def until(self, script: str) -> None:
        for _ in range(200):
            if await self.run(script):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"never true: {script}; the page says {await self.run('document.body.innerText')}")

    async def send(self, text: str) -> None:
        await self.run(
            f"document.getElementById('text').value = {json.dumps(text)}; document.getElementById('form').requestSubmit()"
        )


def in_browser(url: str, script: Callable[[Page], Awaitable[None]]) -> None:
    """Open a page in headless Chromium and do something there."""
    websockets = pytest.importorskip("websockets.asyncio.client", reason="websockets is not installed")
    with tempfile.TemporaryDirectory() as profile:
        flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--remote-debugging-port=0",
            "--window-size=900,760",
        ]
        flags += ["--disable-background-networking", "--disable-component-update", "--no-first-run", f"--user-data-dir={profile}"]
        browser = subprocess.Popen([str(CHROMIUM), *flags, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = Path(profile) / "DevToolsActivePort"
            assert wait_for(lambda: port.exists() and port.read_text().count("\n") >= 1, 60), "Chromium did not start"
            address = f"http://127.0.0.1:{port.read_text().splitlines()[0]}/json/list"
            with urllib.request.urlopen(address, timeout=30) as answer:
                target = next(one for one in json.load(answer) if one["type"] == "page")

            async def drive() -> None:
                async with websockets.connect(target["webSocketDebuggerUrl"], max_size=None, proxy=None) as socket:
                    page = Page(socket)
                    for domain in ("Page", "Runtime", "Log"):
                        await page.command(f"{domain}.enable")
                    await page.command("Page.navigate", url=url)
                    await page.until("document.readyState === 'complete' && document.getElementById('model')?.textContent !== ''")
                    await script(page)

            asyncio.run(asyncio.wait_for(drive(), 120))
        finally:
            browser.terminate()
            browser.wait(20)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_conversation_in_the_browser() -> None:
    engine = EchoEngine(step_seconds=0.002)
    with echo_server(engine, chat=True) as server:
        backend, server.gateway.runner.backend = server.gateway.runner.backend, None  # as while the weights are read

        async def talk(page: Page) -> None:
            await page.until("document.getElementById('model').textContent.includes('being loaded')")
            assert await page.run("document.getElementById('send').disabled")
            server.gateway.runner.backend = backend
            await page.until("!document.getElementById('send').disabled")
            assert await page.run("document.getElementById('model').textContent") == MODEL
            await page.send("no key yet")
            await page.until("document.querySelector('article.error')?.textContent.includes('API Key')")
            await page.run(f"document.getElementById('key').value = {json.dumps(server.keys.api_key)}")
            await page.run("document.getElementById('clear').click()")
            await page.send("<img src=x onerror=alert(1)> grüße")
            await page.until("document.querySelectorAll('article.assistant footer').length === 1")
            assert (
                await page.run("document.querySelector('article.assistant .text').textContent")
                == "<img src=x onerror=alert(1)> grüße"
            )
            assert (
                await page.run("document.querySelectorAll('article img').length") == 0
            )  # the model's words are text, never markup
            figures = await page.run("document.getElementById('figures').textContent")
            made = len("<img src=x onerror=alert(1)> grüße".encode()) + 1
            assert "tokens in" in figures and f"{made} out" in figures and "tok/s" in figures, figures
            tools = json.dumps([{"name": "weather", "input_schema": {"type": "object"}}])
            await page.run(f"document.getElementById('tools').value = {json.dumps(tools)}")
            await page.send(CALL)
            await page.until("document.querySelectorAll('article.assistant footer').length === 2")
            assert await page.run("document.querySelector('.tool').textContent") == 'weather {"city":"Oslo"}'
            await page.send("4 degrees")  # goes back as the result of that call
            await page.until("document.querySelectorAll('article.assistant footer').length === 3")
            assert await page.run("messages.at(-2).content[0].type") == "tool_result"
            if folder := os.environ.get("TENET_SCREENSHOTS"):
                await page.run("document.getElementById('settings').open = true")
                shot = await page.command("Page.captureScreenshot", format="png")
                Path(folder, "chat.png").write_bytes(base64.b64decode(shot["data"]))
            await page.run("document.getElementById('clear').click()")
            await page.send("z" * 3000)
            await page.until("(document.querySelector('article.assistant .text')?.textContent.length || 0) > 5")
            await page.run("document.getElementById('stop').click()")
            await page.until("document.querySelector('article.assistant footer')?.textContent.startsWith('stopped')")
            assert wait_for(lambda: server.gateway.runner.open == 0 and engine.idle)
            assert len(engine.cancelled) == 1
            # What was provoked is all that the console may show: that refusal, and that the weights were not there yet.
            assert all(any(code in line for code in ("401", "403", "503")) for line in page.console), "\n".join(page.console)

        in_browser(f"{server.endpoint}/chat", talk)


def test_a_conversation_in_the_terminal() -> None:
    with echo_server() as server:
        environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": server.keys.access_key,
            "AWS_SECRET_ACCESS_KEY": server.keys.secret_key,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        command = [sys.executable, "-m", "tenet.cli", "chat", "--endpoint", server.endpoint, "--model-id", MODEL]
        asked = "/system be brief\nhello\n/new\nagain\n/quit\nnever\n"
        done = subprocess.run(command, input=asked, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["hello", "again"] and "6 out" in done.stderr


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, "paste the `export AWS_...` lines"),
        ({"AWS_BEARER_TOKEN_BEDROCK": "k"}, "--tls self-signed"),
        ({"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}, "UnrecognizedClientException"),
    ],
)
def test_a_question_that_is_not_answered_is_an_error_and_says_what_to_do(
    variables: dict[str, str], told: str, tmp_path: Path
) -> None:
    with echo_server() as server:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment = {**kept, "HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true", **variables}
        command = [sys.executable, "-m", "tenet.cli", "chat", "--endpoint", server.endpoint]
        done = subprocess.run(command, input="hello\n", env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1 and told in done.stderr and done.stdout == ""
