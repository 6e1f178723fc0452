/**
 * Changes of single tunnels and plugins in the text of a configuration, for the command line and the API: comments, order and
 * whatever else stands there stay, also what this version does not show anywhere.
 *
 * The text must be a configuration that was found right (`load.ts`). What comes out is not checked: whoever applies
 * it does that. What cannot be changed without touching something else (a tunnel that is written as an alias) is
 * refused.
 */
import {
  type Document,
  isAlias,
  isCollection,
  isMap,
  isScalar,
  isSeq,
  parseDocument,
  visit,
  type YAMLMap,
  type YAMLSeq,
} from 'yaml';
import { RequestError } from '../request-error.ts';
import { nameRemedy, noSuchName } from '../unknown-name.ts';

/** A map of keys as in the file: snake_case. */
export type TunnelValues = Readonly<Record<string, unknown>>;

interface Place {
  readonly tunnels: YAMLSeq;
  readonly at: number;
  readonly tunnel: YAMLMap;
  readonly site: string;
}

/**
 * Adds a tunnel behind the others of its site. A site that is not there is made, with `prefixes`.
 *
 * @throws RequestError if the name is taken.
 */
export function addTunnel(
  text: string,
  site: string,
  tunnel: TunnelValues & { readonly name: string },
  prefixes: readonly string[] = [],
): string {
  const document = open(text);
  if (places(document).some((place) => place.tunnel.get('name') === tunnel.name)) {
    throw new RequestError('conflict', 'tunnel_exists', `there is a tunnel ${tunnel.name} already`);
  }
  const values = entry(document, tunnel);
  const known = sites(document).find((map) => map.get('name') === site);
  if (known === undefined) {
    const made = document.createNode({
      name: site,
      ...(prefixes.length === 0 ? {} : { prefixes }),
    }) as YAMLMap;
    const list = document.createNode([]) as YAMLSeq;
    list.add(values);
    made.set('tunnels', list);
    setFlow(made.get('prefixes'));
    listAt(document, 'sites').add(made);
  } else {
    if (prefixes.length > 0) {
      throw new RequestError(
        'conflict',
        'site_exists',
        `there is a site ${site} already; leave its prefixes out`,
      );
    }
    own(known.get('tunnels', true), `the tunnels of site ${site}`);
    (known.get('tunnels') as YAMLSeq).add(values);
  }
  return write(document, text);
}

/**
 * Removes a tunnel.
 *
 * @param lastOfSite what to do if the site has no other: `refuse`, or remove the site as well.
 * @throws RequestError if there is no such tunnel, or it may not go.
 */
export function removeTunnel(text: string, name: string, lastOfSite: 'refuse' | 'remove_site'): string {
  const document = open(text);
  const { tunnels, at, site } = find(document, name);
  if (tunnels.items.length > 1) {
    tunnels.delete(at);
    return write(document, text);
  }
  if (lastOfSite === 'refuse') {
    throw new RequestError(
      'conflict',
      'last_tunnel',
      `${name} is the only tunnel of site ${site}, and a site needs one; remove the site with it`,
    );
  }
  const all = listAt(document, 'sites');
  all.delete(all.items.findIndex((item) => isMap(item) && item.get('name') === site));
  return write(document, text);
}

/**
 * Sets keys of a tunnel; null takes one away, so that its default holds.
 *
 * @throws RequestError if there is no such tunnel.
 */
export function changeTunnel(text: string, name: string, values: TunnelValues): string {
  const document = open(text);
  const { tunnel } = find(document, name);
  for (const [key, value] of Object.entries(values)) {
    const former = tunnel.get(key, true);
    if (value === null) tunnel.delete(key);
    // The comment behind a value stays with it.
    else if (isScalar(former) && typeof value !== 'object') former.value = value;
    else tunnel.set(key, document.createNode(value, { flow: true }));
  }
  return write(document, text);
}

/** Enables or disables a tunnel. */
export function enableTunnel(text: string, name: string, enabled: boolean): string {
  // `enabled: true` is the default: it is not written where it was not.
  const tunnel = find(open(text), name).tunnel;
  return changeTunnel(text, name, { enabled: enabled && !tunnel.has('enabled') ? null : enabled });
}

/**
 * Enables or disables a plugin.
 *
 * @throws RequestError if it does not stand in the text, or shares it with another part of the file.
 */
