// Recomputes every line of protos/vectors; throws at the first that differs.
'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const ledger = require('./ledger');
const rosters = require('./roster');
const { Follower, verifyProvenEntry } = require('./follower');

const unhex = (text) => Buffer.from(text, 'hex');
const unhexAll = (texts) => texts.map(unhex);

function checkVectors(folder, wire) {
  const read = (name) => JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8'));
  const keysOf = (content) => content.keys.map((key) => ({ name: key.name, publicKey: unhex(key.public_key) }));
  const counts = {};
  const each = (file, cases, check) => {
    for (const one of cases) {
      try {
        check(one);
      } catch (error) {
        error.message = `${file}, "${one.name || JSON.stringify(one).slice(0, 80)}": ${error.message}`;
        throw error;
      }
      counts[file] = (counts[file] || 0) + 1;
    }
  };
  const refuses = (work, reason) =>
    assert.throws(work, (error) => error instanceof ledger.Refusal && (!reason || error.reason === reason));

  each('genesis.json', read('genesis.json').cases, (one) => {
    assert.equal(ledger.sha256(unhex(one.body)).toString('hex'), one.log_id);
    assert.equal(wire.decode('Genesis', unhex(one.body)).epoch, one.fields.epoch);
  });

  const leaves = read('leaf.json');
  const tree = new ledger.CompactRange();
  each('leaf.json', leaves.entries, (one) => {
    assert.equal(tree.root().toString('hex'), leaves.roots[one.seq]);
    const leaf = ledger.leafHash(unhex(one.header));
    assert.equal(leaf.toString('hex'), one.leaf_hash);
    const header = wire.decode('EntryHeader', unhex(one.header));
    assert.equal(header.seq, String(one.seq));
    assert.equal(header.body_digest.toString('hex'), one.body_digest);
    if (one.body_digest) {
      assert.equal(ledger.bodyDigest(unhex(one.salt), unhex(one.body)).toString('hex'), one.body_digest);
    }
    tree.append(leaf);
  });
  assert.equal(tree.root().toString('hex'), leaves.roots.at(-1));

  const inclusion = read('inclusion.json');
  const included = (one) =>
    ledger.verifyInclusion(
      unhex(one.leaf_hash), BigInt(one.index), BigInt(one.size), unhexAll(one.proof), unhex(one.root),
    );
  each('inclusion.json', inclusion.valid, included);
  each('inclusion.json', inclusion.refused, (one) => refuses(() => included(one), 'PROOF_INVALID'));

  const consistency = read('consistency.json');
  const extended = (one) =>
    ledger.verifyConsistency(
      BigInt(one.m), unhex(one.root_m), BigInt(one.n), unhex(one.root_n), unhexAll(one.proof),
    );
  each('consistency.json', consistency.valid, extended);
  each('consistency.json', consistency.refused, (one) => refuses(() => extended(one), 'PROOF_INVALID'));

  const checkpoints = read('checkpoint.json');
  const wanted = {
    federation: checkpoints.federation, origin: checkpoints.origin, logId: unhex(checkpoints.log_id),
  };
  const open = (note) => ledger.openCheckpoint(Buffer.from(note), keysOf(checkpoints), wanted);
  each('checkpoint.json', checkpoints.keys, (key) => {
    assert.equal(ledger.noteKeyId(key.name, unhex(key.public_key)).toString('hex'), key.key_id);
  });
  each('checkpoint.json', checkpoints.valid, (one) => {
    const opened = open(one.note);
    assert.equal(opened.text.toString(), checkpoints.text);
    assert.equal(opened.size, BigInt(checkpoints.size));
    assert.equal(opened.root.toString('hex'), checkpoints.root);
    assert.equal(opened.timeMs, BigInt(checkpoints.time_ms));
  });
  each('checkpoint.json', checkpoints.refused, (one) => refuses(() => open(one.note), one.refusal));
  each('checkpoint.json', checkpoints.judged, (one) => {
    const proof = one.proof && unhexAll(one.proof);
    const root = one.proof_root && unhex(one.proof_root);
    assert.equal(ledger.judge(open(one.first), open(one.second), proof, root), one.verdict);
  });

  const origin = { federation: wanted.federation, state: wanted.origin, keys: keysOf(checkpoints) };
  const proven = read('proven_entry.json');
  const verify = (one) => verifyProvenEntry(wire, origin, wire.decode('ProvenEntry', unhex(one.proven)));
  each('proven_entry.json', proven.valid, (one) => {
    const { facts, checkpoint, body } = verify(one);
    assert.equal(facts.seq, BigInt(one.seq));
    assert.equal(checkpoint.size, BigInt(one.size));
    assert.equal(body !== null, one.has_body);
  });
  each('proven_entry.json', proven.refused, (one) => refuses(() => verify(one)));

  const follow = read('follow.json');
  const source = {
    federation: follow.federation, state: follow.origin,
    keys: follow.log_keys.map((key) => ({ name: 'xa.dief', publicKey: unhex(key) })),
  };
  const frameOf = (one) => wire.decode('FollowResponse', unhex(one.frame));
  const follower = new Follower(wire, source, follow.follower);
  const refusing = new Follower(wire, source, follow.follower);
  follow.sessions.forEach((session, index) => {
    const request = wire.decode('FollowRequest', unhex(session.request));
    assert.deepEqual(request.cursors.map((one) => one.size), follower.cursors().map((one) => one.size));
    each('follow.json', session.frames, (one) => {
      follower.take(frameOf(one));
      if (index === 0) refusing.take(frameOf(one));
      const log = follower.logs.get(follow.log_id);
      const holds = {
        size: log ? Number(log.tree.size) : 0,
        root: (log ? log.tree.root() : ledger.EMPTY_ROOT).toString('hex'),
        checkpoint_size: log ? Number(log.checkpoint.size) : 0,
        bodies: log ? follower.bodies(log) : [],
      };
      assert.deepEqual(holds, one.holds);
    });
  });
  each('follow.json', follow.refused, (one) => {
    refuses(() => refusing.take(frameOf(one)));
    assert.equal(refusing.logs.get(follow.log_id).tree.size, 3n);
  });

  const signed = read('roster_dsse.json');
  const envelope = (one) => rosters.envelopeFromFile(one.envelope);
  each('roster_dsse.json', signed.keys, (key) => assert.equal(rosters.keyId(unhex(key.public_key)), key.keyid));
  each('roster_dsse.json', signed.valid, (one) => {
    const { payload_type: type, payload } = envelope(one);
    assert.equal(ledger.sha256(rosters.pae(type, payload)).toString('hex'), one.pae_sha256);
  });
  const first = rosters.trustFirst(wire, envelope(signed.valid[0]), signed.valid[0].payload_sha256);
  const second = rosters.update(wire, first, envelope(signed.valid[1])).roster;
  assert.equal(second.version, '2');
  each('roster_dsse.json', second.participants, (one) =>
    assert.equal(rosters.trustDigest(one).toString('hex'), signed.trust_digests[one.state]),
  );
  refuses(() => rosters.trustFirst(wire, envelope(signed.valid[0]), signed.valid[1].payload_sha256), 'ROSTER');
  each('roster_dsse.json', signed.refused, (one) =>
    refuses(() => rosters.update(wire, first, envelope(one)), 'ROSTER'),
  );

  const names = read('names.json');
  const alertName = /^alerts\/([A-Z]{2})\/([0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})$/;
  const spiffeId =
    /^spiffe:\/\/([a-z]{2})\.([a-z][a-z0-9-]{0,30})\/(node|registry|officer|delegate|approver|operator|auditor)\/(?!\.{1,2}$)([A-Za-z0-9._-]{1,64})$/;
  each('names.json', names.alerts.valid, (one) => {
    const parts = alertName.exec(one.name);
    assert.deepEqual([parts[1], parts[2]], [one.origin, one.uuid]);
    assert.equal(parseInt(one.uuid.replaceAll('-', '').slice(0, 12), 16), one.time_ms);
  });
  each('names.json', names.alerts.refused, (one) => assert.equal(alertName.exec(one.name), null));
  each('names.json', names.spiffe.valid, (one) => {
    const parts = spiffeId.exec(one.uri);
    assert.deepEqual([parts[1].toUpperCase(), ...parts.slice(2)], [one.state, one.federation, one.kind, one.name]);
  });
  each('names.json', names.spiffe.refused, (one) => assert.equal(spiffeId.exec(one.uri), null));
  return counts;
}

module.exports = { checkVectors };
