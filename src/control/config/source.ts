/**
 * The configuration file as parsed YAML: what stands where. Everything that reports a problem asks here for
 * line, column and the words of a path.
 */
import { readFileSync } from 'node:fs';
import {
  type Document,
  isAlias,
  isCollection,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  visit,
} from 'yaml';
import type { ConfigPath, ConfigSource } from './config.ts';
import { ConfigError, type Problem } from './errors.ts';

/** Far more than a thousand sites need. */
const MAX_FILE_BYTES = 4 * 1024 * 1024;
/** How often aliases may repeat a part of the file: enough for templates, too little for a bomb. */
const MAX_ALIASES = 1000;
/** How deep lists and maps may stand in each other: far more than anybody can read, and far less than a stack holds. */
const MAX_DEPTH = 64;
const TOO_DEEP = `lists and maps stand in each other more than ${MAX_DEPTH} deep here; look for brackets or dashes that are too many`;

/** What the parser does not say in words of a configuration file. */
const SYNTAX_TEXTS: Readonly<Record<string, string>> = {
  DUPLICATE_KEY: 'this key stands here twice; write each key once',
  RESOURCE_EXHAUSTION: TOO_DEEP,
  MULTIPLE_DOCS: 'a second YAML document begins here; write one document',
  TAB_AS_INDENT: 'a tab is no indentation; write spaces',
  TAG_RESOLVE_FAILED: 'tags such as !this have no meaning here; leave them out',
};

/** What wrong indentation mostly gives, in the parser's words. */
const INDENTATION_FAULTS: ReadonlySet<string> = new Set([
  'BAD_INDENT',
  'BLOCK_AS_IMPLICIT_KEY',
  'MISSING_CHAR',
]);

/** Why a file cannot be read, in words. */
const READ_TEXTS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EISDIR: 'is a directory',
  EACCES: 'may not be read by this user',
};

/** A file of YAML without syntax errors. */
export class YamlSource implements ConfigSource {
  readonly file: string;
  readonly #document: Document;
  readonly #lines: LineCounter;

  /** @throws ConfigError for text that is not one YAML document. */
  constructor(text: string, file: string) {
    this.file = file;
    this.#lines = new LineCounter();
    this.#document = parseDocument(text, {
      lineCounter: this.#lines,
      prettyErrors: false,
      schema: 'core',
      stringKeys: true,
    });
    // Only the first: the others are mostly its consequences.
    const fault = this.#document.errors[0] ?? this.#document.warnings[0];
    if (fault) this.#refuse(fault.pos[0], syntaxText(fault));
    visit(this.#document, {
      Collection: (_, node, path) => {
        if (path.filter(isCollection).length >= MAX_DEPTH) this.#refuse(node.range?.[0] ?? 0, TOO_DEEP);
      },
      Alias: (_, alias) => {
        if (alias.resolve(this.#document)) return;
        const { source } = alias;
        this.#refuse(alias.range?.[0] ?? 0, `*${source} is not known; write &${source} at an earlier value`);
      },
    });
  }

  #refuse(offset: number, text: string): never {
    const line = text.split('\n')[0]!;
    throw new ConfigError([{ ...this.#place(offset), file: this.file, path: '', text: line }]);
  }

  /**
   * The content as plain JavaScript values.
   *
   * @throws ConfigError if aliases repeat too much.
   */
  content(): unknown {
    try {
      return this.#document.toJS({ maxAliasCount: MAX_ALIASES });
    } catch (error) {
      throw new ConfigError([
        this.problem([], `is not usable YAML: ${(error as Error).message.split('\n')[0]}`),
      ]);
    }
  }

  locate(path: ConfigPath): { line: number; column: number } {
    return this.#place(this.#nearest(path)?.range?.[0] ?? 0);
  }

  /** Where the last part of `path` stands as a key, rather than its value. */
  locateKey(path: ConfigPath): { line: number; column: number } {
    const map = this.#resolve(this.#nearest(path.slice(0, -1)));
    const pair = isMap(map)
      ? map.items.find((item) => isScalar(item.key) && item.key.value === path.at(-1))
      : undefined;
    return isScalar(pair?.key) ? this.#place(pair.key.range?.[0] ?? 0) : this.locate(path);
  }

  describe(path: ConfigPath): string {
    let words = '';
    let node = this.#resolve(this.#document.contents);
    for (const part of path) {
      if (typeof part === 'string') {
        words += words === '' ? part : `.${part}`;
      } else if (isSeq(node)) {
        words += entryWords(this.#resolve(node.items[part]), part);
      } else {
        // One value stands in place of a list of one.
        continue;
      }
      node = this.#resolve(this.#child(node, part));
    }
    return words;
  }

  problem(path: ConfigPath, text: string): Problem {
    return { ...this.locate(path), file: this.file, path: this.describe(path), text };
  }

  #nearest(path: ConfigPath): Node | null | undefined {
    let node: Node | null | undefined = this.#document.contents;
    for (const part of path) {
      const child = this.#child(this.#resolve(node), part);
      if (!child) break;
      node = child;
    }
    return node;
  }

  #child(node: unknown, part: string | number): Node | undefined {
    if (isMap(node) || isSeq(node)) return (node.get(part, true) as Node | undefined) ?? undefined;
    return undefined;
  }

  #resolve(node: unknown): unknown {
    return isAlias(node) ? node.resolve(this.#document) : node;
  }

  #place(offset: number): { line: number; column: number } {
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  }
}

function syntaxText({ code, message }: { readonly code: string; readonly message: string }): string {
  const hint = INDENTATION_FAULTS.has(code)
    ? '; look at the indentation of this line and the one before'
    : '';
  return SYNTAX_TEXTS[code] ?? `is not YAML: ${message.split('\n')[0]}${hint}`;
}

/** `.paris` for an entry that has a name, else `[0]`. */
function entryWords(entry: unknown, at: number): string {
  const name = isMap(entry) ? entry.get('name') : undefined;
  return typeof name === 'string' && /^[\w-]+$/.test(name) ? `.${name}` : `[${at}]`;
}

/**
 * The text of a configuration file.
 *
 * @throws ConfigError if the file cannot be read, is too large or is not UTF-8.
 */
export function readConfigText(file: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    const why = READ_TEXTS[code] ?? `cannot be read (${code || (error as Error).message})`;
    throw unreadable(file, `${why}; give the path of a configuration file`);
  }
  if (bytes.length > MAX_FILE_BYTES) {
    throw unreadable(file, `has ${bytes.length} bytes; a configuration has at most ${MAX_FILE_BYTES}`);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw unreadable(file, 'is not UTF-8 text; save it as UTF-8');
  }
}

function unreadable(file: string, text: string): ConfigError {
  return new ConfigError([{ file, line: 1, column: 1, path: '', text }]);
}