export function enablePlugin(text: string, name: string, enabled: boolean): string {
  const document = open(text);
  const list = document.get('plugins');
  const plugins = isSeq(list) ? list.items.filter((item): item is YAMLMap => isMap(item)) : [];
  const plugin = plugins.find((item) => item.get('name') === name);
  if (plugin === undefined) {
    const names = plugins.map((item) => String(item.get('name')));
    const remedy = nameRemedy(name, names) || '; write it there';
    throw new RequestError(
      'not_found',
      'no_such_plugin',
      `no plugin ${name} stands in the configuration${remedy}`,
    );
  }
  refuseShared(document, plugin, `plugin ${name}`);
  const former = plugin.get('enabled', true);
  if (enabled && former === undefined) return text;
  if (isScalar(former)) former.value = enabled;
  else plugin.set('enabled', enabled);
  return write(document, text);
}

function open(text: string): Document {
  const document = parseDocument(text, { schema: 'core', stringKeys: true });
  if (document.errors.length > 0) throw document.errors[0]!;
  return document;
}

/**
 * The changed document as text. The YAML package writes it in a style of its own (spaces inside brackets, one space in
 * front of comments); lines that are before and behind the change are taken from the former text.
 */
function write(document: Document, former: string): string {
  const style = { lineWidth: 0 };
  const whole = document.toString(style);
  const formerLines = former.split('\n');
  const before = open(former).toString(style).split('\n');
  if (before.length !== formerLines.length) return whole;
  const after = whole.split('\n');
  const shorter = Math.min(before.length, after.length);
  let head = 0;
  while (head < shorter && before[head] === after[head]) head++;
  let tail = 0;
  while (tail < shorter - head && before.at(-1 - tail) === after.at(-1 - tail)) tail++;
  const merged = [
    ...formerLines.slice(0, head),
    ...after.slice(head, after.length - tail),
    ...formerLines.slice(formerLines.length - tail),
  ].join('\n');
  return JSON.stringify(parse(merged)) === JSON.stringify(document.toJS()) ? merged : whole;
}

/** The values of a text; undefined if it is not YAML. */
function parse(text: string): unknown {
  const document = parseDocument(text, { schema: 'core', stringKeys: true });
  return document.errors.length > 0 ? undefined : document.toJS();
}

/** In the style of the tunnels that are there: one line, unless the last one has several. */
function entry(document: Document, tunnel: TunnelValues): YAMLMap {
  const last = places(document).at(-1)?.tunnel;
  const node = document.createNode(tunnel) as YAMLMap;
  node.flow = last?.flow ?? true;
  for (const { value } of node.items) setFlow(value);
  return node;
}

/** On one line, with brackets. */
function setFlow(node: unknown): void {
  if (isCollection(node)) node.flow = true;
}

function sites(document: Document): YAMLMap[] {
  const all = document.get('sites');
  return isSeq(all) ? all.items.filter((item): item is YAMLMap => isMap(item)) : [];
}

/** The list at a top-level key, which is made if need be; it becomes one of lines, as new entries have several. */
function listAt(document: Document, key: string): YAMLSeq {
  const present = document.get(key, true);
  if (!isSeq(present)) {
    own(present, key);
    document.set(key, document.createNode([]));
  }
  const sequence = document.get(key) as YAMLSeq;
  if (sequence.items.length === 0) sequence.flow = false;
  return sequence;
}

function places(document: Document): Place[] {
  return sites(document).flatMap((site) => {
    const tunnels = site.get('tunnels');
    if (!isSeq(tunnels)) return [];
    return tunnels.items.flatMap((tunnel, at) =>
      isMap(tunnel) ? [{ tunnels, at, tunnel, site: String(site.get('name')) }] : [],
    );
  });
}

function find(document: Document, name: string): Place {
  const all = places(document);
  const place = all.find(({ tunnel }) => tunnel.get('name') === name);
  if (place === undefined) {
    throw noSuchName(
      'tunnel',
      name,
      all.map(({ tunnel }) => String(tunnel.get('name'))),
    );
  }
  refuseShared(document, place.tunnel, `tunnel ${name}`);
  return place;
}

/** A part that other places refer to is not changed: they would change with it. */
function refuseShared(document: Document, part: YAMLMap, what: string): void {
  const anchors = new Set<string>();
  visit(part, (_, node) => {
    const { anchor } = node as { anchor?: string };
    if (anchor !== undefined) anchors.add(anchor);
  });
  visit(document, {
    Alias: (_, alias) => {
      if (anchors.has(alias.source)) throw shared(what);
    },
  });
}

function own(node: unknown, what: string): void {
  if (isAlias(node)) throw shared(what);
}

function shared(what: string): RequestError {
  return new RequestError(
    'conflict',
    'shared_by_alias',
    `${what} shares text with another part of the file by an anchor (&...); edit the file and apply it`,
  );
}
