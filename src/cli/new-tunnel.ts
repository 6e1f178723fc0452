/**
 * What a new tunnel needs: from the flags, and on a terminal from answers. Only what is asked for here is judged here;
 * the gateway judges the whole.
 */
import { isIP } from 'node:net';
import { ask } from './terminal.ts';

/** Values of a tunnel as given on the command line; keys as in the configuration file. */
export interface TunnelWishes {
  readonly site?: string | undefined;
  readonly name?: string | undefined;
  readonly type?: string | undefined;
  readonly local?: string | undefined;
  readonly remote?: string | undefined;
  readonly key?: number | undefined;
  readonly device?: string | undefined;
  readonly next_hop?: readonly string[] | undefined;
  readonly interface_address?: readonly string[] | undefined;
  readonly priority?: number | undefined;
  readonly mtu?: number | undefined;
  readonly local_id?: string | undefined;
  readonly remote_id?: string | undefined;
  readonly psk_file?: string | undefined;
  readonly certificate?: string | undefined;
  readonly certificate_key?: string | undefined;
  readonly ca?: readonly string[] | undefined;
  readonly ike_proposal?: readonly string[] | undefined;
  readonly esp_proposal?: readonly string[] | undefined;
  readonly start?: string | undefined;
}

type Wish = keyof TunnelWishes;

interface Question {
  readonly wish: Wish;
  readonly text: string;
  readonly check: (answer: string) => string | undefined;
  /** For which types; absent: for all. */
  readonly types?: readonly string[];
  /** Whether it is to be asked at all, by what is known. */
  readonly when?: (wishes: TunnelWishes) => boolean;
  /** An empty answer is one. */
  readonly optional?: true;
}

const TYPES = ['gre', 'ipsec', 'interconnect', 'device'];
const NAME = /^[A-Za-z0-9][A-Za-z0-9_-]*$/;

const address = (answer: string): string | undefined =>
  isIP(answer) === 0 ? `${answer} is not an address` : undefined;
const addressOrAny = (answer: string): string | undefined => (answer === 'any' ? undefined : address(answer));
const identity = (answer: string): string | undefined =>
  answer === '' ? 'a name, an address or the subject of a certificate, please' : undefined;
const path = (answer: string): string | undefined =>
  answer.startsWith('/') ? undefined : 'an absolute path, please';
const isCertified = ({ certificate }: TunnelWishes): boolean => certificate !== undefined;
const interfaceAddress = (answer: string): string | undefined => {
  const [host = '', length = ''] = answer.split('/');
  const isRight = isIP(host) !== 0 && /^\d{1,3}$/.test(length);
  return isRight ? undefined : `${answer} is not an address with its prefix length, such as 172.20.0.1/30`;
};

