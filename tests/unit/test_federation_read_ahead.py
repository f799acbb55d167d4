"""Frames are read ahead in their order, a bounded number of them, and an error keeps its place (I11)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from node.federation.read_ahead import DEPTH, ReadAhead


class BrokenStreamError(Exception):
    """What a stream ends with."""


def reading(count: int) -> tuple[Callable[[], Awaitable[int]], list[int]]:
    """A stream of numbers that then breaks, and what was read of it."""
    read: list[int] = []

    async def next_number() -> int:
        await asyncio.sleep(0)
        if len(read) == count:
            raise BrokenStreamError
        read.append(len(read))
        return read[-1]

    return next_number, read


async def settled() -> None:
    """Let every task run until it waits."""
    for _ in range(100):
        await asyncio.sleep(0)


async def test_frames_come_in_order_each_with_what_was_begun_for_it_and_the_error_after_them() -> None:
    read, _ = reading(20)
    frames = ReadAhead(read, lambda frame: frame * 10)
    for number in range(20):
        assert await frames.next() == (number, number * 10)
    with pytest.raises(BrokenStreamError):
        await frames.next()
    await frames.close()


async def test_i11_no_more_frames_wait_than_the_depth_and_the_one_in_hand() -> None:
    read, done = reading(100)
    frames = ReadAhead(read, lambda frame: None)
    await settled()
    assert len(done) == DEPTH + 1
    await frames.next()
    await settled()
    assert len(done) == DEPTH + 2
    await frames.close()


async def test_an_error_of_beginning_ends_the_reading_like_one_of_the_stream() -> None:
    read, done = reading(100)

    def begin(frame: int) -> None:
        if frame == 1:
            raise BrokenStreamError

    frames = ReadAhead(read, begin)
    assert await frames.next() == (0, None)
    with pytest.raises(BrokenStreamError):
        await frames.next()
    assert len(done) == 2
    await frames.close()


async def test_closing_ends_a_read_that_waits() -> None:
    ended = asyncio.Event()

    async def never() -> int:
        try:
            await asyncio.get_running_loop().create_future()
            return 0
        finally:
            ended.set()

    frames = ReadAhead(never, lambda frame: None)
    await settled()
    await frames.close()
    assert ended.is_set()
