/**
 * What the daemon tells, typed: version, statistics, connections, security associations, certificates, pools,
 * algorithms (strongSwan, `vici/README.md`, "Client-initiated commands", "Server-issued events").
 *
 * Members that a daemon leaves out are undefined here; members that nobody asks for are passed over, so that a
 * newer daemon's answers can be read. Durations are seconds, as the daemon counts them.
 */
import * as field from './fields.ts';
import type { ViciSection } from './message.ts';

export interface DaemonVersion {
  readonly daemon: string;
  readonly version: string;
  readonly sysname: string | undefined;
  readonly release: string | undefined;
  readonly machine: string | undefined;
}

export function readVersion(answer: ViciSection): DaemonVersion {
  return {
    daemon: field.required(field.text(answer, 'daemon'), 'daemon'),
    version: field.required(field.text(answer, 'version'), 'version'),
    sysname: field.text(answer, 'sysname'),
    release: field.text(answer, 'release'),
    machine: field.text(answer, 'machine'),
  };
}

export interface DaemonStatistics {
  /** Local time of the daemon's host, as it prints it. */
  readonly since: string | undefined;
  readonly workers: { readonly total: number; readonly idle: number };
  readonly ikeSas: { readonly total: number; readonly halfOpen: number };
  /** Jobs that wait to be done later: retransmissions, rekeyings. */
  readonly scheduled: number;
  readonly plugins: readonly string[];
}

export function readStatistics(answer: ViciSection): DaemonStatistics {
  const workers = field.section(answer, 'workers');
  const ikeSas = field.section(answer, 'ikesas');
  return {
    since: field.text(field.section(answer, 'uptime'), 'since'),
    workers: { total: field.integer(workers, 'total') ?? 0, idle: field.integer(workers, 'idle') ?? 0 },
    ikeSas: { total: field.integer(ikeSas, 'total') ?? 0, halfOpen: field.integer(ikeSas, 'half-open') ?? 0 },
    scheduled: field.integer(answer, 'scheduled') ?? 0,
    plugins: field.texts(answer, 'plugins'),
  };
}

/** One end of an IKE SA. */
export interface IkeEnd {
  readonly host: string | undefined;
  readonly port: number | undefined;
  /** Identity; the remote one is known when it has authenticated. */
  readonly id: string | undefined;
}

export interface IkeSa {
  /** Name of the connection that it was made from. */
  readonly name: string;
  /** Changes when the SA is rekeyed. */
  readonly uniqueId: string;
  readonly version: number;
  /** `CONNECTING`, `ESTABLISHED`, `REKEYING`, `DELETING`, ... */
  readonly state: string;
  readonly local: IkeEnd;
  readonly remote: IkeEnd;
  readonly isInitiator: boolean;
  /** Whether a translator was found on our side, on the peer's, anywhere. */
  readonly nat: { readonly local: boolean; readonly remote: boolean; readonly any: boolean };
  /** Hexadecimal. */
  readonly initiatorSpi: string;
  readonly responderSpi: string;
  /** For example `AES_GCM_16-256`, `PRF_HMAC_SHA2_384`, `ECP_384`; undefined until agreed on. */
  readonly encryption: string | undefined;
  readonly integrity: string | undefined;
  readonly prf: string | undefined;
  readonly keyExchange: string | undefined;
  readonly establishedSeconds: number | undefined;
  /** Until the next one. */
  readonly rekeySeconds: number | undefined;
  readonly reauthenticationSeconds: number | undefined;
  /** What is queued, runs, and waits for the peer. */
  readonly tasks: { readonly queued: readonly string[]; readonly active: readonly string[] };
  readonly children: readonly ChildSa[];
}

export interface ChildSa {
  /** Name of the child's configuration, the same before and after a rekeying. */
  readonly name: string;
  readonly uniqueId: string;
  readonly reqid: number | undefined;
  /** `INSTALLED`, `REKEYING`, `REKEYED`, `DELETED`, ... */
  readonly state: string;
  readonly mode: string | undefined;
  readonly protocol: string | undefined;
  /** Whether ESP travels in UDP (RFC 3948). */
  readonly isEncapsulated: boolean;
  /** Hexadecimal. */
  readonly spiIn: string | undefined;
  readonly spiOut: string | undefined;
  readonly interfaceIdIn: number | undefined;
  readonly interfaceIdOut: number | undefined;
  readonly encryption: string | undefined;
  readonly integrity: string | undefined;
  readonly keyExchange: string | undefined;
  readonly bytesIn: number;
  readonly packetsIn: number;
  readonly bytesOut: number;
  readonly packetsOut: number;
  readonly installedSeconds: number | undefined;
  readonly rekeySeconds: number | undefined;
  readonly lifeSeconds: number | undefined;
  readonly localTrafficSelectors: readonly string[];
  readonly remoteTrafficSelectors: readonly string[];
}

