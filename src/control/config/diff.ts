/**
 * What differs between two configurations, as a list of changes by object.
 *
 * Two values are equal if they mean the same: `10.0.1.0/24` and `[10.0.1.0/24]`, a default and the same value
 * written out. Shown are the values as the files have them, and the default where a file has none.
 *
 * Neighbours: `load.ts` (what is compared), `../live-change.ts` (what a change does to flows).
 */
import type { LoadedConfig } from './load.ts';
import type { ConfigDocument } from './schema.ts';

export type ChangedObject = 'site' | 'tunnel' | 'egress' | 'route' | 'plugin' | 'option';

export interface FieldChange {
  /** Key below the object, with dots: `nat.ipv4`. Empty for an option, which is one value. */
  readonly field: string;
  /** As the file has it; null: there is none. */
  readonly before: unknown;
  readonly after: unknown;
  /** Whether the file is silent there, so that the value is the default. */
  readonly beforeIsDefault: boolean;
  readonly afterIsDefault: boolean;
}

export interface ConfigChange {
  readonly object: ChangedObject;
  /** Name of the object; `PREFIX via NAME` for a route, `flow_table.max_flows` for an option. */
  readonly name: string;
  readonly change: 'added' | 'removed' | 'changed';
  /** Of an added or removed object: what its file says of it. */
  readonly fields: readonly FieldChange[];
}

/** An object of one configuration; both maps from a field's path to its value. */
interface ConfigObject {
  readonly object: ChangedObject;
  readonly name: string;
  /** With defaults, units resolved: for comparing. */
  readonly meaning: ReadonlyMap<string, unknown>;
  /** What the file says: for showing. */
  readonly written: ReadonlyMap<string, unknown>;
}

/** The top-level keys whose entries are objects of their own. */
const LISTS: ReadonlySet<string> = new Set(['version', 'sites', 'egress', 'routes', 'plugins']);
/** Of a line for people. */
const MAX_VALUE_CHARACTERS = 120;

/** The changes from one configuration to another: removed ones first, then the others in the order of `after`. */
export function diffConfigs(before: LoadedConfig, after: LoadedConfig): ConfigChange[] {
  const former = objectsOf(before);
  const next = objectsOf(after);
  const changes: ConfigChange[] = [];
  for (const [key, object] of former) {
    if (!next.has(key)) changes.push(wholeObject(object, 'removed'));
  }
  for (const [key, object] of next) {
    const known = former.get(key);
    if (known === undefined) changes.push(wholeObject(object, 'added'));
    else changes.push(...changedObject(known, object));
  }
  return [...changes, ...pluginOrder(before.document, after.document)];
}

/** One line for people: `+ tunnel nice-gre: type gre, local 192.0.2.1`, `~ tunnel paris-gre: mtu 1476 -> 1400`. */
export function describeChange({ object, name, change, fields }: ConfigChange): string {
  const sign = { added: '+', removed: '-', changed: '~' }[change];
  const words = fields.map((field) => describeField(field, change));
  const colon = object === 'option' ? ' ' : ': ';
  return `${sign} ${object} ${name}${words.length === 0 ? '' : `${colon}${words.join(', ')}`}`;
}

function describeField(field: FieldChange, change: ConfigChange['change']): string {
  const name = field.field === '' ? '' : `${field.field} `;
  const before = show(field.before, field.beforeIsDefault);
  const after = show(field.after, field.afterIsDefault);
  if (change === 'added') return `${name}${after}`;
  if (change === 'removed') return `${name}${before}`;
  return `${name}${before} -> ${after}`;
}

function show(value: unknown, isDefault: boolean): string {
  if (value === null) return 'none';
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  const short = text.length > MAX_VALUE_CHARACTERS ? `${text.slice(0, MAX_VALUE_CHARACTERS - 3)}...` : text;
  return isDefault ? `${short} (default)` : short;
}

function wholeObject({ object, name, written }: ConfigObject, change: 'added' | 'removed'): ConfigChange {
  const fields = [...written]
    .filter(([field]) => field !== 'name')
    .map(
      ([field, value]): FieldChange => ({
        field,
        before: change === 'removed' ? value : null,
        after: change === 'added' ? value : null,
        beforeIsDefault: false,
        afterIsDefault: false,
      }),
    );
  return { object, name, change, fields };
}

