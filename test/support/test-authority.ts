/** An authority of a test's own that signs certificates, also such as have ended. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const DAY_MS = 24 * 3_600_000;
const CURVE = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
/** Makes certificates and signatures that take more than a packet of IKE. */
const RSA = ['-newkey', 'rsa:3072', '-nodes'];

export interface IssueOptions {
  /** Alternative names as OpenSSL has them, such as `DNS:paris.example`; default: `DNS:` and the name. */
  readonly names?: readonly string[];
  /** Until it ends; negative: it has ended. */
  readonly endsInMs?: number;
  readonly rsa?: boolean;
}

export class TestAuthority {
  readonly #directory: string;
  /** Path of its own certificate. */
  readonly certificate: string;
  #issued = 0;

  constructor(directory: string, name = 'Test Authority') {
    this.#directory = join(directory, name.replaceAll(' ', '-').toLowerCase());
    mkdirSync(this.#directory, { recursive: true });
    this.certificate = this.#path('ca.pem');
    writeFileSync(this.#path('index.txt'), '');
    writeFileSync(this.#path('ca.conf'), configuration(this.#directory));
    const extensions = ['-addext', 'basicConstraints=critical,CA:true', '-addext', 'keyUsage=keyCertSign'];
    const files = ['-keyout', this.#path('ca.key'), '-out', this.certificate];
    openssl('req', '-x509', ...CURVE, '-days', '3650', '-subj', `/CN=${name}`, ...extensions, ...files);
  }

  /** Paths of a certificate with a key of its own, both PEM; what has the same name is written over. */
  issue(
    name: string,
    { names = [`DNS:${name}`], endsInMs = 365 * DAY_MS, rsa = false }: IssueOptions = {},
  ): { certificate: string; key: string } {
    const [certificate, key] = [this.#path(`${name}.pem`), this.#path(`${name}.key`)];
    const request = this.#path(`${name}.csr`);
    openssl('req', ...(rsa ? RSA : CURVE), '-subj', `/CN=${name}`, '-keyout', key, '-out', request);
    const end = Date.now() + endsInMs;
    const times = ['-startdate', generalized(end - 400 * DAY_MS), '-enddate', generalized(end)];
    const extensions = this.#path('extensions.conf');
    writeFileSync(extensions, `subjectAltName = ${names.join(', ')}\n`);
    writeFileSync(this.#path('serial'), `${(++this.#issued).toString(16).padStart(4, '0')}\n`);
    const config = ['-config', this.#path('ca.conf'), '-extfile', extensions];
    openssl('ca', '-batch', '-notext', ...config, ...times, '-in', request, '-out', certificate);
    return { certificate, key };
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }
}

function configuration(directory: string): string {
  return `[ca]
default_ca = test
[test]
database = ${directory}/index.txt
serial = ${directory}/serial
new_certs_dir = ${directory}
certificate = ${directory}/ca.pem
private_key = ${directory}/ca.key
default_md = sha256
unique_subject = no
policy = any
[any]
commonName = supplied
`;
}

/** `YYYYMMDDHHMMSSZ` */
function generalized(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19).replace(/[-T:]/g, '')}Z`;
}

function openssl(...args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
