// What protos/README.md says is hashed and signed, written from that text alone: no code of dief-node is used here.
'use strict';

const crypto = require('node:crypto');

/** Something that must not be believed. */
class Refusal extends Error {
  constructor(reason, message) {
    super(message);
    this.name = 'Refusal';
    this.reason = reason;
  }
}

/** Two signatures of one origin that can not both be true. */
class Evidence extends Refusal {}

const sha256 = (...parts) => {
  const hash = crypto.createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};
const EMPTY_ROOT = sha256();
const MAX_SIZE = 2n ** 63n - 1n;

const leafHash = (header) => sha256(Buffer.of(0), header);
const nodeHash = (left, right) => sha256(Buffer.of(1), left, right);
const bodyDigest = (salt, body) => sha256(salt, body);

/** Roots of the perfect subtrees of a growing tree, the largest first. */
class CompactRange {
  constructor(size = 0n, hashes = []) {
    this.size = size;
    this.hashes = [...hashes];
  }

  copy() {
    return new CompactRange(this.size, this.hashes);
  }

  append(leaf) {
    let node = leaf;
    for (let size = this.size; size & 1n; size >>= 1n) node = nodeHash(this.hashes.pop(), node);
    this.hashes.push(node);
    this.size += 1n;
  }

  root() {
    if (this.size === 0n) return EMPTY_ROOT;
    return this.hashes.reduceRight((right, left) => nodeHash(left, right));
  }
}

const proofError = (message) => new Refusal('PROOF_INVALID', message);

const needHashes = (...hashes) => {
  if (hashes.some((hash) => hash.length !== 32)) throw proofError('a hash is not 32 bytes');
};

/** RFC 9162 section 2.1.3.2. */
function verifyInclusion(leaf, index, size, proof, root) {
  if (index < 0n || index >= size || size > MAX_SIZE) throw proofError('no such leaf');
  needHashes(leaf, root, ...proof);
  let [fn, sn, result] = [index, size - 1n, leaf];
  for (const sibling of proof) {
    if (sn === 0n) throw proofError('too long');
    if (fn & 1n || fn === sn) {
      result = nodeHash(sibling, result);
      while (!(fn & 1n) && fn !== 0n) [fn, sn] = [fn >> 1n, sn >> 1n];
    } else {
      result = nodeHash(result, sibling);
    }
    [fn, sn] = [fn >> 1n, sn >> 1n];
  }
  if (sn !== 0n) throw proofError('too short');
  if (!result.equals(root)) throw proofError('another root');
}

/** RFC 9162 section 2.1.4.2. */
function verifyConsistency(m, rootM, n, rootN, proof) {
  if (m < 0n || m > n || n > MAX_SIZE) throw proofError('impossible sizes');
  needHashes(rootM, rootN, ...proof);
  if (m === 0n || m === n) {
    if (proof.length) throw proofError('too long');
    if (!rootM.equals(m === 0n ? EMPTY_ROOT : rootN)) throw proofError('roots differ');
    if (n === 0n && !rootN.equals(EMPTY_ROOT)) throw proofError('roots differ');
    return;
  }
  const path = (m & (m - 1n)) === 0n ? [rootM, ...proof] : [...proof];
  if (!proof.length) throw proofError('too short');
  let [fn, sn] = [m - 1n, n - 1n];
  while (fn & 1n) [fn, sn] = [fn >> 1n, sn >> 1n];
  let [earlier, later] = [path[0], path[0]];
  for (const sibling of path.slice(1)) {
    if (sn === 0n) throw proofError('too long');
    if (fn & 1n || fn === sn) {
      earlier = nodeHash(sibling, earlier);
      later = nodeHash(sibling, later);
      while (!(fn & 1n) && fn !== 0n) [fn, sn] = [fn >> 1n, sn >> 1n];
    } else {
      later = nodeHash(later, sibling);
    }
    [fn, sn] = [fn >> 1n, sn >> 1n];
  }
  if (sn !== 0n) throw proofError('too short');
  if (!earlier.equals(rootM) || !later.equals(rootN)) throw proofError('another root');
}

/** Whether an Ed25519 signature (RFC 8032) by a raw public key holds. */
function ed25519Verifies(publicKey, data, signature) {
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: publicKey.toString('base64url') };
  try {
    return crypto.verify(null, data, crypto.createPublicKey({ key: jwk, format: 'jwk' }), signature);
  } catch {
    return false;
  }
}

/** Key id of a signed note: SHA-256(name || LF || 0x01 || public key), first 4 bytes. */
const noteKeyId = (name, publicKey) => sha256(name, '\n', Buffer.of(1), publicKey).subarray(0, 4);

