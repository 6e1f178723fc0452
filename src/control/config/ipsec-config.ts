/** IPsec: how the ends of a tunnel authenticate, and what they agree on. A part of `config.ts`. */

/** Where a secret is; never the secret itself. */
export type SecretPlace = { readonly file: string } | { readonly env: string };

export interface CertificateConfig {
  /** Paths of PEM files: our certificate with its chain, its private key, and who must have signed the peer's. */
  readonly file: string;
  readonly key: string;
  readonly ca: readonly string[];
}

export interface IkeConfig {
  readonly localId: string;
  readonly remoteId: string;
  readonly authentication:
    | { readonly kind: 'psk'; readonly secret: SecretPlace }
    | { readonly kind: 'certificate'; readonly certificate: CertificateConfig };
  readonly proposals: readonly string[];
  readonly rekeyMs: number;
  /** After so long without a packet the peer is asked whether it lives. */
  readonly dpdMs: number;
  readonly start: 'initiate' | 'respond' | 'both';
}

export interface ChildConfig {
  readonly proposals: readonly string[];
  readonly replayProtection: boolean;
  readonly rekeyMs: number;
}

/** What all tunnels have in common. */
export interface IpsecConfig {
  /** VICI socket of the host's IKE daemon, for what the kernel encrypts; null: one of our own. */
  readonly daemonSocket: string | null;
}
