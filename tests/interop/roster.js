// Trust in rosters: a first one by a digest that a person compared, later ones by the keys of the one before.
'use strict';

const { Refusal, ed25519Verifies, sha256 } = require('./ledger');

const PAYLOAD_TYPE = 'application/vnd.dief.roster.v1+protobuf';
const [ACTIVE, RETIRED, REVOKED] = [2, 3, 4]; // dief.v1.KeyState

const pae = (type, payload) =>
  Buffer.concat([Buffer.from(`DSSEv1 ${Buffer.byteLength(type)} ${type} ${payload.length} `), payload]);

const keyId = (publicKey) => sha256(publicKey).toString('hex');

/** A DSSE envelope from a JSON file, in the shape that RosterEnvelope has on the wire. */
function envelopeFromFile(content) {
  return {
    payload_type: content.payloadType,
    payload: Buffer.from(content.payload, 'base64'),
    signatures: content.signatures.map((one) => ({ keyid: one.keyid, sig: Buffer.from(one.sig, 'base64') })),
  };
}

function checkForm(envelope) {
  if (envelope.payload_type !== PAYLOAD_TYPE) throw new Refusal('ROSTER', 'payload type');
  const names = envelope.signatures.map((one) => one.keyid);
  if (new Set(names).size !== names.length) throw new Refusal('ROSTER', 'a key signs twice');
}

/** Whether enough distinct ACTIVE keys of `judge` signed. */
function checkThreshold(envelope, judge) {
  const message = pae(envelope.payload_type, envelope.payload);
  const active = judge.roster_keys.filter((key) => key.state === ACTIVE).map((key) => key.public_key);
  const signed = new Set();
  for (const publicKey of active) {
    const line = envelope.signatures.find((one) => one.keyid === keyId(publicKey));
    if (line && ed25519Verifies(publicKey, message, line.sig)) signed.add(keyId(publicKey));
  }
  if (signed.size < Math.max(1, judge.threshold)) throw new Refusal('ROSTER', 'too few signatures');
}

function trustFirst(wire, envelope, sha256Hex) {
  checkForm(envelope);
  if (sha256(envelope.payload).toString('hex') !== sha256Hex) throw new Refusal('ROSTER', 'digest');
  const roster = wire.decode('Roster', envelope.payload);
  checkThreshold(envelope, roster);
  return { roster, digest: sha256(envelope.payload) };
}

function update(wire, trusted, envelope) {
  checkForm(envelope);
  const roster = wire.decode('Roster', envelope.payload);
  if (roster.federation !== trusted.roster.federation) throw new Refusal('ROSTER', 'federation');
  if (BigInt(roster.version) !== BigInt(trusted.roster.version) + 1n) throw new Refusal('ROSTER', 'version');
  if (!roster.previous_digest.equals(trusted.digest)) throw new Refusal('ROSTER', 'previous digest');
  checkThreshold(envelope, trusted.roster);
  checkThreshold(envelope, roster);
  return { roster, digest: sha256(envelope.payload) };
}

/** What a client needs to know of one State. */
function participant({ roster }, state) {
  const found = roster.participants.find((one) => one.state === state);
  if (!found) throw new Refusal('ROSTER', `${state} is no participant`);
  return {
    bundle: found.ca_certificates.map(
      (der) => `-----BEGIN CERTIFICATE-----\n${der.toString('base64').replace(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`,
    ),
    logKeys: found.log_keys
      .filter((key) => key.state === ACTIVE || key.state === RETIRED)
      .map((key) => ({ name: `${state.toLowerCase()}.${roster.federation}`, publicKey: key.public_key })),
  };
}

/** What two people read to each other before a State is admitted. */
function trustDigest(participantMessage) {
  const counted = (parts) => {
    const number = Buffer.alloc(4);
    number.writeUInt32BE(parts.length);
    return Buffer.concat([number, ...parts.sort(Buffer.compare)]);
  };
  const certificates = participantMessage.ca_certificates.map((der) => sha256(der));
  const keys = participantMessage.log_keys.filter((key) => key.state !== REVOKED).map((key) => key.public_key);
  return sha256('dief-trust-v1', Buffer.of(0), participantMessage.state, counted(certificates), counted(keys));
}

module.exports = { envelopeFromFile, keyId, pae, participant, trustDigest, trustFirst, update };