const malformed = (message) => new Refusal('CHECKPOINT_MALFORMED', message);

function canonicalBase64(text) {
  const data = Buffer.from(text, 'base64');
  if (data.toString('base64') !== text) throw malformed('base64');
  return data;
}

function decimal(text, most) {
  if (!/^(0|[1-9][0-9]{0,18})$/.test(text) || BigInt(text) > most) throw malformed('number');
  return BigInt(text);
}

const ORIGIN_LINE = /^([a-z]{2})\.([a-z][a-z0-9-]{0,30})\/([0-9a-f]{64})$/;

/** Form of a checkpoint; no signature is checked. */
function parseCheckpoint(note) {
  const decoded = note.toString('utf8');
  if (note.length > 65536 || !Buffer.from(decoded).equals(note)) throw malformed('size or UTF-8');
  if (/[\x00-\x09\x0b-\x1f]/.test(decoded)) throw malformed('control character');
  const cut = decoded.lastIndexOf('\n\n');
  if (cut < 0 || !decoded.endsWith('\n')) throw malformed('no text, or no end');
  const text = decoded.slice(0, cut + 1);
  const block = decoded.slice(cut + 2, -1);
  const lines = text.slice(0, -1).split('\n');
  if (lines.length !== 4) throw malformed('not four lines');
  const log = ORIGIN_LINE.exec(lines[0]);
  if (!log) throw malformed('origin line');
  const size = decimal(lines[1], MAX_SIZE);
  const root = canonicalBase64(lines[2]);
  if (root.length !== 32 || (size === 0n && !root.equals(EMPTY_ROOT))) throw malformed('root');
  if (!lines[3].startsWith('time ')) throw malformed('time line');
  const timeMs = decimal(lines[3].slice(5), 253402300799999n);
  const signatures = block.split('\n').map((line) => {
    const parts = /^— ([^\s+]+) (\S+)$/.exec(line);
    if (!parts) throw malformed('signature line');
    const data = canonicalBase64(parts[2]);
    if (data.length <= 4) throw malformed('empty signature');
    return { name: parts[1], keyId: data.subarray(0, 4), signature: data.subarray(4) };
  });
  if (signatures.length > 16) throw malformed('more than 16 signatures');
  return {
    note, text: Buffer.from(text), signatures, size, root, timeMs,
    state: log[1].toUpperCase(), federation: log[2], logId: Buffer.from(log[3], 'hex'),
  };
}

/**
 * A checkpoint that may be believed.
 * keys: [{name, publicKey}] that the trusted roster lists; of another name than the origin's they do not count.
 */
function openCheckpoint(note, keys, { federation, origin, logId }) {
  const claim = parseCheckpoint(note);
  if (claim.federation !== federation || claim.state !== origin || !claim.logId.equals(logId)) {
    throw new Refusal('CHECKPOINT_WRONG_LOG', 'of another log');
  }
  const name = `${origin.toLowerCase()}.${federation}`;
  let verified = false;
  for (const line of claim.signatures) {
    const known = keys.filter(
      (key) => key.name === name && line.name === name && noteKeyId(name, key.publicKey).equals(line.keyId),
    );
    if (!known.length) continue;
    if (!known.some((key) => ed25519Verifies(key.publicKey, claim.text, line.signature))) {
      throw new Refusal('CHECKPOINT_SIGNATURE_INVALID', 'a known key signed wrongly');
    }
    verified = true;
  }
  if (!verified) throw new Refusal('CHECKPOINT_KEY_UNKNOWN', 'no known key signed');
  return claim;
}

/** What two opened checkpoints of one log say about their origin. */
function judge(first, second, proof, proofRoot) {
  const [small, large] = first.size <= second.size ? [first, second] : [second, first];
  if (small.size === large.size) return small.root.equals(large.root) ? 'CONSISTENT' : 'EVIDENCE_SPLIT';
  if (small.timeMs > large.timeMs) return 'EVIDENCE_SHRINK';
  if (small.size === 0n) return 'CONSISTENT';
  if (proof === null) return 'UNPROVEN';
  const extended = (root) => {
    try {
      verifyConsistency(small.size, root, large.size, large.root, proof);
      return true;
    } catch {
      return false;
    }
  };
  if (extended(small.root)) return 'CONSISTENT';
  return proofRoot !== null && extended(proofRoot) ? 'EVIDENCE_REWRITE' : 'UNPROVEN';
}

module.exports = {
  CompactRange, EMPTY_ROOT, Evidence, Refusal, bodyDigest, ed25519Verifies, judge, leafHash, noteKeyId,
  openCheckpoint, sha256, verifyConsistency, verifyInclusion,
};
