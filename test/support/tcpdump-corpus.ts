/**
 * The captures of tcpdump's own tests: packets of hundreds of protocols, many of them made to crash decoders.
 *
 * They come from Debian's source package, by apt, from the same archives as this machine's packages. Most machines
 * have no `deb-src` lines, so apt gets lists of sources and a state of its own under `build/`; what it fetches is
 * verified as always. Fetched once, kept in `build/tcpdump-captures`.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { capturedFrame, LINKTYPE_RAW } from '../../src/device/capture.ts';
import { readCapture } from '../../src/device/capture-file.ts';

const BUILD = join(import.meta.dirname, '../../build');
const CAPTURES = join(BUILD, 'tcpdump-captures');
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
/** Fewer would mean that the package has changed and this must be looked at. */
const LEAST_CAPTURES = 500;

const LINKTYPE_NULL = 0;
const LINKTYPE_PPP = 9;
/** What BSDs and old files have for raw IP. */
const LINKTYPE_RAW_BSD = 12;
const LINKTYPE_C_HDLC = 104;
/** Of these an IP packet, or what else they carry, begins behind four bytes. */
const FOUR_BYTE_LINKS = [LINKTYPE_NULL, LINKTYPE_PPP, LINKTYPE_C_HDLC];

export interface CorpusPacket {
  readonly file: string;
  /** Begins with an Ethernet header, or with what shall stand behind one. */
  readonly layout: 'ethernet' | 'ip';
  readonly bytes: Uint8Array;
}

/** All packets of all captures, whatever their link type, in the order of the files' names. */
export function tcpdumpPackets(): CorpusPacket[] {
  return captureFiles().flatMap((file) =>
    readCapture(readFileSync(join(CAPTURES, file))).packets.flatMap((packet): CorpusPacket[] => {
      const frame = capturedFrame(packet);
      if (frame !== undefined) return [{ file, ...frame }];
      const { data, linkType } = packet;
      const isRaw = linkType === LINKTYPE_RAW || linkType === LINKTYPE_RAW_BSD;
      const bytes = data.subarray(FOUR_BYTE_LINKS.includes(linkType) ? 4 : 0);
      // Frames of other links are as good as any garbage behind an Ethernet header.
      return bytes.length > 0 ? [{ file, layout: 'ip', bytes: isRaw ? data : bytes }] : [];
    }),
  );
}

/** Names of the capture files, sorted. Fetches them if they are not there. Throws with what apt said if it cannot. */
function captureFiles(): string[] {
  try {
    return readdirSync(CAPTURES).sort();
  } catch {
    fetchCaptures();
    return readdirSync(CAPTURES).sort();
  }
}

function fetchCaptures(): void {
  const work = join(BUILD, `tcpdump-source.${process.pid}`);
  const captures = join(work, 'captures');
  try {
    for (const folder of ['lists/partial', 'cache', 'no-more-sources', 'captures']) {
      mkdirSync(join(work, folder), { recursive: true });
    }
    writeFileSync(join(work, 'sources.list'), sourcesOfThisMachine());
    const own = [
      `Dir::Etc::sourcelist=${join(work, 'sources.list')}`,
      `Dir::Etc::sourceparts=${join(work, 'no-more-sources')}`,
      `Dir::State::lists=${join(work, 'lists')}`,
      `Dir::Cache=${join(work, 'cache')}`,
      // The user apt downloads as may not be able to write here.
      'APT::Sandbox::User=root',
    ].flatMap((option) => ['-o', option]);
    run(work, 'apt-get', [...own, 'update']);
    run(work, 'apt-get', [...own, 'source', '--download-only', 'tcpdump']);
    const archive = readdirSync(work).find((name) => /\.orig\.tar\.[a-z0-9]+$/.test(name));
    if (archive === undefined) throw new Error('apt-get has downloaded no original source archive');
    run(work, 'tar', [
      ...['--extract', `--file=${archive}`, `--directory=${captures}`, '--strip-components=2'],
      ...['--wildcards', '*/tests/*.pcap', '*/tests/*.pcapng'],
    ]);
    const found = readdirSync(captures).length;
    if (found < LEAST_CAPTURES) throw new Error(`only ${found} captures are in ${archive}`);
    renameSync(captures, CAPTURES);
  } catch (error) {
    throw new Error(
      `the captures of Debian's source package tcpdump could not be fetched from the archives that apt uses on this machine: ${(error as Error).message}`,
    );
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** `deb-src` lines for the Debian archives that this machine's packages come from. */
function sourcesOfThisMachine(): string {
  let lines = debianSources();
  if (lines.length === 0) {
    // A new machine's apt does not know yet whose its archives are.
    run('/', 'apt-get', ['update']);
    lines = debianSources();
  }
  if (lines.length === 0) throw new Error('apt knows no package lists of Debian');
  return `${lines.join('\n')}\n`;
}

function debianSources(): string[] {
  const lines = run('/', 'apt-get', [
    ...['indextargets', '--format', `deb-src [signed-by=${KEYRING}] $(REPO_URI) $(RELEASE) $(COMPONENT)`],
    ...['Created-By: Packages', 'Origin: Debian', 'Label: Debian', 'Component: main'],
  ]);
  return [...new Set(lines.split('\n'))].filter((line) => line !== '');
}

function run(directory: string, command: string, args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: directory,
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C' },
  });
  if (error !== undefined) throw error;
  if (status === 0) return stdout;
  throw new Error(`${command} ${args.slice(-3).join(' ')}: ${stderr.trim() || `status ${status}`}`);
}
