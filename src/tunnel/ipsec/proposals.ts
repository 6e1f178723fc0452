/**
 * Proposals: what one end offers for an IKE SA or for ESP, in strongSwan's keywords joined by `-`.
 *
 * ```
 *  IKE   encryption  [integrity]  [prf]  key exchange        aes256gcm16-prfsha384-ecp384, aes256-sha256-modp2048
 *  ESP   encryption  [integrity]         [key exchange]      aes256gcm16, aes256-sha256-ecp256
 * ```
 *
 * Encryption that authenticates (AEAD: GCM, CCM, ChaCha20) takes no integrity, and in IKE needs a PRF of its own
 * (RFC 5282); other encryption needs integrity, whose hash is the PRF by default (RFC 7296, section 3.3).
 *
 * The daemon loads proposals with algorithms that it does not have, and fails only when the peer takes one. So both is
 * looked at here: the words, by {@link parseProposal}, and the daemon's `get-algorithms`, by {@link missingAlgorithms}.
 * What is known to be broken (DES, MD5, groups below 2048 bits) is not among the words.
 */

export type ProposalKind = 'ike' | 'esp';

/** Sections of the daemon's `get-algorithms`. */
type AlgorithmKind = 'encryption' | 'aead' | 'integrity' | 'prf' | 'ke';

export interface Algorithm {
  readonly kind: AlgorithmKind;
  /** As the daemon calls it. */
  readonly name: string;
  readonly keyword: string;
}

export interface Proposal {
  readonly text: string;
  readonly algorithms: readonly Algorithm[];
}

/** A proposal, or what is wrong with it and what would be right. */
export type ProposalReading = { readonly proposal: Proposal } | { readonly problem: string };

/** Keywords by kind; the first of a kind is what messages suggest. */
const KEYWORDS: Readonly<Record<AlgorithmKind, Readonly<Record<string, string>>>> = {
  aead: {
    aes256gcm16: 'AES_GCM_16',
    aes192gcm16: 'AES_GCM_16',
    aes128gcm16: 'AES_GCM_16',
    aes256ccm16: 'AES_CCM_16',
    aes192ccm16: 'AES_CCM_16',
    aes128ccm16: 'AES_CCM_16',
    chacha20poly1305: 'CHACHA20_POLY1305',
  },
  encryption: {
    aes256: 'AES_CBC',
    aes192: 'AES_CBC',
    aes128: 'AES_CBC',
    aes256ctr: 'AES_CTR',
    aes192ctr: 'AES_CTR',
    aes128ctr: 'AES_CTR',
    camellia256: 'CAMELLIA_CBC',
    camellia128: 'CAMELLIA_CBC',
  },
  integrity: {
    sha256: 'HMAC_SHA2_256_128',
    sha384: 'HMAC_SHA2_384_192',
    sha512: 'HMAC_SHA2_512_256',
    sha1: 'HMAC_SHA1_96',
    aesxcbc: 'AES_XCBC_96',
    aescmac: 'AES_CMAC_96',
  },
  prf: {
    prfsha384: 'PRF_HMAC_SHA2_384',
    prfsha256: 'PRF_HMAC_SHA2_256',
    prfsha512: 'PRF_HMAC_SHA2_512',
    prfsha1: 'PRF_HMAC_SHA1',
    prfaesxcbc: 'PRF_AES128_XCBC',
    prfaescmac: 'PRF_AES128_CMAC',
  },
  ke: {
    ecp384: 'ECP_384',
    ecp256: 'ECP_256',
    ecp521: 'ECP_521',
    curve25519: 'CURVE_25519',
    x25519: 'CURVE_25519',
    curve448: 'CURVE_448',
    x448: 'CURVE_448',
    ecp256bp: 'ECP_256_BP',
    ecp384bp: 'ECP_384_BP',
    ecp512bp: 'ECP_512_BP',
    modp2048: 'MODP_2048',
    modp3072: 'MODP_3072',
    modp4096: 'MODP_4096',
    modp6144: 'MODP_6144',
    modp8192: 'MODP_8192',
  },
};

/** What the daemon calls key exchange methods: `dh` up to 5.9, `ke` since 6.0. */
const KEY_EXCHANGE_SECTIONS = ['ke', 'dh'];

const KINDS = Object.keys(KEYWORDS) as AlgorithmKind[];
const WORDS: Readonly<Record<AlgorithmKind, string>> = {
  aead: 'encryption',
  encryption: 'encryption',
  integrity: 'integrity',
  prf: 'PRF',
  ke: 'key exchange',
};

