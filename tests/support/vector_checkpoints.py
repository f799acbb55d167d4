"""Checkpoints that must be believed, notes that must not, and pairs that prove something about their origin."""

from __future__ import annotations

from typing import Any

from node.ledger.checkpoint import Checkpoint, checkpoint_text, compare, sign_checkpoint
from node.ledger.merkle import leaf_hash
from node.ledger.note import ALG_ED25519, Ed25519NoteSigner, encode_base64, sign_note
from tests.support.vector_log import FEDERATION, ORIGIN, Tree, WorkedLog, fixed, hexes, signer


def checkpoint_vectors(log: WorkedLog) -> dict[str, Any]:
    """Notes that must be believed, notes that must not, and pairs to be judged."""
    own, other, stranger = signer(), signer("next log key of XA"), signer("unknown log key")
    foreign = signer("log key of XB", f"xb.{FEDERATION}")
    good = log.checkpoint(7)
    text = checkpoint_text(
        federation=FEDERATION,
        origin=ORIGIN,
        log_id=log.log_id,
        size=7,
        root=good.root,
        time_ms=good.time_ms,
    )

    def edited(old: str, new: str) -> bytes:
        return sign_note(text.decode().replace(old, new, 1).encode(), [own])

    hex_id, root = log.log_id.hex(), encode_base64(good.root)
    wrong = bytearray(own.sign(text))
    wrong[0] ^= 1
    wrong_line = f"— {own.name} {encode_base64(own.key_id + bytes(wrong))}\n".encode()
    malformed: dict[str, bytes] = {
        "log id in upper case": edited(hex_id, hex_id.upper()),
        "State in upper case": edited("xa.dief", "XA.dief"),
        "size with a leading zero": edited("\n7\n", "\n07\n"),
        "size beyond 2^63-1": edited("\n7\n", "\n9223372036854775808\n"),
        "root of 31 bytes": edited(root, encode_base64(good.root[:31])),
        "root in base64 that is not canonical": edited(root, root[:-2] + chr(ord(root[-2]) + 1) + "="),
        "no time line": edited(f"time {good.time_ms}\n", ""),
        "time not in milliseconds": edited(f"time {good.time_ms}", "time 2026-11-01T12:00:09Z"),
        "a fifth line": sign_note(text + b"more\n", [own]),
        "carriage returns": good.note.replace(b"\n", b"\r\n"),
        "no signature": text + b"\n",
        "no newline at the end": good.note[:-1],
        "something behind it": good.note + b"\n",
        "empty": b"",
    }
    refused: list[dict[str, Any]] = [
        *(
            {"name": name, "refusal": "CHECKPOINT_MALFORMED", "note": note}
            for name, note in malformed.items()
        ),
        {
            "name": "another log",
            "refusal": "CHECKPOINT_WRONG_LOG",
            "note": edited(hex_id, fixed("another log").hex()),
        },
        {
            "name": "another federation",
            "refusal": "CHECKPOINT_WRONG_LOG",
            "note": edited("xa.dief", "xa.drill"),
        },
        {
            "name": "signature with a flipped bit",
            "refusal": "CHECKPOINT_SIGNATURE_INVALID",
            "note": text + b"\n" + wrong_line,
        },
        {
            "name": "signed text changed afterwards",
            "refusal": "CHECKPOINT_SIGNATURE_INVALID",
            "note": good.note.replace(b"\n7\n", b"\n8\n", 1),
        },
        {
            "name": "a good signature beside a bad one of another known key",
            "refusal": "CHECKPOINT_SIGNATURE_INVALID",
            "note": sign_note(text, [other]) + wrong_line,
        },
        {
            "name": "a key that the roster does not list",
            "refusal": "CHECKPOINT_KEY_UNKNOWN",
            "note": sign_note(text, [stranger]),
        },
        {
            "name": "a listed key of another State",
            "refusal": "CHECKPOINT_KEY_UNKNOWN",
            "note": sign_note(text, [foreign]),
        },
    ]
    valid = {
        "one signature": good.note,
        "two known keys, while keys rotate": sign_note(text, [own, other]),
        "a line of an unknown key beside a known one": sign_note(text, [stranger, own]),
    }
    return {
        "about": "C2SP tlog-checkpoint in a C2SP signed note. Signed are the UTF-8 bytes of `text`, four lines with "
        "their newlines. key_id = SHA-256(name || 0x0a || 0x01 || public key)[:4]; a signature line holds "
        "base64(key_id || Ed25519 signature). `keys` are what the roster lists.",
        "log_id": hex_id,
        "federation": FEDERATION,
        "origin": ORIGIN,
        "keys": [
            {
                "name": key.name,
                "seed": fixed(label).hex(),
                "public_key": key.public_key.hex(),
                "key_id": key.key_id.hex(),
                "vkey": _vkey(key),
            }
            for key, label in (
                (own, "log key of XA"),
                (other, "next log key of XA"),
                (foreign, "log key of XB"),
            )
        ],
        "text": text.decode(),
        "size": 7,
        "root": good.root.hex(),
        "time_ms": good.time_ms,
        "valid": [{"name": name, "note": note.decode()} for name, note in valid.items()],
        "refused": [one | {"note": one["note"].decode()} for one in refused],
        "judged": _judged(log),
    }


def _vkey(key: Ed25519NoteSigner) -> str:
    """A key as transparency tooling takes it (C2SP signed-note)."""
    return f"{key.name}+{key.key_id.hex()}+{encode_base64(bytes((ALG_ED25519,)) + key.public_key)}"


def _judged(log: WorkedLog) -> list[dict[str, Any]]:
    """Pairs of signed checkpoints, and what they prove (I4)."""
    other = Tree([leaf_hash(f"another history {index}".encode()) for index in range(7)])

    def lie(size: int, time_ms: int) -> Checkpoint:
        return sign_checkpoint(
            signer(),
            federation=FEDERATION,
            origin=ORIGIN,
            log_id=log.log_id,
            size=size,
            root=other.root(size),
            time_ms=time_ms,
        )

    three, seven = log.checkpoint(3), log.checkpoint(7)
    lied, proof = lie(3, three.time_ms), log.tree.consistency(3, 7)
    pairs: list[tuple[str, Checkpoint, Checkpoint, list[bytes] | None, bytes | None]] = [
        ("grown, and proven", three, seven, proof, None),
        ("signed again an hour later", seven, log.checkpoint(7, seven.time_ms + 3_600_000), None, None),
        ("grown, without a proof", three, seven, None, None),
        ("equal size, different roots", seven, lie(7, seven.time_ms), None, None),
        ("smaller at a later time", seven, log.checkpoint(3, seven.time_ms + 1), None, None),
        ("the larger tree extends another root than the one signed", lied, seven, proof, three.root),
    ]
    return [
        {
            "name": name,
            "first": first.note.decode(),
            "second": second.note.decode(),
            "proof": None if proof is None else hexes(proof),
            "proof_root": None if proof_root is None else proof_root.hex(),
            "verdict": compare(first, second, proof, proof_root).name,
        }
        for name, first, second, proof, proof_root in pairs
    ]
