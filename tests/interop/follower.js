// What a follower checks and keeps, in the order of protos/README.md, "Follow, step by step".
'use strict';

const ledger = require('./ledger');

const { Evidence, Refusal } = ledger;
const [GENESIS, EPOCH_CLOSED] = [1, 7]; // dief.v1.EventKind
const MAX_BODY = 524288;
const MAX_HEADER = 131072;

const fault = (message) => new Refusal('LOG_FAULT', message);
const hex = (bytes) => bytes.toString('hex');

/** Checks a header by itself; `raw` are the bytes as sent. */
function readHeader(wire, raw, logId, seq) {
  if (raw.length > MAX_HEADER) throw fault('header too large');
  let header;
  try {
    header = wire.decode('EntryHeader', raw);
  } catch {
    throw fault('header does not parse');
  }
  const digest = header.body_digest;
  if (!header.log_id.equals(logId)) throw fault('another log');
  if (BigInt(header.seq) !== seq) throw fault('another position');
  if (header.kind === 0 || (header.kind === GENESIS) !== (seq === 0n)) throw fault('kind');
  if (!header.committed_at || BigInt(header.committed_at.seconds) <= 0n) throw fault('moment');
  if (![0, 32].includes(digest.length) || header.body_size > MAX_BODY) throw fault('digest or size');
  if (!digest.length && header.body_size) throw fault('size without digest');
  const erases = header.erases.map((one) => ({ logId: one.log_id, seq: BigInt(one.seq) }));
  for (const one of erases) {
    if (![0, 32].includes(one.logId.length) || one.seq < 1n) throw fault('erasure');
    if ((!one.logId.length || one.logId.equals(logId)) && one.seq >= seq) throw fault('erases what is not before it');
  }
  return { header, seq, erases, leaf: ledger.leafHash(raw), digest };
}

/** Salt and body are both there and the digested ones, or both absent. */
function readBody(facts, entry) {
  if (!entry.salt.length) {
    if (entry.body.length) throw fault('body without salt');
    return null;
  }
  const size = entry.body.length;
  if (entry.salt.length !== 32 || size !== facts.header.body_size) throw fault('salt or size');
  if (!ledger.bodyDigest(entry.salt, entry.body).equals(facts.digest)) throw fault('another body');
  return entry.body;
}

/** An entry that proves itself. origin: {federation, state, keys}. */
function verifyProvenEntry(wire, origin, proven) {
  const claimed = wire.decode('EntryHeader', proven.entry.header);
  const facts = readHeader(wire, proven.entry.header, claimed.log_id, BigInt(claimed.seq));
  const checkpoint = ledger.openCheckpoint(proven.checkpoint, origin.keys, {
    federation: origin.federation, origin: origin.state, logId: claimed.log_id,
  });
  ledger.verifyInclusion(facts.leaf, facts.seq, checkpoint.size, proven.inclusion_proof, checkpoint.root);
  return { facts, checkpoint, body: readBody(facts, proven.entry) };
}

/** All logs of one origin that one State follows. Nothing of a refused frame is kept. */
class Follower {
  constructor(wire, origin, ownState) {
    this._wire = wire;
    this._origin = origin;
    this._ownState = ownState;
    this.logs = new Map();
    this.erased = new Set();
  }

  take(frame) {
    if (frame.frame === 'prelude') this._prelude(frame.prelude);
    if (frame.frame === 'batch') this._batch(frame.batch);
  }

  /** Cursors to go on from. */
  cursors() {
    return [...this.logs.values()].map((log) => ({
      log_id: log.logId, size: log.tree.size.toString(),
      checkpoint_size: log.checkpoint.size.toString(), checkpoint_time_ms: log.checkpoint.timeMs.toString(),
    }));
  }

  bodies(log) {
    return [...log.bodies.keys()].filter((seq) => !this.erased.has(`${hex(log.logId)}/${seq}`)).map(Number);
  }

