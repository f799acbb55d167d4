"""Names of alerts, States and identities: what is one, and what only looks like one."""

from __future__ import annotations

import uuid
from typing import Any

from tests.support.alert_parts import alert_name

_UUID = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
"""The example of RFC 9562, appendix A.6."""


def names() -> dict[str, Any]:
    """Valid and refused names."""
    spiffe = [
        ("spiffe://xa.dief/node/main", "XA", "dief", "node", "main"),
        ("spiffe://xb.dief/officer/Desk-3", "XB", "dief", "officer", "Desk-3"),
        ("spiffe://xd.drill-2/registry/licences_1.a", "XD", "drill-2", "registry", "licences_1.a"),
    ]
    alerts = [f"alerts/XA/{_UUID}", alert_name("XB", 1)]
    return {
        "about": "Resource names `alerts/{origin}/{uuid}` with a UUID version 7 (RFC 9562) in lower case, and "
        "SPIFFE IDs in their one accepted form. The trust domain is the key name in checkpoints.",
        "alerts": {
            "valid": [
                {
                    "name": name,
                    "origin": name.split("/")[1],
                    "uuid": name.split("/")[2],
                    "time_ms": uuid.UUID(name.split("/")[2]).int >> 80,
                }
                for name in alerts
            ],
            "refused": [
                {"why": "State in lower case", "name": f"alerts/xa/{_UUID}"},
                {"why": "UUID in upper case", "name": f"alerts/XA/{_UUID.upper()}"},
                {"why": "UUID version 4", "name": "alerts/XA/017f22e2-79b0-4cc3-98c4-dc0c0c07398f"},
                {"why": "variant not of RFC 9562", "name": "alerts/XA/017f22e2-79b0-7cc3-c8c4-dc0c0c07398f"},
                {"why": "no hyphens", "name": f"alerts/XA/{_UUID.replace('-', '')}"},
                {"why": "another collection", "name": f"alert/XA/{_UUID}"},
                {"why": "something behind it", "name": f"alerts/XA/{_UUID}/revisions/1"},
                {"why": "newline at the end", "name": f"alerts/XA/{_UUID}\n"},
            ],
        },
        "spiffe": {
            "valid": [
                {
                    "uri": uri,
                    "state": state,
                    "federation": federation,
                    "kind": kind,
                    "name": name,
                    "trust_domain": f"{state.lower()}.{federation}",
                }
                for uri, state, federation, kind, name in spiffe
            ],
            "refused": [
                {"why": "trust domain in upper case", "uri": "spiffe://XA.dief/node/main"},
                {"why": "no State", "uri": "spiffe://dief/node/main"},
                {"why": "State of three letters", "uri": "spiffe://xaa.dief/node/main"},
                {"why": "unknown kind", "uri": "spiffe://xa.dief/king/main"},
                {"why": "no name", "uri": "spiffe://xa.dief/node"},
                {"why": "longer path", "uri": "spiffe://xa.dief/node/main/more"},
                {"why": "dot segment", "uri": "spiffe://xa.dief/node/.."},
                {"why": "port", "uri": "spiffe://xa.dief:443/node/main"},
                {"why": "user", "uri": "spiffe://root@xa.dief/node/main"},
                {"why": "query", "uri": "spiffe://xa.dief/node/main?x=1"},
                {"why": "percent-encoding", "uri": "spiffe://xa.dief/node/m%61in"},
                {"why": "another scheme", "uri": "https://xa.dief/node/main"},
            ],
        },
    }
