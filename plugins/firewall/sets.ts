/**
 * Sets of the options: prefixes, written out or in a file, and ports. Rules name them: `ip.src in @servers`.
 *
 * A file has one address, prefix or range (`10.0.0.1..10.0.0.9`) a line; `#` begins a comment.
 */
import { basename, isAbsolute } from 'node:path';
import { FileKindError, readRegularFile } from '../../src/plugin/regular-file.ts';
import type { AddressValues } from './condition.ts';
import type { NamedSet } from './names.ts';
import { Mapping, type Problems } from './options-check.ts';
import { numberLine, rangesOf } from './ranges.ts';
import { mergeAddresses, readAddresses, readNumber } from './values.ts';

/** Lines that all files may have: what can be read and compiled in some seconds, and looked through by every check. */
const MAX_LINES = 30_000;
/** Far more than so many lines have, comments included. */
const MAX_FILE_BYTES = 4 * 1024 * 1024;
const PORTS = numberLine(65535);
const SET_NAME = /^[\w.-]+$/;

/** Reads a file as text; throws as `readRegularFile` does. */
export type ReadFile = (path: string) => string;

/** How many lines may still be read. */
interface Room {
  lines: number;
}

export const readText: ReadFile = (path) => readRegularFile(path, MAX_FILE_BYTES).content.toString('utf8');

/** The sets of the options by name. */
export function readSets(
  entries: Mapping,
  problems: Problems,
  readFile: ReadFile = readText,
): ReadonlyMap<string, NamedSet> {
  const sets = new Map<string, NamedSet>();
  const room = { lines: MAX_LINES };
  for (const [name, value] of entries.entries('sets')) {
    const path = `${entries.at('sets')}.${name}`;
    if (!SET_NAME.test(name)) {
      problems.add(path, 'the name of a set has letters, digits, "_", "-" and "." only');
      continue;
    }
    const mapping = new Mapping(value, path, ['prefixes', 'file', 'ports'], problems);
    const file = absolutePath(mapping, problems);
    const hasPrefixes = mapping.has('prefixes') || mapping.has('file');
    if (mapping.has('ports') === hasPrefixes) {
      problems.add(path, 'a set has "ports", or "prefixes" and "file", or one of these two');
    } else if (hasPrefixes) {
      sets.set(name, { kind: 'prefixes', values: prefixes(mapping, file, problems, readFile, room) });
    } else {
      sets.set(name, { kind: 'ports', values: ports(mapping, problems) });
    }
  }
  return sets;
}

/** The file of a set. The daemon's working directory is nothing that a path should depend on. */
function absolutePath(mapping: Mapping, problems: Problems): string | undefined {
  const file = mapping.text('file');
  if (file === undefined || isAbsolute(file)) return file;
  problems.add(
    mapping.at('file'),
    `${JSON.stringify(file)} is relative, and nobody could say to what; write an absolute path such as /etc/homeward/${basename(file)}`,
  );
  return undefined;
}

function prefixes(
  mapping: Mapping,
  file: string | undefined,
  problems: Problems,
  readFile: ReadFile,
  room: Room,
): AddressValues {
  const all: AddressValues[] = [];
  mapping.list('prefixes').forEach((item, index) => {
    const path = `${mapping.at('prefixes')}[${index}]`;
    const values = problems.attempt(path, () => addressesOf(String(item)));
    if (values !== undefined) all.push(values);
  });
  const values = file === undefined ? [] : fromFile(file, mapping.at('file'), problems, readFile, room);
  for (const each of values) all.push(each);
  return all.length === 0 ? { ipv4: [], ipv6: [] } : mergeAddresses(all);
}

/** An address, a prefix or a range. */
function addressesOf(text: string): AddressValues {
  const dots = text.indexOf('..');
  if (dots < 0) return readAddresses(text, 0, undefined, 0);
  return readAddresses(text.slice(0, dots), 0, { text: text.slice(dots + 2), at: dots + 2 }, 0);
}

function fromFile(
  file: string,
  path: string,
  problems: Problems,
  readFile: ReadFile,
  room: Room,
): AddressValues[] {
  let text: string;
  try {
    text = readFile(file);
  } catch (error) {
    const why = (error as Error).message;
    problems.add(path, error instanceof FileKindError ? `${file} ${why}` : `${file} cannot be read: ${why}`);
    return [];
  }
  const lines = text.replace(/\n$/, '').split('\n');
  if (lines.length > room.lines) {
    const others = room.lines < MAX_LINES ? `, and files before it ${MAX_LINES - room.lines}` : '';
    problems.add(
      path,
      `${file} has ${lines.length} lines${others}; all files may have ${MAX_LINES} together`,
    );
    return [];
  }
  room.lines -= lines.length;
  const all: AddressValues[] = [];
  lines.forEach((line, index) => {
    const hash = line.indexOf('#');
    const item = (hash < 0 ? line : line.slice(0, hash)).trim();
    if (item === '') return;
    const values = problems.attempt(path, () => addressesOf(item), `${file}:${index + 1}: `);
    if (values !== undefined) all.push(values);
  });
  return all;
}

function ports(mapping: Mapping, problems: Problems): readonly number[] {
  const pairs: [number, number][] = [];
  mapping.list('ports').forEach((item, index) => {
    const path = `${mapping.at('ports')}[${index}]`;
    problems.attempt(path, () => {
      const text = String(item);
      const dots = text.indexOf('..');
      const low = readNumber(dots < 0 ? text : text.slice(0, dots), 0, 65535, undefined);
      const high = dots < 0 ? low : readNumber(text.slice(dots + 2), dots + 2, 65535, undefined);
      if (high < low) problems.add(path, `the range ${text} is empty`);
      else pairs.push([low, high]);
    });
  });
  return rangesOf(PORTS, pairs);
}