function changedObject(before: ConfigObject, after: ConfigObject): ConfigChange[] {
  const differing = [...new Set([...before.meaning.keys(), ...after.meaning.keys()])].filter(
    (field) => JSON.stringify(before.meaning.get(field)) !== JSON.stringify(after.meaning.get(field)),
  );
  const fields = [...new Set(differing.map((field) => writtenField(field, before, after)))].map(
    (field): FieldChange => {
      const [former, formerIsDefault] = shownValue(before, field);
      const [next, nextIsDefault] = shownValue(after, field);
      return {
        field,
        before: former,
        after: next,
        beforeIsDefault: formerIsDefault,
        afterIsDefault: nextIsDefault,
      };
    },
  );
  return fields.length === 0 ? [] : [{ object: after.object, name: after.name, change: 'changed', fields }];
}

/** What a file calls `reserved_ports` means `reserved_ports.min` and `.max`. */
function writtenField(field: string, ...objects: readonly ConfigObject[]): string {
  let name = field;
  while (name.includes('.') && !objects.some(({ written }) => written.has(name))) {
    name = name.slice(0, name.lastIndexOf('.'));
  }
  return objects.some(({ written }) => written.has(name)) ? name : field;
}

function shownValue({ meaning, written }: ConfigObject, field: string): [value: unknown, isDefault: boolean] {
  const value = written.get(field);
  if (value !== undefined) return [value, false];
  const byDefault = meaning.get(field);
  return byDefault === undefined ? [null, false] : [byDefault, true];
}

/** Every object, by a key that is the same for the same object of another configuration. */
function objectsOf({ document, content }: LoadedConfig): Map<string, ConfigObject> {
  const raw = (content ?? {}) as RawConfig;
  const objects: ConfigObject[] = [];
  const add = (object: ChangedObject, name: string, meaning: object, written: object | undefined): void => {
    objects.push({ object, name, meaning: leavesOf(meaning), written: leavesOf(written ?? {}) });
  };
  for (const [key, value] of Object.entries(document)) {
    if (LISTS.has(key)) continue;
    const written = leavesOf({ [key]: raw[key] });
    for (const [path, meaning] of leavesOf({ [key]: value })) {
      const said = written.get(path);
      objects.push({
        object: 'option',
        name: path,
        meaning: new Map([['', meaning]]),
        written: said === undefined ? new Map() : new Map([['', said]]),
      });
    }
  }
  document.sites.forEach(({ tunnels, ...site }, at) => {
    const { tunnels: rawTunnels, ...rawSite } = raw.sites?.[at] ?? {};
    add('site', site.name, site, rawSite);
    tunnels.forEach((tunnel, tunnelAt) => {
      const place = { site: site.name };
      add('tunnel', tunnel.name, { ...place, ...tunnel }, { ...place, ...rawTunnels?.[tunnelAt] });
    });
  });
  document.egress.forEach((egress, at) => {
    add('egress', egress.name, egress, raw.egress?.[at]);
  });
  document.routes.forEach((route, at) => {
    const { prefix: _, via: __, ...rest } = raw.routes?.[at] ?? {};
    add('route', `${route.prefix} via ${route.via}`, { priority: route.priority }, rest);
  });
  document.plugins.forEach((plugin, at) => {
    add('plugin', plugin.name, plugin, raw.plugins?.[at]);
  });
  return new Map(objects.map((object) => [`${object.object} ${object.name}`, object]));
}

/** The file's values where the schema has found maps and lists; a single value may stand for a list of one. */
interface RawConfig extends Record<string, unknown> {
  readonly sites?: readonly { readonly tunnels?: readonly object[] }[];
  readonly egress?: readonly object[];
  readonly routes?: readonly { readonly prefix?: unknown; readonly via?: unknown }[];
  readonly plugins?: readonly object[];
}

/** Values of nested maps by their path with dots; lists are values. Empty maps say nothing. */
function leavesOf(map: object, prefix = ''): Map<string, unknown> {
  const leaves = new Map<string, unknown>();
  for (const [key, value] of Object.entries(map)) {
    if (value === undefined || value === null) continue;
    if (typeof value === 'object' && !Array.isArray(value)) {
      for (const [path, leaf] of leavesOf(value, `${prefix}${key}.`)) leaves.set(path, leaf);
    } else {
      leaves.set(`${prefix}${key}`, value);
    }
  }
  return leaves;
}

/** Plugins run in the order in which they stand. */
function pluginOrder(before: ConfigDocument, after: ConfigDocument): ConfigChange[] {
  const common = (one: ConfigDocument, other: ConfigDocument): string[] =>
    one.plugins
      .map(({ name }) => name)
      .filter((name) => other.plugins.some((plugin) => plugin.name === name));
  const [former, next] = [common(before, after), common(after, before)];
  if (former.join() === next.join()) return [];
  const field = { field: '', before: former, after: next, beforeIsDefault: false, afterIsDefault: false };
  return [{ object: 'option', name: 'order of plugins', change: 'changed', fields: [field] }];
}
