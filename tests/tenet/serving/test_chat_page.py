"""The page at /chat in a real browser: a conversation, the link that carries the key, what is kept, how it looks.

TENET_SCREENSHOTS=FOLDER keeps pictures of it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tenet.serving.clients import chat_page
from tenet.serving.clients.client import client
from tenet.serving.engines.echo import EchoEngine
from tenet.serving.server.server import LocalServer
from tenet.settings.serving import ServeConfig
from tests.tenet.report.browser import FAINT
from tests.tenet.serving.conftest import MODEL, echo_server
from tests.tenet.serving.tab import Tab, browser, in_browser
from tests.tenet.serving.test_load import wait_for

__all__ = ["browser"]  # a fixture
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
TOOLS = json.dumps([{"name": "weather", "input_schema": {"type": "object"}}])
#: SHA-256 of lib/marked.esm.js of marked 18.2.1 on npm.
MARKED = "5371fea86fd0656b4fc7bea7c94c663109d82789b69433eeee78d42895aa44de"
MARKDOWN = """# Heading

Some *words*, **bold**, `code`, ~~gone~~ and [a link](https://example.com/a?b=1).

1. first
   - inner &amp; more
2. second

| name | number |
|---|---:|
| a | 1 |
| a long name that needs room | 2,000,000 |

```python
def add(a: int, b: int) -> int:
    return a + b  # <b>no markup</b>, and a line that is longer than any phone is wide, so that it must scroll
```

> quoted

<img src=x onerror=alert(1)> [bad](javascript:alert(1)) [near](/readyz) ![seen](https://example.com/pixel.png)
"""
#: A page must not be wider than its window, nor anything that does not scroll by itself.
TOO_WIDE = """[...document.querySelectorAll('body *')].filter((e) => e.offsetParent && !e.closest('pre, .scroll, #list')
  && e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.tagName + ' ' + e.textContent.slice(0, 40))"""

SHOWN = "document.getElementById('new').checkVisibility({visibilityProperty: true})"


def link(server: LocalServer) -> str:
    return chat_page.link(server.endpoint, server.keys.api_key)


async def answered(tab: Tab, count: int) -> None:
    await tab.until(f"document.querySelectorAll('article.assistant footer').length === {count}")


async def picture(tab: Tab, name: str) -> None:
    if folder := os.environ.get("TENET_SCREENSHOTS"):
        await tab.picture(Path(folder, f"{name}.png"))


def test_a_conversation_in_the_browser(browser: str) -> None:
    engine = EchoEngine(step_seconds=0.002)
    with echo_server(engine, chat=True) as server:
        backend, server.gateway.runner.backend = server.gateway.runner.backend, None  # as while the weights are read

        async def talk(tab: Tab) -> None:
            await tab.until("document.getElementById('model').textContent.includes('being loaded')")
            assert await tab.run("document.getElementById('send').disabled")
            server.gateway.runner.backend = backend
            await tab.until("!document.getElementById('send').disabled")
            assert await tab.run("document.getElementById('model').textContent") == MODEL
            await tab.send("no key yet")
            await tab.until("document.querySelector('article.error')?.textContent.includes('API Key')")
            await tab.run(f"document.getElementById('key').value = {json.dumps(server.keys.api_key)}")
            await tab.click("Retry", "article.error")
            await answered(tab, 1)
            await tab.click("New conversation")
            await tab.send("<img src=x onerror=alert(1)> grüße")
            await answered(tab, 1)
            said = "document.querySelector('article.assistant .text').textContent"
            assert await tab.run(said) == "<img src=x onerror=alert(1)> grüße"
            figures = await tab.run("document.querySelector('article.assistant footer').textContent")
            made = len("<img src=x onerror=alert(1)> grüße".encode()) + 1
            assert "tokens in" in figures and f"{made} out" in figures and "tok/s" in figures, figures
            assert f"{made} out" in await tab.run("document.getElementById('figures').textContent")
            await tab.run(f"document.getElementById('tools').value = {json.dumps(TOOLS)}")
            await tab.send(CALL)
            await answered(tab, 2)
            assert await tab.run("document.querySelector('.call h2').textContent") == "weather"
            assert json.loads(await tab.run("document.querySelector('.call pre').textContent")) == {"city": "Oslo"}
            await picture(tab, "chat-call")
            await tab.run("document.querySelector('.call textarea').value = '4 degrees'")
            await tab.send("")  # what stands in the card goes back as the result of that call
            await answered(tab, 3)
            assert await tab.run("document.querySelector('.call .result').textContent") == "4 degrees"
            await picture(tab, "chat-result")
            await tab.click("New conversation")
            await tab.send("z" * 3000)
            await tab.until("(document.querySelector('article.growing .text')?.textContent.length || 0) > 5")
            await tab.click("Stop")
            await tab.until("document.querySelector('article.assistant footer')?.textContent.startsWith('stopped')")
            assert wait_for(lambda: server.gateway.runner.open == 0 and engine.idle)
            assert len(engine.cancelled) == 1
            # What was provoked is all that the console may show: that refusal, and that the weights were not there yet.
            assert all(any(code in line for code in ("401", "403", "503")) for line in tab.console), "\n".join(tab.console)

        in_browser(browser, f"{server.endpoint}/chat", talk)


def test_the_link_lets_in_and_keeps_its_key_to_itself(browser: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tenet.serving")
    with echo_server(chat=True) as server:
        key = server.keys.api_key

        async def talk(tab: Tab) -> None:
            assert await tab.run("location.href") == f"{server.endpoint}/chat"
            entries = (await tab.command("Page.getNavigationHistory"))["entries"]
            assert not any(key in entry["url"] for entry in entries)
            await tab.until("!document.getElementById('send').disabled")
            assert not await tab.run("document.getElementById('settings').open")
            await tab.send("one click")
            await answered(tab, 1)
            await tab.run(f"location.hash = {json.dumps('#key=another')}")  # the link of a new key, in the same tab
            await tab.until("document.getElementById('key').value === 'another' && !location.hash")
            for line in tab.asked:
                request = json.loads(line).get("request", {})
                assert key not in request.get("url", "") and not request.get("headers", {}).get("Referer")
            kept = await tab.run(
                "new Promise((then) => { indexedDB.open('tenet-chat').onsuccess = (event) => { "
                "event.target.result.transaction('conversations').objectStore('conversations').getAll().onsuccess = "
                "(found) => then(JSON.stringify(found.target.result)); }; })"
            )
            assert "one click" in kept and key not in kept and key not in await tab.run("JSON.stringify({...localStorage})")

        in_browser(browser, link(server), talk)
        assert any("messages" in record.getMessage() for record in caplog.records) and key not in caplog.text


def test_conversations_are_kept_and_can_be_changed_and_deleted(browser: str) -> None:
    with echo_server(chat=True) as server:

        async def talk(tab: Tab) -> None:
            await tab.until("!document.getElementById('send').disabled")
            await tab.run("document.getElementById('system').value = 'be brief'")
            for count, text in enumerate(("first words", "second words"), 1):
                await tab.send(text)
                await answered(tab, count)
            await tab.click("Retry", "article.assistant")
            await answered(tab, 2)
            await tab.run("document.querySelector('article.user .actions button').click()")
            await tab.run("document.querySelector('article.user textarea').value = 'other words'")
            await tab.click("Send", "article.user")
            await answered(tab, 1)
            assert await tab.run("document.querySelector('article.assistant .text').textContent") == "other words"
            await tab.open(f"{server.endpoint}/chat")
            await tab.until("document.querySelector('#list .name')?.textContent === 'other words'")
            assert await tab.run("document.querySelectorAll('article').length") == 0
            await tab.click("other words")
            await answered(tab, 1)
            assert await tab.run("document.getElementById('system').value") == "be brief"
            await tab.send("more")  # the key lasts as long as the tab
            await answered(tab, 2)
            await tab.click("New conversation")
            await tab.send("another one")
            await answered(tab, 1)
            await tab.until("document.querySelectorAll('#list > div').length === 2")
            await tab.run("document.querySelectorAll('#list > div')[1].querySelectorAll('button')[1].click()")
            assert await tab.run("document.querySelectorAll('#list > div').length") == 2  # it asks back
            await tab.run("document.querySelectorAll('#list > div')[1].querySelectorAll('button')[1].click()")
            await tab.until("document.querySelectorAll('#list > div').length === 1")
            await tab.click("Delete all")
            await tab.click("Delete all of them?")
            await tab.until("document.querySelectorAll('#list > div, article').length === 0")
            assert not tab.console, tab.console

        in_browser(browser, link(server), talk)


def test_markdown_is_shown_and_never_markup(browser: str) -> None:
    with echo_server(chat=True) as server:

        async def talk(tab: Tab) -> None:
            await tab.until("!document.getElementById('send').disabled")
            await tab.run("document.getElementById('max').value = 20000")
            await tab.send(MARKDOWN)
            await answered(tab, 1)
            text = "document.querySelector('article.assistant .text')"
            for tag, words in (("h2", "Heading"), ("em", "words"), ("strong", "bold"), ("p code", "code"), ("del", "gone")):
                assert await tab.run(f"{text}.querySelector({json.dumps(tag)}).textContent") == words
            assert await tab.run(f"{text}.querySelector('ol ul li').textContent") == "inner & more"
            assert await tab.run(f"{text}.querySelectorAll('tbody tr').length") == 2
            assert "# <b>no markup</b>" in await tab.run(f"{text}.querySelector('pre code').textContent")
            assert await tab.run(f"{text}.querySelector('figcaption').firstChild.textContent") == "python"
            links = await tab.run(f"[...{text}.querySelectorAll('a')].map((one) => [one.href, one.rel])")
            wanted = ["https://example.com/a?b=1", "https://example.com/pixel.png"]
            assert [href for href, _ in links] == wanted and all("noreferrer" in rel for _, rel in links)
            shown = await tab.run(f"{text}.textContent")
            assert (
                "<img src=x onerror=alert(1)>" in shown and "[bad](javascript:alert(1))" in shown and "[near](/readyz)" in shown
            )
            assert await tab.run("document.querySelectorAll('main img, main script').length") == 0
            for width in (390, 1280):
                for dark in (False, True):
                    await tab.look(width, dark)
                    assert await tab.run(TOO_WIDE) == [] and await tab.run(FAINT) == []
                    assert await tab.run("document.documentElement.scrollWidth") <= width
                    await picture(tab, f"chat-{width}-{'dark' if dark else 'light'}")
            assert await tab.run("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
            await tab.look(390, False)
            await tab.until(f"!{SHOWN}")
            await tab.click("☰")
            await tab.until(SHOWN)
            await tab.run("new Promise((then) => setTimeout(then, 200))")
            await picture(tab, "chat-390-list")
            await tab.run("document.querySelector('main').click()")
            await tab.send(">" * 3000)  # nested beyond reason
            await answered(tab, 2)
            asked = [json.loads(line)["request"]["url"] for line in tab.asked if '"request"' in line]
            assert all(url.startswith(server.endpoint) for url in asked if url != "about:blank") and not tab.console, tab.console

        in_browser(browser, link(server), talk)


def test_a_model_is_picked_where_several_are_served(browser: str, tmp_path: Path) -> None:
    (tmp_path / "imports/other").mkdir(parents=True)
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / "imports/other" / name).write_text("{}")
    with LocalServer(tmp_path, ServeConfig(engine="echo", chat=True, imports=str(tmp_path / "imports"))) as server:
        bedrock = client(server.endpoint, server.keys, "bedrock")

        async def talk(tab: Tab) -> None:
            await tab.until("!document.getElementById('send').disabled")
            assert await tab.run("document.getElementById('models').hidden")
            source = {"s3DataSource": {"s3Uri": "s3://local/other"}}
            role = "arn:aws:iam::000000000000:role/any"
            asked: dict[str, Any] = {"jobName": "j", "importedModelName": "other", "roleArn": role, "modelDataSource": source}
            job = bedrock.create_model_import_job(**asked)["jobArn"]
            assert wait_for(lambda: bedrock.get_model_import_job(jobIdentifier=job)["status"] == "Completed")
            await tab.open(link(server))
            await tab.until("!document.getElementById('models').hidden")
            assert await tab.run("[...document.getElementById('models').options].map((one) => one.value)") == [MODEL, "other"]
            await tab.run("document.getElementById('models').value = 'other'")
            await tab.send("to the other one")
            await answered(tab, 1)
            sent = [json.loads(line)["request"]["postData"] for line in tab.asked if "to the other one" in line]
            assert [json.loads(body)["model"] for body in sent] == ["other"]

        in_browser(browser, link(server), talk)


def test_the_files_load_nothing_from_elsewhere() -> None:
    assert all(f"'{member}'" in chat_page.POLICY for member in ("self", "script", "none")) and "unsafe" not in chat_page.POLICY
    for path, (name, _) in chat_page.FILES.items():
        text = chat_page.content(path).decode()
        if name.startswith("marked."):
            continue
        text = text.replace("http://www.w3.org/2000/svg", "")
        found = re.search(r"https?://|innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|<script>| on\w+=|style=", text)
        assert not found, (name, found)
    assert hashlib.sha256(chat_page.content("/marked.esm.js")).hexdigest() == MARKED, "as its makers publish it"
    assert b"Permission is hereby granted" in chat_page.content("/marked.license.txt")
