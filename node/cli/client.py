"""How commands reach the own node: gRPC over mTLS to its national listener, as the role that the command needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from node.ops.errors import DiefError
from node.ops.settings import Settings, load

if TYPE_CHECKING:
    import grpc

CONNECT_SECONDS = 10
CALL_SECONDS = 60


class NodeCallError(DiefError):
    """The node refused a call, or could not be reached."""

    default_reason: ClassVar[str] = "UNAVAILABLE"


class NoClientError(DiefError):
    """The settings name no certificate for the role that a command needs."""

    default_reason: ClassVar[str] = "ROLE"


def config_path(given: Path | None) -> Path:
    """The settings file: the option, then DIEF_CONFIG, then ./dief.toml."""
    return given or Path(os.environ.get("DIEF_CONFIG", "dief.toml"))


def settings(given: Path | None) -> Settings:
    """Settings of the node that a command is about."""
    return load(config_path(given))


@contextmanager
def connect(config: Path | None, role: str) -> Iterator[grpc.Channel]:
    """A channel to the own node's national listener with the certificate of a role.

    Args:
        config: Settings file, or None for the default.
        role: "operator", "officer", "approver", "delegate" or "registry".

    Raises:
        NoClientError: `[clients.<role>]` is not set.
    """
    import grpc

    current = settings(config)
    client = current.clients.get(role)
    if client is None:
        raise NoClientError(
            f"This command needs the role {role}, and the settings have no [clients.{role}].",
            f"Add certificate and key of kind {role} there; `dief pki --help` shows how they are made.",
        )
    credentials = grpc.ssl_channel_credentials(
        root_certificates=current.path(current.national.client_ca).read_bytes(),
        private_key=current.path(client.key).read_bytes(),
        certificate_chain=current.path(client.certificate).read_bytes(),
    )
    host, _, port = current.national.listen.rpartition(":")
    target = f"{'127.0.0.1' if host in ('0.0.0.0', '[::]', '') else host}:{port}"  # noqa: S104
    options = [("grpc.max_receive_message_length", 16 << 20)]
    with grpc.secure_channel(target, credentials, options=options) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=CONNECT_SECONDS)
        except grpc.FutureTimeoutError:
            raise NodeCallError(
                f"The node does not answer on {target} within {CONNECT_SECONDS} s.",
                "Start it with `dief serve`, and check `[national] listen` and the certificates' dates.",
            ) from None
        yield channel


def as_dief_error(error: Exception) -> DiefError | None:
    """A gRPC error of the node as a diagnosis with a mend; None where it is something else."""
    import grpc
    from google.rpc import error_details_pb2
    from grpc_status import rpc_status

    if not isinstance(error, grpc.RpcError):
        return None
    call = cast("grpc.Call", error)
    status = rpc_status.from_call(call)
    diagnosis = call.details() or call.code().name
    mend = "See the node's log for what it refused and why."
    reason = call.code().name
    for detail in () if status is None else status.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason = info.reason
            mend = info.metadata.get("mend", mend)
        elif detail.Unpack(bad):
            mend = "\n       ".join(f"{each.field}: {each.description}" for each in bad.field_violations)
    return NodeCallError(diagnosis, mend, reason=reason)
