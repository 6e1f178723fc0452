/**
 * Certificates of `ipsec` tunnels and when they end: ours, those of the authorities that sign the peer's, and the one that
 * the peer has shown. Who looks after the gateway is warned thirty days, seven days and a day before, and at the end.
 *
 * Neighbours: `ike-credentials.ts` (reads them for the daemon), `ipsec-service.ts` (the owner).
 */
import type { PeerCertificate } from '../../tunnel/ipsec/peer-certificate.ts';
import { onOneLine } from '../../tunnel/ipsec/peer-certificate.ts';
import type { IkeConfig } from '../config/ipsec-config.ts';
import type { Logger } from '../runtime/logger.ts';
import { readCertificates } from './ike-credentials.ts';

export interface TunnelCertificate {
  readonly whose: 'own' | 'authority' | 'peer';
  readonly subject: string;
  /** Milliseconds since 1970. */
  readonly notAfterMs: number;
}

/** A tunnel whose certificates are watched. */
export interface CertifiedTunnel {
  readonly name: string;
  readonly ike: IkeConfig;
}

const LOOK_MS = 5 * 60_000;
const DAY_MS = 24 * 3_600_000;
/** So long before its end a certificate is warned of, each once. */
const WARNINGS_MS = [30 * DAY_MS, 7 * DAY_MS, DAY_MS, 0];
const WORDS: Readonly<Record<TunnelCertificate['whose'], string>> = {
  own: 'the own certificate',
  authority: "the certificate of the peer's authority",
  peer: 'the certificate of the peer',
};

export class CertificateWatch {
  readonly #logger: Logger;
  readonly #peer: (tunnel: string) => PeerCertificate | undefined;
  readonly #timer: NodeJS.Timeout;
  #tunnels: readonly CertifiedTunnel[] = [];
  /** From files, by tunnel. */
  #read: ReadonlyMap<string, readonly TunnelCertificate[]> = new Map();
  readonly #warned = new Set<string>();

  /** @param peer what a tunnel's peer has shown */
  constructor(logger: Logger, peer: (tunnel: string) => PeerCertificate | undefined) {
    this.#logger = logger;
    this.#peer = peer;
    this.#timer = setInterval(() => this.#look(), LOOK_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  watch(tunnels: readonly CertifiedTunnel[]): void {
    this.#tunnels = tunnels;
    this.#look();
  }

  /** Of a tunnel; none with a pre-shared key. */
  of(tunnel: string): readonly TunnelCertificate[] {
    const peer = this.#peer(tunnel);
    const read = this.#read.get(tunnel) ?? [];
    return peer === undefined ? read : [...read, { whose: 'peer', ...peer }];
  }

  /** Warns of what the peer of a tunnel has shown. */
  lookAt(tunnel: string, now = Date.now()): void {
    for (const certificate of this.of(tunnel)) this.#warn(tunnel, certificate, now);
  }

  #look(): void {
    this.#read = new Map(this.#tunnels.map(({ name, ike }) => [name, certificatesOf(ike)]));
    for (const { name } of this.#tunnels) this.lookAt(name);
  }

  #warn(tunnel: string, { whose, subject, notAfterMs }: TunnelCertificate, now: number): void {
    const leftMs = notAfterMs - now;
    const step = WARNINGS_MS.findLastIndex((before) => leftMs <= before);
    const key = `${tunnel} ${whose} ${subject} ${notAfterMs} ${step}`;
    if (step < 0 || this.#warned.has(key)) return;
    this.#warned.add(key);
    const end = new Date(notAfterMs).toISOString();
    const when = leftMs <= 0 ? `has ended ${end}` : `ends ${end}, within ${Math.ceil(leftMs / DAY_MS)} days`;
    this.#logger.warn({ tunnel, whose, end }, `${tunnel}: ${WORDS[whose]} (${subject}) ${when}`);
  }
}

/** What cannot be read is told elsewhere, by the tunnel's state. */
function certificatesOf({ authentication }: IkeConfig): TunnelCertificate[] {
  if (authentication.kind === 'psk') return [];
  const { file, ca } = authentication.certificate;
  const read = (path: string, whose: TunnelCertificate['whose'], most?: number): TunnelCertificate[] => {
    try {
      return readCertificates(path)
        .slice(0, most)
        .map(({ subject, validTo }) => ({
          whose,
          subject: onOneLine(subject),
          notAfterMs: Date.parse(validTo),
        }));
    } catch {
      return [];
    }
  };
  return [...read(file, 'own', 1), ...ca.flatMap((path) => read(path, 'authority'))];
}
