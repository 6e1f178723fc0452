/**
 * The part of the configuration file that says how the ends of an `ipsec` tunnel, or of a `gre` tunnel within IPsec,
 * authenticate and what they agree on.
 * `schema.ts` puts it into the tunnel; docs/configuration.md describes it.
 *
 * Secrets stand in files or in the environment, never here. Where somebody writes one here all the same, no message
 * repeats it.
 */
import * as z from 'zod';
import { DEFAULT_PROPOSALS, type ProposalKind, parseProposal } from '../../tunnel/ipsec/proposals.ts';
import { formatAddress, parseAddress } from '../../wire/address.ts';
import { IDENTITY, readIdentity } from './identity.ts';
import { isLinkLocal, isUnicast } from './ip.ts';
import { boolean, found, map, oneOf, oneOrMore, type Reading, show, text } from './leaves.ts';
import { nearest } from './suggest.ts';
import { readDuration } from './units.ts';

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

const filePath = text(
  { what: 'an absolute path of a file', write: 'one such as /etc/homeward/secrets/paris' },
  (value) => found(/^\/.*[^/]$/.test(value) && !value.includes('\0') ? value : undefined),
);

/** Whole seconds: what IKE daemons count in. */
function duration(minMs: number, maxMs: number, example: string) {
  return text(
    { what: 'a duration', write: `one such as ${example}` },
    (value): Reading<number> | undefined => {
      const durationMs = readDuration(value);
      if (durationMs === undefined) return undefined;
      if (durationMs >= minMs && durationMs <= maxMs && durationMs % SECOND_MS === 0)
        return { value: durationMs };
      return {
        problem: `${show(value)} is not usable; write whole seconds from ${minMs / SECOND_MS}s to ${maxMs / SECOND_MS}s`,
      };
    },
  );
}

function proposals(kind: ProposalKind) {
  const proposal = text(
    { what: 'a proposal', write: `algorithms joined by -, such as ${DEFAULT_PROPOSALS[kind][0]}` },
    (value): Reading<string> | undefined => {
      const reading = parseProposal(kind, value, nearest);
      return 'problem' in reading ? reading : { value };
    },
  );
  return oneOrMore(proposal, 'a proposal')
    .default([...DEFAULT_PROPOSALS[kind]])
    .refine((list) => list.length > 0, {
      error: `is empty; write one such as ${DEFAULT_PROPOSALS[kind][0]}`,
    });
}

const identity = text(IDENTITY, readIdentity);

const SECRET_TEXT =
  'is not written here; put the secret into a file and write { file: PATH }, or { env: VARIABLE }';

const environmentName = text(
  { what: 'the name of an environment variable', write: 'one such as PARIS_PSK' },
  (value) => found(/^[A-Za-z_][A-Za-z0-9_]*$/.test(value) ? value : undefined),
);

const psk = z
  .unknown()
  .refine((value) => value !== null && typeof value === 'object' && !Array.isArray(value), {
    error: SECRET_TEXT,
    abort: true,
  })
  .pipe(
    map('where the secret is', { file: filePath.optional(), env: environmentName.optional() }).refine(
      ({ file, env }) => (file === undefined) !== (env === undefined),
      { error: 'names no place or two; write either file or env' },
    ),
  );

const certificate = map('certificates', {
  file: filePath,
  key: filePath,
  ca: oneOrMore(filePath, 'a path').refine((list) => list.length > 0, {
    error: "is empty; write the file of the authority that signs the peer's certificate",
  }),
});

const ike = map('IKE settings', {
  local_id: identity,
  remote_id: identity,
  psk: psk.optional(),
  certificate: certificate.optional(),
  proposals: proposals('ike'),
  rekey: duration(5 * SECOND_MS, 7 * DAY_MS, '4h').default(4 * HOUR_MS),
  dpd: duration(SECOND_MS, HOUR_MS, '2s').default(2 * SECOND_MS),
  start: oneOf(['initiate', 'respond', 'both']).optional(),
}).refine(({ psk: one, certificate: other }) => (one === undefined) !== (other === undefined), {
  error: 'does not say how the ends authenticate, or says it twice; write either psk or certificate',
});

const child = map('child settings', {
  proposals: proposals('esp'),
  replay_protection: boolean().default(true),
  rekey: duration(5 * SECOND_MS, 7 * DAY_MS, '1h').default(HOUR_MS),
}).prefault({});

const REMOTE = {
  what: 'the address of the other end',
  write: 'one such as 198.51.100.11, or any for an end that calls from any address',
};

const remote = text(REMOTE, (value): Reading<string> | undefined => {
  if (value === 'any') return { value };
  const address = parseAddress(value);
  if (address === undefined) {
    const isName = /^(?=.*[a-z])[a-z0-9-]+(\.[a-z0-9-]+)+\.?$/i.test(value);
    return isName ? { problem: `${value}: names are not built yet; write ${REMOTE.write}` } : undefined;
  }
  if (!isUnicast(address)) return { problem: `${value} is no single host's address; write ${REMOTE.write}` };
  if (isLinkLocal(address)) {
    return { problem: `${value} is link-local and cannot be routed; write ${REMOTE.write}` };
  }
  return { value: formatAddress(address) };
});

/** The keys that only `ipsec` tunnels have. */
export const ipsecKeys = {
  remote,
  ike,
  child,
  driver: oneOf(['auto', 'xfrm', 'libipsec']).default('auto'),
};

/** What protects a `gre` tunnel. */
export const greIpsec = map('IPsec settings', { ike, child });

/** What all IPsec tunnels have in common. */
export const ipsecSettings = map('IPsec settings', {
  daemon: map('an IKE daemon', {
    socket: text({ what: 'an absolute path of a socket', write: 'one such as /run/charon.vici' }, (value) =>
      found(/^\/.{0,106}[^/]$/.test(value) && !value.includes('\0') ? value : undefined),
    ).optional(),
  }).prefault({}),
});
