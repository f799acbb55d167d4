"""The audit trail: who did what, when, to what, for which stated purpose (I8).

It is apart from the logs, holds references and never content, and is written in the transaction of the act itself,
so that neither exists without the other.
"""

from node.audit.trail import AuditAction, Head, VerifyResult, head, record, verify

__all__ = ["AuditAction", "Head", "VerifyResult", "head", "record", "verify"]
