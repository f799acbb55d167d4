"""How every call runs: authenticate, charge the quota, check the request, work; and no text of ours leaves by accident.

- The quota comes before the check of the request: a caller can not make this node check more than it may have under
  way (I11). A large request is checked on a thread, so that the calls and streams of others go on meanwhile.
- Whatever goes wrong becomes a google.rpc.Status (node.services.errors). What is no DiefError is counted and logged
  with its class and place; the caller is told the class and nothing else, since its text may quote content.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from node.services import errors

Context = grpc.aio.ServicerContext[Any, Any]
Who = TypeVar("Who")
Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer", bound=Message)

INLINE_BYTES = 64 * 1024
"""Up to this size a request is checked on the event loop: it takes less than waking a thread and waiting for it."""


def unbounded(_caller: object) -> AbstractContextManager[None]:
    """The quota of callers of the own State: none."""
    return nullcontext()


async def answer(
    request: Request,
    context: Context,
    authenticate: Callable[[], Who],
    work: Callable[[Request, Who], Awaitable[Answer]],
    quota: Callable[[Who], AbstractContextManager[None]] = unbounded,
) -> Answer:
    """Run a unary call.

    Args:
        request: Hostile until checked.
        context: Of the call; ended with a status where something goes wrong.
        authenticate: Who calls; raises where nobody may.
        work: What the call does.
        quota: Held while the call runs.
    """
    try:
        caller = authenticate()
        with quota(caller):
            await check(request)
            return await work(request, caller)
    except Exception as error:  # noqa: BLE001 - gRPC would show the text of what is not caught here
        await errors.abort(context, errors.told(error, request.DESCRIPTOR.name))


async def check(request: Message) -> None:
    """Check a request against its rules, on a thread if it is large.

    Raises:
        InvalidRequestError: Names the fields.
    """
    if request.ByteSize() <= INLINE_BYTES:
        errors.validate(request)
    else:
        await asyncio.get_running_loop().run_in_executor(None, errors.validate, request)
