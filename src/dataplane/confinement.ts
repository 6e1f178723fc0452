/**
 * What a data half shares with everybody in the data plane, kept from it by mistake: the process, timers that would never come,
 * and what is built into the language. No wall against somebody who means harm: plugins run with all rights (docs/plugins.md).
 *
 * Neighbours: `plugin-calls.ts` (asks after calls), `plugin-side.ts` (sets up).
 */

/** Members of `process` that end or change the data plane, or take its signals. */
const PROCESS_MEMBERS = [
  ...['exit', 'reallyExit', 'abort', 'kill', 'chdir', 'umask', 'setuid', 'setgid', 'seteuid', 'setegid'],
  ...['on', 'addListener', 'once', 'prependListener', 'prependOnceListener', 'removeAllListeners', 'emit'],
];
/** Of the global object: the data plane has no event loop that would call anybody. */
const TIMERS = ['setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask'];

/**
 * From now on these throw while a plugin runs.
 *
 * @param isRunning whether one does
 */
export function confine(isRunning: () => boolean): void {
  refuse(
    process,
    PROCESS_MEMBERS,
    isRunning,
    (name) => `a data half may not call process.${name}: it would act on all of the data plane`,
  );
  refuse(
    globalThis,
    TIMERS,
    isRunning,
    (name) =>
      `a data half has no ${name}: nothing would ever come of it; what waits belongs into the control half`,
  );
}

function refuse(
  owner: object,
  names: readonly string[],
  isRunning: () => boolean,
  message: (name: string) => string,
): void {
  const members = owner as Record<string, unknown>;
  for (const name of names) {
    const original = members[name];
    if (typeof original !== 'function') continue;
    const guarded = function (this: unknown, ...values: unknown[]): unknown {
      if (isRunning()) throw new Error(message(name));
      return Reflect.apply(original, this, values);
    };
    Object.defineProperty(owner, name, {
      value: guarded,
      writable: false,
      configurable: false,
      enumerable: true,
    });
  }
}

/** By what they are called. */
const BUILT_IN: readonly (readonly [string, object])[] = [
  ...[
    ...[
      'Object',
      'Function',
      'Array',
      'String',
      'Number',
      'Boolean',
      'RegExp',
      'Date',
      'Map',
      'Set',
      'WeakMap',
      'WeakSet',
    ],
    ...[
      'Promise',
      'Error',
      'TypeError',
      'RangeError',
      'Symbol',
      'BigInt',
      'ArrayBuffer',
      'DataView',
      'Buffer',
    ],
    ...['Int8Array', 'Uint8Array', 'Int16Array', 'Uint16Array', 'Int32Array', 'Uint32Array', 'Float64Array'],
  ].flatMap((name): (readonly [string, object])[] => {
    const built = (globalThis as unknown as Record<string, { readonly prototype: object }>)[name]!;
    return [
      [name, built],
      [`${name}.prototype`, built.prototype],
    ];
  }),
  ['TypedArray.prototype', Object.getPrototypeOf(Int32Array.prototype) as object],
  ['Iterator.prototype', Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]())) as object],
  ...(['JSON', 'Math', 'Reflect', 'Atomics'] as const).map((name) => [name, globalThis[name]] as const),
  ['globalThis', globalThis],
];
/** What anybody may set, or Node sets when it is first used. */
const FREE: ReadonlySet<string> = new Set(['Error.stackTraceLimit', 'Error.prepareStackTrace']);

type Key = string | symbol;

/** What is built in, as it was once. */
export class BuiltIns {
  readonly #members = BUILT_IN.map(([name, owner]) => {
    const keys = Reflect.ownKeys(owner).filter((key) => !isLazy(owner, key));
    const members = keys.map((key): [Key, PropertyDescriptor] => [
      key,
      Object.getOwnPropertyDescriptor(owner, key)!,
    ]);
    return { name, owner, members: new Map(members) };
  });

  /** Puts back what has been changed since; the name of the first such thing, or undefined. */
  restore(): string | undefined {
    let changed: string | undefined;
    for (const { name, owner, members } of this.#members) {
      for (const [key, before] of members) {
        const now = Object.getOwnPropertyDescriptor(owner, key);
        if (
          now !== undefined &&
          Object.is(now.value, before.value) &&
          now.get === before.get &&
          now.set === before.set
        )
          continue;
        const called = `${name}.${String(key)}`;
        if (FREE.has(called)) continue;
        Reflect.defineProperty(owner, key, before);
        changed ??= called;
      }
      if (owner === globalThis) continue;
      for (const key of Reflect.ownKeys(owner)) {
        if (members.has(key) || FREE.has(`${name}.${String(key)}`)) continue;
        Reflect.deleteProperty(owner, key);
        changed ??= `${name}.${String(key)}`;
      }
    }
    return changed;
  }
}

/** Members of the global object that are made when they are first asked for (`fetch`, `crypto`, ...), or are set by anybody. */
function isLazy(owner: object, key: Key): boolean {
  if (owner !== globalThis) return false;
  const { value } = Object.getOwnPropertyDescriptor(owner, key)!;
  return (
    typeof value !== 'function' && key !== 'JSON' && key !== 'Math' && key !== 'Reflect' && key !== 'Atomics'
  );
}