/** The IKE SAs of one `list-sa` event, or of `ike-updown` and `child-updown`. */
export function readIkeSas(event: ViciSection): IkeSa[] {
  return field.sections(event).map(([name, sa]) => readIkeSa(name, sa));
}

function readIkeSa(name: string, sa: ViciSection): IkeSa {
  const size = field.text(sa, 'encr-keysize');
  return {
    name,
    uniqueId: field.required(field.text(sa, 'uniqueid'), 'uniqueid'),
    version: field.integer(sa, 'version') ?? 2,
    state: field.required(field.text(sa, 'state'), 'state'),
    local: readEnd(sa, 'local'),
    remote: readEnd(sa, 'remote'),
    isInitiator: field.flag(sa, 'initiator'),
    nat: {
      local: field.flag(sa, 'nat-local'),
      remote: field.flag(sa, 'nat-remote'),
      any: field.flag(sa, 'nat-any'),
    },
    initiatorSpi: field.text(sa, 'initiator-spi') ?? '',
    responderSpi: field.text(sa, 'responder-spi') ?? '',
    encryption: withSize(field.text(sa, 'encr-alg'), size),
    integrity: field.text(sa, 'integ-alg'),
    prf: field.text(sa, 'prf-alg'),
    keyExchange: field.text(sa, 'dh-group'),
    establishedSeconds: field.integer(sa, 'established'),
    rekeySeconds: field.integer(sa, 'rekey-time'),
    reauthenticationSeconds: field.integer(sa, 'reauth-time'),
    tasks: { queued: field.texts(sa, 'tasks-queued'), active: field.texts(sa, 'tasks-active') },
    children: field.sections(field.section(sa, 'child-sas')).map(([key, child]) => readChildSa(key, child)),
  };
}

function readEnd(sa: ViciSection, side: 'local' | 'remote'): IkeEnd {
  return {
    host: field.text(sa, `${side}-host`),
    port: field.integer(sa, `${side}-port`),
    id: field.text(sa, `${side}-id`),
  };
}

function readChildSa(key: string, child: ViciSection): ChildSa {
  return {
    // The key is the name, in most messages with `-` and the unique id behind it.
    name: field.text(child, 'name') ?? key.replace(/-\d+$/, ''),
    uniqueId: field.text(child, 'uniqueid') ?? '',
    reqid: field.integer(child, 'reqid'),
    state: field.text(child, 'state') ?? 'UNKNOWN',
    mode: field.text(child, 'mode'),
    protocol: field.text(child, 'protocol'),
    isEncapsulated: field.flag(child, 'encap'),
    spiIn: field.text(child, 'spi-in'),
    spiOut: field.text(child, 'spi-out'),
    interfaceIdIn: field.hexadecimal(child, 'if-id-in'),
    interfaceIdOut: field.hexadecimal(child, 'if-id-out'),
    encryption: withSize(field.text(child, 'encr-alg'), field.text(child, 'encr-keysize')),
    integrity: field.text(child, 'integ-alg'),
    keyExchange: field.text(child, 'dh-group'),
    bytesIn: field.integer(child, 'bytes-in') ?? 0,
    packetsIn: field.integer(child, 'packets-in') ?? 0,
    bytesOut: field.integer(child, 'bytes-out') ?? 0,
    packetsOut: field.integer(child, 'packets-out') ?? 0,
    installedSeconds: field.integer(child, 'install-time'),
    rekeySeconds: field.integer(child, 'rekey-time'),
    lifeSeconds: field.integer(child, 'life-time'),
    localTrafficSelectors: field.texts(child, 'local-ts'),
    remoteTrafficSelectors: field.texts(child, 'remote-ts'),
  };
}

function withSize(algorithm: string | undefined, size: string | undefined): string | undefined {
  return algorithm !== undefined && size !== undefined ? `${algorithm}-${size}` : algorithm;
}

export interface Connection {
  readonly name: string;
  readonly localAddresses: readonly string[];
  readonly remoteAddresses: readonly string[];
  readonly version: string | undefined;
  readonly rekeySeconds: number | undefined;
  readonly reauthenticationSeconds: number | undefined;
  readonly dpdSeconds: number | undefined;
  /** What becomes of other SAs with the same identities: `UNIQUE_NO`, `UNIQUE_REPLACE`, ... */
  readonly uniqueness: string | undefined;
  /** Rounds of authentication, in their order. */
  readonly localRounds: readonly AuthenticationRound[];
  readonly remoteRounds: readonly AuthenticationRound[];
  readonly children: readonly ConnectionChild[];
}

