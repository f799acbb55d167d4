// A peer in another language. Prints one JSON object; exits with 1 where anything is not as protos/README.md says.
//   node client.js vectors IMAGE FOLDER      recompute the test vectors
//   node client.js node IMAGE CONFIG.json    trust a roster, ask a running node, follow it, believe only what is proven
'use strict';

const fs = require('node:fs');
const tls = require('node:tls');
const grpc = require('@grpc/grpc-js');
const rosters = require('./roster');
const { Follower, verifyProvenEntry } = require('./follower');
const { Refusal } = require('./ledger');
const { Wire } = require('./wire');
const { checkVectors } = require('./vectors');

const DEADLINE_MS = 30000;
const hex = (bytes) => bytes.toString('hex');
const deadline = () => ({ deadline: Date.now() + DEADLINE_MS });

/** mTLS that trusts one State's bundle only, and only a certificate that names that State's node. */
function credentials(config, bundle, federation) {
  const wanted = `URI:spiffe://${config.peer.toLowerCase()}.${federation}/node/`;
  return grpc.credentials.createSsl(
    Buffer.from(bundle.join('')), fs.readFileSync(config.key), fs.readFileSync(config.certificate),
    {
      checkServerIdentity: (host, certificate) => {
        const uris = (certificate.subjectaltname || '').split(', ').filter((name) => name.startsWith('URI:'));
        if (uris.length !== 1 || !uris[0].startsWith(wanted)) return new Error(`not a node of ${config.peer}`);
        return tls.checkServerIdentity(host, certificate);
      },
    },
  );
}

const unary = (client, method, request) =>
  new Promise((resolve, reject) => {
    client[method](request, deadline(), (error, answer) => (error ? reject(error) : resolve(answer)));
  });

/** Every alert of the peer, page by page, each proven. */
async function queryAll(wire, client, origin, pageSize) {
  const alerts = [];
  for (let token = ''; ; ) {
    const page = await unary(client, 'QueryAlerts', { page_size: pageSize, page_token: token });
    for (const proven of page.alerts) {
      const { facts, checkpoint, body } = verifyProvenEntry(wire, origin, proven);
      alerts.push({
        name: facts.header.subject, revision: facts.header.revision, kind: facts.header.kind,
        log_id: hex(facts.header.log_id), seq: Number(facts.seq), leaf_hash: hex(facts.leaf),
        size: Number(checkpoint.size), root: hex(checkpoint.root), has_body: body !== null,
        title: body === null ? '' : wire.decode('AlertRevised', body).alert.titles[0].text,
        tampering_refused: tamperingRefused(wire, origin, proven),
      });
    }
    token = page.next_page_token;
    if (!token) return alerts;
  }
}

/** Whether the same answer with one bit changed anywhere that counts is refused. */
function tamperingRefused(wire, origin, proven) {
  const flipped = (bytes) => {
    const copy = Buffer.from(bytes);
    copy[copy.length - 1] ^= 1;
    return copy;
  };
  const { entry } = proven;
  return [
    { ...proven, entry: { ...entry, header: flipped(entry.header) } },
    { ...proven, entry: { ...entry, body: flipped(entry.body) } },
    { ...proven, checkpoint: Buffer.from(proven.checkpoint.toString().replace('\ntime 1', '\ntime 2')) },
    { ...proven, inclusion_proof: [...proven.inclusion_proof, Buffer.alloc(32)] },
  ].every((changed) => {
    try {
      verifyProvenEntry(wire, origin, changed);
      return false;
    } catch (error) {
      return error instanceof Refusal;
    }
  });
}

/** Follows from nothing until the backlog is there. */
function followOnce(client, follower) {
  return new Promise((resolve, reject) => {
    const frames = [];
    const stream = client.Follow({ cursors: follower.cursors(), software: 'interop' }, deadline());
    stream.on('error', reject);
    stream.on('end', () => reject(new Error('the stream ended before CaughtUp')));
    stream.on('data', (frame) => {
      frames.push(frame.frame);
      try {
        follower.take(frame);
      } catch (error) {
        stream.removeAllListeners();
        stream.on('error', () => {});
        stream.cancel();
        reject(error);
        return;
      }
      if (frame.frame !== 'caught_up') return;
      stream.removeAllListeners();
      stream.on('error', () => {});
      stream.cancel();
      resolve(frames);
    });
  });
}

async function askNode(wire, config) {
  const file = JSON.parse(fs.readFileSync(config.roster, 'utf8'));
  let trusted = rosters.trustFirst(wire, rosters.envelopeFromFile(file), config.roster_sha256);
  const { federation } = trusted.roster;
  const { bundle } = rosters.participant(trusted, config.peer);
  const client = new wire.services.FederationService(config.address, credentials(config, bundle, federation));
  try {
    const { envelopes } = await unary(client, 'GetRoster', { after_version: trusted.roster.version });
    for (const envelope of envelopes) trusted = rosters.update(wire, trusted, envelope);
    const { logKeys } = rosters.participant(trusted, config.peer);
    const origin = { federation, state: config.peer, keys: logKeys };
    const alerts = await queryAll(wire, client, origin, config.page_size);
    const follower = new Follower(wire, origin, config.own_state);
    const frames = await followOnce(client, follower);
    return {
      roster_version: Number(trusted.roster.version),
      alerts,
      frames,
      logs: [...follower.logs.values()].map((log) => ({
        log_id: hex(log.logId), size: Number(log.tree.size), root: hex(log.tree.root()), bodies: follower.bodies(log),
      })),
    };
  } finally {
    client.close();
  }
}

async function main([mode, image, argument]) {
  const wire = new Wire(image);
  if (mode === 'vectors') return checkVectors(argument, wire);
  if (mode === 'node') return askNode(wire, JSON.parse(fs.readFileSync(argument, 'utf8')));
  throw new Error('usage: node client.js vectors IMAGE FOLDER | node IMAGE CONFIG.json');
}

main(process.argv.slice(2)).then(
  (result) => process.stdout.write(`${JSON.stringify(result)}\n`),
  (error) => {
    // A gRPC error tells its reason in google.rpc.ErrorInfo; code and words are enough for a person.
    process.stderr.write(`${error.stack || error}\n`);
    process.exitCode = 1;
  },
);
