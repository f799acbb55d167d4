"""Checkpoints: the signed form (I3) and the judgement over two of them (I4)."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.ledger.checkpoint import (
    MAX_TIME_MS,
    Checkpoint,
    Ed25519NoteSigner,
    Ed25519NoteVerifier,
    NoteSigner,
    Verdict,
    checkpoint_text,
    compare,
    open_checkpoint,
    parse_checkpoint,
    sign_checkpoint,
    trust_domain,
)
from node.ledger.errors import (
    CheckpointError,
    CheckpointSignatureError,
    MalformedCheckpointError,
    UnknownCheckpointKeyError,
    WrongLogError,
)
from node.ledger.merkle import EMPTY_ROOT, MAX_SIZE, CompactRange, consistency_proof, leaf_hash
from node.ledger.note import ALG_ED25519, NoteVerifier, key_id, parse_note, sign_note, verify_note

# Key and note of the Go reference implementation, golang.org/x/mod/sumdb/note (BSD-3-Clause).
GO_NAME = "PeterNeumann"
GO_KEY_ID = "c74f20a3"
GO_PUBLIC = base64.b64decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
GO_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")
GO_TEXT = (
    b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
)
GO_NOTE = (
    GO_TEXT
    + (
        "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZ"
        "SNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    ).encode()
)

LOG_ID = bytes(range(32))
ROOT = sha256(b"a root").digest()
TIME_MS = 1_790_000_000_123
# Written by hand from the rules in the module's docstring.
TEXT = (
    b"xa.dief/000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"
    b"20852163\n" + base64.b64encode(ROOT) + b"\n"
    b"time 1790000000123\n"
)
SEED = bytes([7]) * 32
SIGNER = Ed25519NoteSigner("xa.dief", Ed25519PrivateKey.from_private_bytes(SEED))
VERIFIER = Ed25519NoteVerifier("xa.dief", SIGNER.public_key)
NOTE = sign_note(TEXT, [SIGNER])
LINE = NOTE.removeprefix(TEXT + b"\n")


def other_key(name: str, number: int = 9) -> Ed25519NoteSigner:
    return Ed25519NoteSigner(name, Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


def verifier_of(signer: Ed25519NoteSigner) -> Ed25519NoteVerifier:
    return Ed25519NoteVerifier(signer.name, signer.public_key)


def opened(note: bytes, *verifiers: NoteVerifier) -> Checkpoint:
    return open_checkpoint(note, verifiers or [VERIFIER], federation="dief", origin="XA", log_id=LOG_ID)


def line_of(name: str, data: bytes) -> bytes:
    return f"— {name} {base64.b64encode(data).decode()}\n".encode()


# --- signed notes -------------------------------------------------------------------------------------


def test_the_go_reference_note_is_read_and_verified() -> None:
    verifier = Ed25519NoteVerifier(GO_NAME, GO_PUBLIC[1:])
    assert GO_PUBLIC[0] == ALG_ED25519
    assert verifier.key_id.hex() == GO_KEY_ID
    note = parse_note(GO_NOTE)
    assert note.text == GO_TEXT
    verify_note(note, [verifier])


def test_signing_gives_the_go_reference_note_byte_for_byte() -> None:
    signer = Ed25519NoteSigner(GO_NAME, Ed25519PrivateKey.from_private_bytes(GO_SEED[1:]))
    assert sign_note(GO_TEXT, [signer]) == GO_NOTE


def test_the_key_id_follows_the_rule_of_signed_note() -> None:
    public = bytes(range(32))
    assert key_id("xa.dief", 0x01, public) == sha256(b"xa.dief\n\x01" + public).digest()[:4]
    assert key_id("xa.dief", 0x01, public) != key_id("xa.dief", 0x02, public)
    assert key_id("xa.dief", 0x01, public) != key_id("xb.dief", 0x01, public)
    assert SIGNER.key_id == VERIFIER.key_id == key_id("xa.dief", ALG_ED25519, SIGNER.public_key)


@pytest.mark.parametrize("name", ["", "xa dief", "xa+dief", "xa\u00a0dief", "xa\ndief", "xa\u2003dief"])
def test_a_key_name_that_cannot_stand_in_a_note_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="key name"):
        Ed25519NoteVerifier(name, SIGNER.public_key)
    with pytest.raises(ValueError, match="key name"):
        other_key(name)


def test_the_text_of_a_note_ends_at_the_last_empty_line() -> None:
    note = sign_note(b"first\n\nsecond\n", [SIGNER])
    assert parse_note(note).text == b"first\n\nsecond\n"


# --- form ---------------------------------------------------------------------------------------------


def test_the_signed_text_is_the_one_written_by_hand() -> None:
    assert (
        checkpoint_text(
            federation="dief", origin="XA", log_id=LOG_ID, size=20_852_163, root=ROOT, time_ms=TIME_MS
        )
        == TEXT
    )


def test_a_signed_checkpoint_opens_to_what_was_signed() -> None:
    signed = sign_checkpoint(
        SIGNER, federation="dief", origin="XA", log_id=LOG_ID, size=20_852_163, root=ROOT, time_ms=TIME_MS
    )
    assert signed.note == NOTE
    assert opened(NOTE) == signed
    assert signed == Checkpoint("XA", "dief", LOG_ID, 20_852_163, ROOT, TIME_MS, NOTE)


def test_the_note_is_the_text_an_empty_line_and_one_signature_line() -> None:
    signature = Ed25519PrivateKey.from_private_bytes(SEED).sign(TEXT)
    assert NOTE == TEXT + b"\n" + line_of("xa.dief", SIGNER.key_id + signature)


@pytest.mark.parametrize(
    ("size", "root", "time_ms"),
    [
        pytest.param(0, EMPTY_ROOT, 0, id="smallest"),
        pytest.param(MAX_SIZE, ROOT, MAX_TIME_MS, id="largest"),
    ],
)
def test_the_limits_themselves_are_accepted(size: int, root: bytes, time_ms: int) -> None:
    signed = sign_checkpoint(
        SIGNER, federation="dief", origin="XA", log_id=LOG_ID, size=size, root=root, time_ms=time_ms
    )
    assert opened(signed.note) == signed


@pytest.mark.parametrize("federation", ["dief", "test", "dief-2", "lab.dief", "7"])
def test_federation_names_become_part_of_origin_and_key_name(federation: str) -> None:
    signer = other_key(f"xb.{federation}")
    signed = sign_checkpoint(
        signer, federation=federation, origin="XB", log_id=LOG_ID, size=1, root=ROOT, time_ms=1
    )
    claim = parse_checkpoint(signed.note)
    assert (claim.origin, claim.federation) == ("XB", federation)
    assert trust_domain(federation, "XB") == signer.name


@pytest.mark.parametrize(
    "wrong",
    [
        {"log_id": LOG_ID[:31]},
        {"root": ROOT + b"\0"},
        {"size": -1},
        {"size": MAX_SIZE + 1},
        {"size": 0},
        {"time_ms": -1},
        {"time_ms": MAX_TIME_MS + 1},
        {"origin": "xa"},
        {"origin": "XAB"},
        {"origin": "X\n"},
        {"federation": ""},
        {"federation": "Dief"},
        {"federation": "dief\n"},
        {"federation": "dief."},
        {"federation": "di/ef"},
        {"origin": "XB"},
        {"federation": "test"},
    ],
    ids=str,
)
def test_nothing_is_signed_that_could_not_be_opened(wrong: dict[str, object]) -> None:
    values: dict[str, object] = {
        "federation": "dief",
        "origin": "XA",
        "log_id": LOG_ID,
        "size": 5,
        "root": ROOT,
        "time_ms": TIME_MS,
    }
    with pytest.raises(ValueError, match=r"."):
        sign_checkpoint(SIGNER, **{**values, **wrong})  # type: ignore[arg-type]


def edited(old: bytes, new: bytes) -> bytes:
    """The text with one edit, signed again by the right key: authentic, but of wrong form."""
    assert TEXT.count(old) == 1
    return sign_note(TEXT.replace(old, new), [SIGNER])


SIZE_LINE = b"\n20852163\n"
ROOT_LINE = base64.b64encode(ROOT)
DEFECTS = {
    "nothing": b"",
    "text_without_signatures": TEXT,
    "text_and_empty_line_only": TEXT + b"\n",
    "no_empty_line": TEXT + LINE,
    "not_utf8": NOTE.replace(b"time", b"t\xffme"),
    "control_character": edited(b"time ", b"time\t"),
    "nul_character": NOTE.replace(b"xa.dief/", b"xa.dief\0/"),
    "carriage_returns": NOTE.replace(b"\n", b"\r\n"),
    "byte_order_mark": b"\xef\xbb\xbf" + NOTE,
    "leading_empty_line": b"\n" + NOTE,
    "trailing_byte": NOTE + b"x",
    "trailing_empty_line": NOTE + b"\n",
    "trailing_second_note": NOTE + NOTE,
    "last_newline_missing": NOTE[:-1],
    "empty_line_between_signatures": TEXT + b"\n" + LINE + b"\n" + LINE,
    "over_64_kib": TEXT + b"\n" + LINE + line_of("w", bytes(64 * 1024)),
    "seventeen_signatures": TEXT + b"\n" + LINE * 17,
    "hyphen_instead_of_em_dash": NOTE.replace("— ".encode(), b"- "),
    "em_dash_without_space": NOTE.replace("— ".encode(), "—".encode()),
    "signature_without_name": NOTE.replace(b" xa.dief ", b"  "),
    "signature_name_with_plus": NOTE.replace(b" xa.dief ", b" xa+dief "),
    "signature_name_with_wide_space": NOTE.replace(b" xa.dief ", " xa\u2003dief ".encode()),
    "signature_without_value": TEXT + "\n— xa.dief\n".encode(),
    "signature_with_empty_value": TEXT + "\n— xa.dief \n".encode(),
    "signature_of_key_id_only": TEXT + b"\n" + line_of("xa.dief", SIGNER.key_id),
    "signature_base64_unpadded": TEXT + b"\n" + LINE.replace(b"=", b""),
    "signature_base64_url_alphabet": TEXT + b"\n" + line_of("w", b"\xff" * 9).replace(b"/", b"_"),
    "signature_base64_followed_by_text": NOTE[:-1] + b" x\n",
    "signature_base64_with_stray_bits": TEXT + b"\n" + "— w AAAAAAAAAAAB\n— w AAAAAAB=\n".encode(),
    "signature_base64_not_ascii": TEXT + "\n— w AAAAAAAAé\n".encode(),
    "line_missing": edited(b"time 1790000000123\n", b""),
    "line_too_many": edited(b"time 1790000000123\n", b"time 1790000000123\nmore\n"),
    "empty_line_in_text": edited(SIZE_LINE, b"\n" + SIZE_LINE),
    "origin_empty": edited(b"xa.dief/" + LOG_ID.hex().encode(), b" "),
    "origin_upper_case_state": edited(b"xa.dief", b"XA.dief"),
    "origin_upper_case_federation": edited(b"xa.dief", b"xa.Dief"),
    "origin_without_federation": edited(b"xa.dief", b"xa"),
    "origin_three_letter_state": edited(b"xa.dief", b"xaa.dief"),
    "origin_state_digits": edited(b"xa.dief", b"x1.dief"),
    "origin_without_log": edited(b"/" + LOG_ID.hex().encode(), b""),
    "origin_upper_case_hex": edited(LOG_ID.hex().encode(), LOG_ID.hex().upper().encode()),
    "origin_short_log_id": edited(LOG_ID.hex().encode(), LOG_ID[1:].hex().encode()),
    "origin_long_log_id": edited(LOG_ID.hex().encode(), (LOG_ID + b"\0").hex().encode()),
    "origin_trailing_space": edited(SIZE_LINE, b" " + SIZE_LINE),
    "size_leading_zero": edited(SIZE_LINE, b"\n020852163\n"),
    "size_plus_sign": edited(SIZE_LINE, b"\n+20852163\n"),
    "size_negative": edited(SIZE_LINE, b"\n-1\n"),
    "size_with_space": edited(SIZE_LINE, b"\n 20852163\n"),
    "size_with_underscore": edited(SIZE_LINE, b"\n20_852_163\n"),
    "size_in_hex": edited(SIZE_LINE, b"\n0x13\n"),
    "size_arabic_digits": edited(SIZE_LINE, "\n٢٠\n".encode()),
    "size_above_63_bits": edited(SIZE_LINE, b"\n9223372036854775808\n"),
    "size_of_10000_digits": edited(SIZE_LINE, b"\n" + b"9" * 10_000 + b"\n"),
    "size_zero_with_a_root": edited(SIZE_LINE, b"\n0\n"),
    "root_short": edited(ROOT_LINE, base64.b64encode(ROOT[:31])),
    "root_long": edited(ROOT_LINE, base64.b64encode(ROOT + b"\0")),
    "root_unpadded": edited(ROOT_LINE, ROOT_LINE.rstrip(b"=")),
    "root_in_hex": edited(ROOT_LINE, ROOT.hex().encode()),
    "root_with_stray_bits": edited(ROOT_LINE, base64.b64encode(bytes(32)).replace(b"A=", b"B=")),
    "root_trailing_space": edited(ROOT_LINE, ROOT_LINE + b" "),
    "time_without_key": edited(b"time ", b""),
    "time_other_key": edited(b"time ", b"Time "),
    "time_two_spaces": edited(b"time ", b"time  "),
    "time_leading_zero": edited(b"time ", b"time 0"),
    "time_negative": edited(b"time ", b"time -"),
    "time_fraction": edited(b"1790000000123", b"1790000000.123"),
    "time_after_the_year_9999": edited(b"1790000000123", b"253402300800000"),
    "time_trailing_space": edited(b"1790000000123", b"1790000000123 "),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_malformed_checkpoint_is_refused_even_if_rightly_signed(defect: str) -> None:
    with pytest.raises(MalformedCheckpointError) as caught:
        opened(DEFECTS[defect])
    assert caught.value.reason == "CHECKPOINT_MALFORMED"


def test_sixteen_signatures_are_accepted() -> None:
    witnesses = b"".join(line_of("witness.example/w", bytes([number]) * 68) for number in range(15))
    assert opened(TEXT + b"\n" + witnesses + LINE).size == 20_852_163


# --- signatures ---------------------------------------------------------------------------------------


def test_signatures_of_unknown_keys_are_ignored() -> None:
    same_name, same_id = other_key("xa.dief"), line_of("xz.dief", SIGNER.key_id + bytes(64))
    note = sign_note(TEXT, [same_name, SIGNER, other_key("witness.example/w")]) + same_id
    assert opened(note).root == ROOT


def test_a_checkpoint_that_only_unknown_keys_signed_is_refused() -> None:
    with pytest.raises(UnknownCheckpointKeyError) as caught:
        opened(sign_note(TEXT, [other_key("xa.dief")]))
    assert caught.value.reason == "CHECKPOINT_KEY_UNKNOWN"


def test_a_checkpoint_is_refused_where_no_key_is_known() -> None:
    with pytest.raises(UnknownCheckpointKeyError):
        open_checkpoint(NOTE, [], federation="dief", origin="XA", log_id=LOG_ID)


@pytest.mark.parametrize(
    "signature", [bytes(64), b"\1", SIGNER.sign(b"another text\n")], ids=["zero", "short", "other-text"]
)
def test_a_wrong_signature_of_a_known_key_spoils_the_note(signature: bytes) -> None:
    wrong = line_of("xa.dief", SIGNER.key_id + signature)
    for note in (TEXT + b"\n" + wrong, NOTE + wrong, TEXT + b"\n" + wrong + LINE):
        with pytest.raises(CheckpointSignatureError) as caught:
            opened(note)
        assert caught.value.reason == "CHECKPOINT_SIGNATURE_INVALID"


def test_one_wrong_signature_spoils_the_note_though_another_known_key_is_right() -> None:
    new = other_key("xa.dief")
    note = NOTE + line_of("xa.dief", new.key_id + bytes(64))
    with pytest.raises(CheckpointSignatureError):
        opened(note, VERIFIER, verifier_of(new))


def test_old_and_new_key_may_sign_together_and_either_is_enough() -> None:
    new = other_key("xa.dief")
    note = sign_note(TEXT, [SIGNER, new])
    for known in ([VERIFIER], [verifier_of(new)], [verifier_of(new), VERIFIER]):
        assert opened(note, *known).size == 20_852_163


def test_every_flipped_bit_of_the_signed_text_is_refused() -> None:
    for position in range(len(TEXT)):
        changed = bytearray(NOTE)
        changed[position] ^= 1
        with pytest.raises(CheckpointError):
            opened(bytes(changed))


def test_the_key_of_another_state_never_speaks_for_this_one() -> None:
    """I3, I9: XB signs a checkpoint of XA's log; even a caller that knows XB's key refuses it."""
    foreign = other_key("xb.dief")
    with pytest.raises(UnknownCheckpointKeyError):
        opened(sign_note(TEXT, [foreign]), VERIFIER, verifier_of(foreign))


def test_two_known_keys_with_one_id_are_both_tried() -> None:
    class SameIdVerifier:
        name, key_id = VERIFIER.name, VERIFIER.key_id

        def verify(self, data: bytes, signature: bytes) -> bool:
            return False

    assert opened(NOTE, SameIdVerifier(), VERIFIER).root == ROOT


def test_another_algorithm_fits_through_the_same_seam() -> None:
    @dataclass(frozen=True)
    class KeyedHash:
        """A signature type of its own (0xff), to show that nothing depends on Ed25519."""

        name: str
        key: bytes

        @property
        def key_id(self) -> bytes:
            return key_id(self.name, 0xFF, self.key)

        def sign(self, data: bytes) -> bytes:
            return sha256(self.key + data).digest()

        def verify(self, data: bytes, signature: bytes) -> bool:
            return signature == self.sign(data)

    key = KeyedHash("xa.dief", b"key")
    signer: NoteSigner = key
    signed = sign_checkpoint(
        signer, federation="dief", origin="XA", log_id=LOG_ID, size=1, root=ROOT, time_ms=1
    )
    assert opened(signed.note, key) == signed
    with pytest.raises(CheckpointSignatureError):
        opened(signed.note.replace(b"time 1\n", b"time 2\n"), key)


@pytest.mark.parametrize(
    "asked",
    [
        {"federation": "test", "origin": "XA", "log_id": LOG_ID},
        {"federation": "dief", "origin": "XB", "log_id": LOG_ID},
        {"federation": "dief", "origin": "XA", "log_id": bytes(32)},
    ],
    ids=["federation", "origin", "log"],
)
def test_a_checkpoint_of_another_log_is_refused(asked: dict[str, str | bytes]) -> None:
    with pytest.raises(WrongLogError) as caught:
        open_checkpoint(NOTE, [VERIFIER], **asked)  # type: ignore[arg-type]
    assert caught.value.reason == "CHECKPOINT_WRONG_LOG"


def test_errors_never_repeat_what_was_received() -> None:
    for note in DEFECTS.values():
        with pytest.raises(CheckpointError) as caught:
            opened(note)
        assert "xa" not in str(caught.value)
        assert LOG_ID.hex() not in str(caught.value)


# --- judgement (I4) -----------------------------------------------------------------------------------

HONEST = [leaf_hash(b"entry %d" % number) for number in range(12)]
FORKED = [*HONEST[:3], leaf_hash(b"another entry"), *HONEST[4:]]


def head(leaves: list[bytes], size: int, time_ms: int) -> Checkpoint:
    tree = CompactRange()
    tree.extend(leaves[:size])
    signed = sign_checkpoint(
        SIGNER, federation="dief", origin="XA", log_id=LOG_ID, size=size, root=tree.root(), time_ms=time_ms
    )
    return opened(signed.note)


def proof_of(leaves: list[bytes], m: int, n: int) -> list[bytes]:
    def get_subtree(level: int, index: int) -> bytes:
        tree = CompactRange()
        tree.extend(leaves[index << level : (index + 1) << level])
        return tree.root()

    return consistency_proof(m, n, get_subtree)


def both_ways(
    first: Checkpoint,
    second: Checkpoint,
    proof: list[bytes] | None = None,
    proof_root: bytes | None = None,
) -> Verdict:
    verdict = compare(first, second, proof, proof_root)
    assert compare(second, first, proof, proof_root) is verdict
    return verdict


def test_i4_the_same_tree_signed_again_is_consistent() -> None:
    assert both_ways(head(HONEST, 5, 1), head(HONEST, 5, 1)) is Verdict.CONSISTENT
    assert both_ways(head(HONEST, 5, 1), head(HONEST, 5, 3_600_001)) is Verdict.CONSISTENT


@pytest.mark.parametrize("time_ms", [1, 2])
def test_i4_equal_size_and_different_roots_is_evidence_of_a_split(time_ms: int) -> None:
    assert both_ways(head(HONEST, 5, 1), head(FORKED, 5, time_ms)) is Verdict.EVIDENCE_SPLIT


def test_i4_a_later_time_with_a_smaller_size_is_evidence_of_shrinking() -> None:
    proof = proof_of(HONEST, 5, 9)
    assert both_ways(head(HONEST, 9, 1), head(HONEST, 5, 2)) is Verdict.EVIDENCE_SHRINK
    assert both_ways(head(HONEST, 9, 1), head(HONEST, 5, 2), proof) is Verdict.EVIDENCE_SHRINK
    assert both_ways(head(HONEST, 9, 1), head(HONEST, 0, 2)) is Verdict.EVIDENCE_SHRINK


def test_i4_two_sizes_signed_in_the_same_millisecond_are_no_evidence() -> None:
    proof = proof_of(HONEST, 5, 9)
    assert both_ways(head(HONEST, 5, 1), head(HONEST, 9, 1), proof) is Verdict.CONSISTENT
    assert both_ways(head(HONEST, 5, 1), head(HONEST, 9, 1)) is Verdict.UNPROVEN


@pytest.mark.parametrize("m", range(12))
def test_i4_growth_with_a_valid_proof_is_consistent(m: int) -> None:
    assert both_ways(head(HONEST, m, 1), head(HONEST, 12, 2), proof_of(HONEST, m, 12)) is Verdict.CONSISTENT


def test_i4_every_log_extends_the_empty_one() -> None:
    assert both_ways(head(HONEST, 0, 1), head(HONEST, 12, 2)) is Verdict.CONSISTENT


@pytest.mark.parametrize("m", range(4, 12))
def test_i4_a_proof_from_another_root_is_evidence_of_a_rewrite(m: int) -> None:
    signed, later = head(HONEST, m, 1), head(FORKED, 12, 2)
    proof, other = proof_of(FORKED, m, 12), head(FORKED, m, 1).root
    assert both_ways(signed, later, proof, other) is Verdict.EVIDENCE_REWRITE
    assert both_ways(signed, later, proof) is Verdict.UNPROVEN
    assert both_ways(signed, later, None, other) is Verdict.UNPROVEN


def test_i4_a_common_beginning_is_consistent_with_both_branches() -> None:
    assert both_ways(head(HONEST, 3, 1), head(FORKED, 12, 2), proof_of(FORKED, 3, 12)) is Verdict.CONSISTENT


def test_i4_a_broken_proof_is_never_called_evidence() -> None:
    """I4: without a valid proof it is stop, alarm, refetch; an innocent origin is not accused."""
    small, large = head(HONEST, 6, 1), head(HONEST, 12, 2)
    proof = proof_of(HONEST, 6, 12)
    for broken in (proof[1:], proof[:-1], [*proof, ROOT], [b"short", *proof[1:]], [], [ROOT] * 80):
        assert both_ways(small, large, broken) is Verdict.UNPROVEN
        assert both_ways(small, large, broken, ROOT) is Verdict.UNPROVEN
        assert both_ways(small, large, broken, b"short") is Verdict.UNPROVEN


def test_i4_a_valid_proof_stays_consistent_whatever_other_root_is_claimed() -> None:
    small, large = head(HONEST, 6, 1), head(HONEST, 12, 2)
    assert both_ways(small, large, proof_of(HONEST, 6, 12), ROOT) is Verdict.CONSISTENT


@pytest.mark.parametrize("change", [{"log_id": bytes(32)}, {"origin": "XB"}, {"federation": "test"}], ids=str)
def test_checkpoints_of_different_logs_are_not_judged(change: dict[str, str | bytes]) -> None:
    one = head(HONEST, 5, 1)
    with pytest.raises(WrongLogError):
        compare(one, replace(one, **change))  # type: ignore[arg-type]