/** How one end authenticates itself. */
export interface AuthenticationRound {
  /** `pre-shared key`, `public key`, `EAP`, `any`. */
  readonly method: string | undefined;
  readonly id: string | undefined;
  /** Subjects. */
  readonly certificates: readonly string[];
  readonly authorities: readonly string[];
}

export interface ConnectionChild {
  readonly name: string;
  readonly mode: string | undefined;
  readonly rekeySeconds: number | undefined;
  /** `clear`, `trap`, `start`. */
  readonly dpdAction: string | undefined;
  readonly closeAction: string | undefined;
  readonly localTrafficSelectors: readonly string[];
  readonly remoteTrafficSelectors: readonly string[];
}

/** The connections of one `list-conn` event. */
export function readConnections(event: ViciSection): Connection[] {
  return field.sections(event).map(([name, connection]) => ({
    name,
    localAddresses: field.texts(connection, 'local_addrs'),
    remoteAddresses: field.texts(connection, 'remote_addrs'),
    version: field.text(connection, 'version'),
    rekeySeconds: field.integer(connection, 'rekey_time'),
    reauthenticationSeconds: field.integer(connection, 'reauth_time'),
    dpdSeconds: field.integer(connection, 'dpd_delay'),
    uniqueness: field.text(connection, 'unique'),
    localRounds: readRounds(connection, 'local'),
    remoteRounds: readRounds(connection, 'remote'),
    children: field.sections(field.section(connection, 'children')).map(([child, of]) => ({
      name: child,
      mode: field.text(of, 'mode'),
      rekeySeconds: field.integer(of, 'rekey_time'),
      dpdAction: field.text(of, 'dpd_action'),
      closeAction: field.text(of, 'close_action'),
      localTrafficSelectors: field.texts(of, 'local-ts'),
      remoteTrafficSelectors: field.texts(of, 'remote-ts'),
    })),
  }));
}

/** Sections `local-1`, `local-2`, ... */
function readRounds(connection: ViciSection, side: 'local' | 'remote'): AuthenticationRound[] {
  return field
    .sections(connection)
    .filter(([name]) => name === side || name.startsWith(`${side}-`))
    .map(([, round]) => ({
      method: field.text(round, 'class'),
      id: field.text(round, 'id'),
      certificates: field.texts(round, 'certs'),
      authorities: field.texts(round, 'cacerts'),
    }));
}

export interface Certificate {
  /** `X509`, `X509_AC`, `X509_CRL`, `OCSP_RESPONSE`, `PUBKEY`. */
  readonly type: string;
  /** `NONE`, `CA`, `AA`, `OCSP`. */
  readonly flag: string | undefined;
  readonly hasPrivateKey: boolean;
  /** DER. */
  readonly data: Uint8Array;
  readonly subject: string | undefined;
  readonly notBefore: string | undefined;
  readonly notAfter: string | undefined;
}

/** The certificate of one `list-cert` event. */
export function readCertificate(event: ViciSection): Certificate {
  return {
    type: field.required(field.text(event, 'type'), 'type'),
    flag: field.text(event, 'flag'),
    hasPrivateKey: field.flag(event, 'has_privkey'),
    data: field.required(field.bytes(event, 'data'), 'data'),
    subject: field.text(event, 'subject'),
    notBefore: field.text(event, 'not-before'),
    notAfter: field.text(event, 'not-after'),
  };
}

export interface Pool {
  readonly name: string;
  readonly base: string | undefined;
  readonly size: number;
  readonly online: number;
  readonly offline: number;
}

/** The answer to `get-pools`. */
export function readPools(answer: ViciSection): Pool[] {
  return field.sections(answer).map(([name, pool]) => ({
    name,
    base: field.text(pool, 'base'),
    size: field.integer(pool, 'size') ?? 0,
    online: field.integer(pool, 'online') ?? 0,
    offline: field.integer(pool, 'offline') ?? 0,
  }));
}

/**
 * The answer to `get-algorithms`: by kind (`encryption`, `aead`, `integrity`, `hasher`, `prf`, `ke`, ...), the names
 * that the daemon has an implementation of, such as `AES_GCM_16`, `CURVE_25519`.
 */
export function readAlgorithms(answer: ViciSection): ReadonlyMap<string, readonly string[]> {
  return new Map(field.sections(answer).map(([kind, algorithms]) => [kind, [...algorithms.keys()]]));
}
