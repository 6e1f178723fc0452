/**
 * The part of the configuration file that says where the API listens, and who may use it over the network. `schema.ts`
 * puts it into the whole; docs/api.md describes it.
 */
import { formatAddress, parseAddress } from '../../wire/address.ts';
import { found, integer, listOf, map, oneOf, show, text } from './leaves.ts';

const ROLES = ['read', 'admin'] as const;

/** A file that holds a secret or a certificate: named, never written into the configuration. */
const filePath = text(
  { what: 'an absolute path of a file', write: 'one such as /etc/homeward/api/key.pem' },
  (value) => found(/^\/.*[^/]$/.test(value) && !value.includes('\0') ? value : undefined),
);

const token = map('a token', {
  name: text({ what: 'a name', write: 'letters, digits, - and _, such as monitoring' }, (value) =>
    found(/^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/.test(value) ? value : undefined),
  ),
  role: oneOf(ROLES),
  file: filePath,
});

const listen = map('network settings of the API', {
  address: text({ what: 'an address', write: 'one of this host such as 192.0.2.1' }, (value) => {
    const address = parseAddress(value);
    return found(address === undefined ? undefined : formatAddress(address));
  }),
  port: integer(1, 65535),
  certificate: filePath,
  key: filePath,
  tokens: listOf(token, 'a list of tokens').superRefine((tokens, context) => {
    const names = tokens.map(({ name }) => name);
    const twice = names.find((name, at) => names.indexOf(name) !== at);
    if (tokens.length === 0) {
      context.addIssue({
        code: 'custom',
        message: 'is empty; write at least one token, nobody could use the API without',
      });
    } else if (twice !== undefined) {
      context.addIssue({ code: 'custom', message: `${twice} names two tokens; give each a name of its own` });
    }
  }),
});

export const api = map('API settings', {
  socket: text({ what: 'an absolute path', write: 'one such as /run/homeward/api.sock' }, (value) => {
    if (!value.startsWith('/') || value.endsWith('/')) return undefined;
    // sun_path of sockaddr_un has room for 107 bytes and the final zero.
    if (Buffer.byteLength(value) <= 107) return { value };
    return { problem: `${show(value)} is too long for a Unix socket; write a path of at most 107 bytes` };
  }).optional(),
  listen: listen.nullable().default(null),
});