  _open(note, log) {
    const checkpoint = ledger.openCheckpoint(note, this._origin.keys, {
      federation: this._origin.federation, origin: this._origin.state, logId: log.logId,
    });
    for (const held of log.checkpoint ? [log.checkpoint, ...log.ahead] : []) {
      const verdict = ledger.judge(held, checkpoint, null, null);
      if (verdict.startsWith('EVIDENCE')) throw new Evidence('LOG_EVIDENCE', verdict);
    }
    if (log.checkpoint && (checkpoint.timeMs < log.checkpoint.timeMs || checkpoint.size < log.checkpoint.size)) {
      throw fault('an older checkpoint');
    }
    return checkpoint;
  }

  _begin(batch) {
    const first = batch.entries[0];
    if (BigInt(batch.first_seq) !== 0n || !first) throw fault('does not begin with its genesis');
    if (!ledger.sha256(first.body).equals(batch.log_id)) throw fault('another genesis');
    const genesis = this._wire.decode('Genesis', first.body);
    const { federation, state } = this._origin;
    if (genesis.federation !== federation || genesis.origin !== state) throw fault('another origin');
    if (!genesis.members.includes(this._ownState)) throw fault('not a member');
    // `ahead`: verified checkpoints that the entries have not reached yet; each must be met on the way.
    return {
      logId: batch.log_id, tree: new ledger.CompactRange(), checkpoint: null, ahead: [], closed: false, bodies: new Map(),
    };
  }

  _batch(batch) {
    const log = this.logs.get(hex(batch.log_id)) || this._begin(batch);
    if (BigInt(batch.first_seq) !== log.tree.size) throw fault('does not go on where the log ends');
    const tree = log.tree.copy();
    const marks = log.checkpoint ? [log.checkpoint, ...log.ahead] : [];
    let { closed } = log;
    const taken = batch.entries.map((entry, index) => {
      const facts = readHeader(this._wire, entry.header, log.logId, log.tree.size + BigInt(index));
      if (closed && !facts.erases.length) throw fault('the epoch is closed, and this erases nothing');
      closed = closed || facts.header.kind === EPOCH_CLOSED;
      const body = readBody(facts, entry);
      tree.append(facts.leaf);
      if (marks.some((mark) => mark.size === tree.size && !mark.root.equals(tree.root()))) {
        throw fault('not the entries that were signed before');
      }
      return { facts, body };
    });
    const checkpoint = batch.checkpoint.length ? this._open(batch.checkpoint, log) : log.checkpoint;
    if (!checkpoint || checkpoint.size < tree.size) throw fault('no checkpoint covers the entries');
    ledger.verifyConsistency(tree.size, tree.root(), checkpoint.size, checkpoint.root, batch.consistency_proof);
    // Everything holds: keep it, in one step.
    for (const { facts, body } of taken) {
      this._erase(log, facts);
      if (body !== null) log.bodies.set(facts.seq, body);
    }
    log.ahead = [...marks, checkpoint].filter((mark) => mark.size > tree.size);
    log.closed = closed;
    log.tree = tree;
    log.checkpoint = checkpoint;
    this.logs.set(hex(log.logId), log);
    this._forget();
  }

  _prelude(prelude) {
    const log = this.logs.get(hex(prelude.log_id));
    if (!log) throw fault('a prelude of a log that is not held');
    const checkpoint = this._open(prelude.checkpoint, log);
    const verified = prelude.headers.map((one) => {
      const seq = BigInt(this._wire.decode('EntryHeader', one.header).seq);
      const facts = readHeader(this._wire, one.header, log.logId, seq);
      ledger.verifyInclusion(facts.leaf, seq, checkpoint.size, one.inclusion_proof, checkpoint.root);
      return facts;
    });
    for (const facts of verified) this._erase(log, facts);
    if (checkpoint.size > log.tree.size) log.ahead.push(checkpoint);
    this._forget();
  }

  _erase(log, facts) {
    for (const one of facts.erases) {
      this.erased.add(`${hex(one.logId.length ? one.logId : log.logId)}/${one.seq}`);
    }
  }

  /** Remove every body that a verified header erases, of whichever log of this origin. */
  _forget() {
    for (const log of this.logs.values()) {
      for (const seq of log.bodies.keys()) {
        if (this.erased.has(`${hex(log.logId)}/${seq}`)) log.bodies.delete(seq);
      }
    }
  }
}

module.exports = { Follower, verifyProvenEntry };
