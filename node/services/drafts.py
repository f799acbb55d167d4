"""The draft half of DeskService: one transaction a call, on the release desk.

Reading a draft is reading an alert's content: it is recorded like that (I8).
"""

from __future__ import annotations

from dief.v1 import desk_pb2, draft_pb2
from sqlalchemy import Connection

from node import audit
from node.identity.spiffe import SpiffeId
from node.release import ReleaseDesk, reading, rows
from node.store.engine import Store


async def create(
    store: Store, desk: ReleaseDesk, request: desk_pb2.CreateDraftRequest, caller: SpiffeId
) -> draft_pb2.Draft:
    """Make a draft by hand; a rule may release it at once."""

    def work(conn: Connection) -> draft_pb2.Draft:
        return reading.show(conn, desk.releaser, desk.create(conn, caller, request.input, request.request_id))

    return await store.run_write(work)


async def get(
    store: Store, desk: ReleaseDesk, request: desk_pb2.GetDraftRequest, caller: SpiffeId
) -> draft_pb2.Draft:
    """One draft as it would leave."""

    def work(conn: Connection) -> draft_pb2.Draft:
        draft = reading.show(conn, desk.releaser, rows.find(conn, request.name))
        audit.record(
            conn,
            actor=str(caller),
            action=audit.AuditAction.READ,
            subject=draft.name,
            detail={"etag": draft.etag, "alert": draft.alert.name},
        )
        return draft

    return await store.run_write(work)


async def list_(
    store: Store, desk: ReleaseDesk, request: desk_pb2.ListDraftsRequest, caller: SpiffeId
) -> desk_pb2.ListDraftsResponse:
    """A page of drafts, newest first."""

    def work(conn: Connection) -> desk_pb2.ListDraftsResponse:
        drafts, token = reading.show_page(
            conn, desk.releaser, list(request.states), request.page_size, request.page_token
        )
        audit.record(
            conn,
            actor=str(caller),
            action=audit.AuditAction.LISTED,
            detail={
                "count": len(drafts),
                "first": drafts[0].name if drafts else "",
                "last": drafts[-1].name if drafts else "",
            },
        )
        return desk_pb2.ListDraftsResponse(drafts=drafts, next_page_token=token)

    return await store.run_write(work)


async def approve(
    store: Store, desk: ReleaseDesk, request: desk_pb2.ApproveDraftRequest, caller: SpiffeId
) -> draft_pb2.Draft:
    """Approve a draft; it is released where no further person is asked for."""

    def work(conn: Connection) -> draft_pb2.Draft:
        decided = desk.approve(
            conn,
            request.name,
            request.etag,
            caller,
            legal_basis=request.legal_basis,
            exclude=request.exclude_states,
        )
        return reading.show(conn, desk.releaser, decided)

    return await store.run_write(work)


async def refuse(
    store: Store, desk: ReleaseDesk, request: desk_pb2.RefuseDraftRequest, caller: SpiffeId
) -> draft_pb2.Draft:
    """Refuse a draft; it never leaves."""

    def work(conn: Connection) -> draft_pb2.Draft:
        return reading.show(
            conn, desk.releaser, desk.refuse(conn, request.name, request.etag, caller, request.reason)
        )

    return await store.run_write(work)
