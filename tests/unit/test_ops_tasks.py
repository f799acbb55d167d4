"""Tasks that are ended have ended, and nothing in the node loses a cancellation (I9, I12)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import node
from node.ops.tasks import end


async def deaf(times: int) -> str:
    """Lose some cancellations, as code that is not ours may."""
    for _ in range(times):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue
    return "over"


async def fails() -> None:
    raise OSError


def test_a_task_that_loses_a_cancellation_is_cancelled_again_until_it_has_ended() -> None:
    async def scene() -> tuple[bool, bool]:
        tasks = asyncio.create_task(deaf(2)), asyncio.create_task(asyncio.Event().wait())
        await asyncio.sleep(0)
        await end(*tasks)
        return tasks[0].done(), tasks[1].cancelled()

    assert asyncio.run(scene()) == (True, True)


def test_whatever_tasks_end_with_is_no_error_of_the_one_who_ends_them() -> None:
    async def scene() -> bool:
        task = asyncio.create_task(fails())
        await asyncio.sleep(0)
        await end(task)
        await end()
        return task.done()

    assert asyncio.run(scene())


def test_no_time_limit_of_the_node_can_swallow_a_cancellation() -> None:
    """Python 3.11's `wait_for` did: a denied peer's stream went on, a follower hung after a change of trust."""
    folder = Path(node.__file__).parent
    users = [path for path in folder.rglob("*.py") if "asyncio.wait_for(" in path.read_text(encoding="utf-8")]
    assert users == []