/** What a tunnel offers unless it says otherwise, the preferred first. */
export const DEFAULT_PROPOSALS: Readonly<Record<ProposalKind, readonly string[]>> = {
  ike: ['aes256gcm16-prfsha384-ecp384', 'aes128gcm16-prfsha256-ecp256', 'aes256-sha256-modp2048'],
  esp: ['aes256gcm16', 'aes128gcm16', 'aes256-sha256'],
};

/** Every keyword, for "did you mean". */
export const PROPOSAL_KEYWORDS: readonly string[] = KINDS.flatMap((kind) => Object.keys(KEYWORDS[kind]));

/**
 * Reads one proposal.
 *
 * @param suggest what an unknown word may have been meant to be
 */
export function parseProposal(
  kind: ProposalKind,
  text: string,
  suggest: (word: string, known: readonly string[]) => string | undefined,
): ProposalReading {
  const example = DEFAULT_PROPOSALS[kind][0]!;
  const problem = (what: string, remedy = `write one such as ${example}`): ProposalReading => ({
    problem: `${JSON.stringify(text)} ${what}; ${remedy}`,
  });
  const algorithms: Algorithm[] = [];
  for (const keyword of text.split('-')) {
    const of = KINDS.find((candidate) => Object.hasOwn(KEYWORDS[candidate], keyword));
    if (of === undefined) {
      const near = suggest(keyword, PROPOSAL_KEYWORDS);
      return problem(
        `has the unknown algorithm ${JSON.stringify(keyword)}`,
        near === undefined ? `write one such as ${example}` : `did you mean ${near}?`,
      );
    }
    algorithms.push({ kind: of, name: KEYWORDS[of][keyword]!, keyword });
  }
  const first = (...kinds: AlgorithmKind[]) => algorithms.find((algorithm) => kinds.includes(algorithm.kind));
  const encryption = first('aead', 'encryption');
  if (encryption === undefined) return problem('has no encryption', `put aes256gcm16 in front, say`);
  const mixed =
    algorithms.some(({ kind: one }) => one === 'aead') &&
    algorithms.some(({ kind: one }) => one === 'encryption');
  if (mixed) {
    return problem('mixes encryption with and without authentication of its own', 'write two proposals');
  }
  const integrity = first('integrity');
  const prf = first('prf');
  if (encryption.kind === 'aead' && integrity !== undefined) {
    return problem(
      `has integrity (${integrity.keyword}) beside ${encryption.keyword}, which authenticates itself`,
      `leave ${integrity.keyword} out`,
    );
  }
  if (encryption.kind === 'encryption' && integrity === undefined) {
    return problem(
      `has ${encryption.keyword} without integrity`,
      `add one such as sha256, or write aes256gcm16`,
    );
  }
  if (kind === 'esp' && prf !== undefined) {
    return problem(`has a PRF (${prf.keyword}), which ESP does not use`, `leave ${prf.keyword} out`);
  }
  if (kind === 'ike' && encryption.kind === 'aead' && prf === undefined) {
    return problem(`has ${encryption.keyword} without a PRF`, 'add one such as prfsha384');
  }
  if (kind === 'ike' && first('ke') === undefined) {
    return problem('has no key exchange', 'add one such as ecp384');
  }
  return { proposal: { text, algorithms } };
}

/**
 * The first algorithm of a proposal that a daemon lacks, in words; undefined if it has them all.
 *
 * @param available the daemon's `get-algorithms`
 */
export function missingAlgorithms(
  proposal: Proposal,
  available: ReadonlyMap<string, readonly string[]>,
): string | undefined {
  const missing = proposal.algorithms.find(({ kind, name }) => {
    const sections = kind === 'ke' ? KEY_EXCHANGE_SECTIONS : [kind];
    return !sections.some((section) => available.get(section)?.includes(name) === true);
  });
  if (missing === undefined) return undefined;
  return `the IKE daemon has no ${WORDS[missing.kind]} ${missing.keyword} (${missing.name}), which ${proposal.text} needs`;
}

/** As {@link parseProposal} of what was checked before. */
export function knownProposal(kind: ProposalKind, text: string): Proposal {
  const reading = parseProposal(kind, text, () => undefined);
  if ('proposal' in reading) return reading.proposal;
  throw new Error(reading.problem);
}