/** In the order in which they are asked. */
const QUESTIONS: readonly Question[] = [
  {
    wish: 'site',
    text: 'Site',
    check: (answer) => (NAME.test(answer) ? undefined : 'letters, digits, - and _, please'),
  },
  {
    wish: 'name',
    text: 'Name of the tunnel',
    check: (answer) =>
      NAME.test(answer) && answer.length <= 15 ? undefined : 'at most 15 letters, digits, - and _, please',
  },
  {
    wish: 'type',
    text: `Type (${TYPES.join(', ')})`,
    check: (answer) => (TYPES.includes(answer) ? undefined : `one of ${TYPES.join(', ')}, please`),
  },
  { wish: 'local', text: 'Address of this host', types: ['gre', 'ipsec'], check: address },
  { wish: 'remote', text: 'Address of the other end', types: ['gre'], check: address },
  {
    wish: 'remote',
    text: 'Address of the other end, or any',
    types: ['ipsec'],
    check: addressOrAny,
  },
  { wish: 'local_id', text: 'Identity of this end', types: ['ipsec'], check: identity },
  { wish: 'remote_id', text: 'Identity of the other end', types: ['ipsec'], check: identity },
  {
    wish: 'psk_file',
    text: 'File of the pre-shared key',
    types: ['ipsec'],
    when: (wishes) => !isCertified(wishes),
    check: path,
  },
  {
    wish: 'certificate_key',
    text: "File of the certificate's private key",
    types: ['ipsec'],
    when: isCertified,
    check: path,
  },
  {
    wish: 'ca',
    text: "File of the authority that signs the other end's certificate",
    types: ['ipsec'],
    when: isCertified,
    check: path,
  },
  {
    wish: 'key',
    text: 'GRE key (empty: none)',
    types: ['gre'],
    optional: true,
    check: (answer) =>
      /^\d{1,10}$/.test(answer) && Number(answer) <= 0xffffffff
        ? undefined
        : 'a number up to 4294967295, please',
  },
  {
    wish: 'device',
    text: 'Interface',
    types: ['interconnect', 'device'],
    check: (answer) => (/^\S{1,15}$/.test(answer) ? undefined : 'the name of an interface, please'),
  },
  {
    wish: 'interface_address',
    text: "The gateway's address in the tunnel, with prefix length",
    types: ['interconnect'],
    check: interfaceAddress,
  },
  {
    wish: 'interface_address',
    text: "The gateway's address in the tunnel, with prefix length (empty: none)",
    types: ['gre', 'ipsec', 'device'],
    optional: true,
    check: interfaceAddress,
  },
  {
    wish: 'next_hop',
    text: "The site's router (empty: the site is on link)",
    types: ['interconnect'],
    optional: true,
    check: address,
  },
];

const NUMBERS: readonly Wish[] = ['key', 'priority', 'mtu'];
const LISTS: readonly Wish[] = ['interface_address', 'next_hop', 'ca'];

/** What no tunnel of the type can do without. */
export function missingWishes(wishes: TunnelWishes): Wish[] {
  return open(wishes)
    .filter(({ optional }) => optional !== true)
    .map(({ wish }) => wish);
}

/** Asks for everything that is missing, and for what is often wanted. */
export async function askForWishes(wishes: TunnelWishes): Promise<TunnelWishes> {
  let known = wishes;
  const asked = new Set<Question>();
  for (;;) {
    const question = open(known).find((candidate) => !asked.has(candidate));
    if (question === undefined) return known;
    asked.add(question);
    const { wish, text, check, optional } = question;
    const answer = await ask(
      text,
      (given) => (given === '' && optional === true ? undefined : check(given)),
      optional === true ? '' : undefined,
    );
    if (answer === '') continue;
    const value = NUMBERS.includes(wish) ? Number(answer) : LISTS.includes(wish) ? [answer] : answer;
    known = { ...known, [wish]: value };
  }
}

/** The tunnel as the configuration has it. */
export function tunnelOf(wishes: TunnelWishes): { name: string } & Record<string, unknown> {
  const { site: _, local_id, remote_id, psk_file, certificate, certificate_key, ca, ...others } = wishes;
  const { ike_proposal, esp_proposal, start, ...common } = others;
  const ike = known({
    local_id,
    remote_id,
    psk: psk_file === undefined ? undefined : { file: psk_file },
    certificate:
      certificate === undefined ? undefined : known({ file: certificate, key: certificate_key, ca }),
    proposals: ike_proposal,
    start,
  });
  const child = known({ proposals: esp_proposal });
  return known({
    ...common,
    ike: Object.keys(ike).length === 0 ? undefined : ike,
    child: Object.keys(child).length === 0 ? undefined : child,
  }) as { name: string } & Record<string, unknown>;
}

/** What is there; a list of one as that one. */
function known(values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const there = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(
    there.map(([key, value]) => [key, Array.isArray(value) && value.length === 1 ? value[0] : value]),
  );
}

/** Questions that are not answered, as far as they can be told already. */
function open(wishes: TunnelWishes): Question[] {
  return QUESTIONS.filter(
    ({ wish, types, when }) =>
      wishes[wish] === undefined &&
      (when === undefined || when(wishes)) &&
      (types === undefined || (wishes.type !== undefined && types.includes(wishes.type))),
  );
}
