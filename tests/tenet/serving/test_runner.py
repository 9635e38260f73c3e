"""Between the engine's thread and the event loop: what is there together comes together, nothing piles up, nothing is
lost."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest

from lightning_modules.generation.protocol import Sampling
from tenet.serving.engines import runner as engines
from tenet.serving.engines.echo import ByteText, EchoEngine
from tenet.serving.engines.runner import Backend, Runner

TEXT = "x" * 300


async def batches(runner: Runner, busy: float) -> list[list[int]]:
    """The ids of each batch of an echoed answer, to a loop that is busy for so long after each."""
    text = ByteText()
    prompt = text.prompt([{"role": "user", "content": TEXT}])
    made = []
    async with contextlib.aclosing(runner.tokens(prompt, Sampling(max_tokens=1000, stop_ids=text.stop_ids), 30)) as tokens:
        async for batch in tokens:
            made.append([token.id for token in batch])
            time.sleep(busy)
    return made


@contextlib.contextmanager
def running(engine: EchoEngine) -> Any:
    runner = Runner(lambda: Backend(engine, ByteText()), 8)
    runner.start()
    runner.wait(10)
    try:
        yield runner
    finally:
        runner.close()


def test_tokens_made_while_the_loop_is_busy_come_in_one_batch_and_in_order() -> None:
    with running(EchoEngine()) as runner:
        made = asyncio.run(batches(runner, 0.005))
    assert [i for batch in made for i in batch][:-1] == list(TEXT.encode())
    assert len(made) < 60, "a loop that is behind is woken for each token"


def test_tokens_that_come_alone_are_not_waited_with() -> None:
    with running(EchoEngine(step_seconds=0.003)) as runner:
        made = asyncio.run(asyncio.wait_for(batches(runner, 0), 30))
    assert len(made) > 250, "tokens lay about until more came"


def test_an_engine_waits_for_a_loop_that_is_behind_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_UNREAD_SECONDS", 0.05)
    engine = EchoEngine()

    async def stand_still(runner: Runner) -> tuple[int, int, int]:
        job = asyncio.create_task(batches(runner, 0))
        while not engine.steps:
            await asyncio.sleep(0)
        time.sleep(0.02)
        soon = engine.steps
        time.sleep(0.3)
        later = engine.steps
        return soon, later, sum(map(len, await job))

    with running(engine) as runner:
        soon, later, made = asyncio.run(stand_still(runner))
    # It may have taken one bundle more in the turn that saw the first step.
    assert soon <= 3 * engines._UNREAD and soon < later < made == len(TEXT) + 1
