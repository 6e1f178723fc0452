import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { Identities, MAX_PORTS } from './identities.ts';

const directory = mkdtempSync(join(tmpdir(), 'homeward-identities-'));
after(() => rmSync(directory, { recursive: true, force: true }));

function ports(identities: Identities, ...names: (string | [name: string, fingerprint: string])[]) {
  const request = names.map((entry) => {
    const [name, fingerprint] = typeof entry === 'string' ? [entry, 'same'] : entry;
    return { name, fingerprint };
  });
  return identities.assign({ spaces: [], ports: request, devices: [] }).ports;
}

function spaces(identities: Identities, ...names: string[]) {
  const request = names.map((name) => ({ kind: 'site' as const, name, members: [] }));
  return identities.assign({ spaces: request, ports: [], devices: [] }).spaces;
}

function devices(identities: Identities, ...names: string[]) {
  return identities.assign({ spaces: [], ports: [], devices: names }).devices;
}

test('a name keeps its number, whatever comes and goes around it', () => {
  const identities = new Identities();
  assert.deepEqual(ports(identities, 'a', 'b'), [
    { index: 1, generation: 1 },
    { index: 2, generation: 1 },
  ]);
  assert.deepEqual(ports(identities, 'c', 'b'), [
    { index: 3, generation: 1 },
    { index: 2, generation: 1 },
  ]);
});

test('another fingerprint is another generation of the same port', () => {
  const identities = new Identities();
  assert.deepEqual(ports(identities, ['a', 'gre 1']), [{ index: 1, generation: 1 }]);
  assert.deepEqual(ports(identities, ['a', 'gre 2']), [{ index: 1, generation: 2 }]);
  assert.deepEqual(ports(identities, ['a', 'gre 2']), [{ index: 1, generation: 2 }]);
});

test('a name that comes back is a new tunnel', () => {
  const identities = new Identities();
  ports(identities, 'a');
  ports(identities);
  assert.deepEqual(ports(identities, 'a'), [{ index: 2, generation: 1 }]);
});

test('slots are reused when all have been used, the one free for longest first, with a new generation', () => {
  const identities = new Identities();
  const names = Array.from({ length: MAX_PORTS }, (_, at) => `t${at}`);
  ports(identities, ...names);
  assert.throws(() => ports(identities, ...names, 'extra'), { code: 'identities_exhausted' });
  ports(identities, ...names.filter((name) => name !== 't7'));
  ports(identities, ...names.filter((name) => name !== 't7' && name !== 't3'));
  const rest = names.filter((name) => name !== 't7' && name !== 't3');
  const assigned = ports(identities, ...rest, 'new');
  assert.deepEqual(assigned.at(-1), { index: 8, generation: 2 });
});

test('a slot is not given on in the same change that frees it, and a failure changes nothing', () => {
  const identities = new Identities();
  const names = Array.from({ length: MAX_PORTS }, (_, at) => `t${at}`);
  ports(identities, ...names);
  assert.throws(() => ports(identities, ...names.slice(1), 'new'), { code: 'identities_exhausted' });
  assert.deepEqual(ports(identities, ...names).at(0), { index: 1, generation: 1 });
});

test('the id of a space is never given to another site', () => {
  const identities = new Identities();
  assert.deepEqual(spaces(identities, 'paris', 'lyon'), [1, 2]);
  assert.deepEqual(spaces(identities, 'lyon'), [2]);
  assert.deepEqual(spaces(identities, 'nice', 'paris'), [3, 1]);
  const egress = identities.assign({
    spaces: [{ kind: 'egress', name: 'lyon', members: [] }],
    ports: [],
    devices: [],
  });
  assert.deepEqual(egress.spaces, [4]);
});

test('a device keeps its number and frees it for the next plan', () => {
  const identities = new Identities();
  assert.deepEqual(devices(identities, 'eth0', 'eth1'), [0, 1]);
  assert.deepEqual(devices(identities, 'eth2', 'eth1'), [2, 1]);
  assert.deepEqual(devices(identities, 'eth3', 'eth1'), [0, 1]);
});

test('names of object properties are names like others', () => {
  const identities = new Identities();
  assert.deepEqual(ports(identities, 'constructor', 'toString'), [
    { index: 1, generation: 1 },
    { index: 2, generation: 1 },
  ]);
  assert.deepEqual(devices(identities, 'valueOf'), [0]);
});

test('what is saved is read again; nothing else stays behind', () => {
  const identities = new Identities();
  spaces(identities, 'paris');
  ports(identities, ['a', 'x'], 'b');
  ports(identities, ['a', 'y']);
  assert.equal(identities.planGeneration('one'), 1);
  const path = join(directory, 'identities.json');
  identities.save(path);
  identities.save(path);
  const read = Identities.load(path);
  assert.deepEqual(ports(read, 'c', ['a', 'y']), [
    { index: 3, generation: 1 },
    { index: 1, generation: 2 },
  ]);
  assert.deepEqual(spaces(read, 'lyon'), [2]);
  assert.equal(read.planGeneration('one'), 1);
  assert.equal(read.planGeneration('two'), 2);
  assert.deepEqual(readdirSync(directory), ['identities.json']);
});

test('without a file there are no identities; a broken one is refused', () => {
  const path = join(directory, 'broken.json');
  assert.deepEqual(spaces(Identities.load(join(directory, 'none.json')), 'paris'), [1]);
  const identities = new Identities();
  spaces(identities, 'paris', 'lyon');
  ports(identities, 'a', 'b');
  identities.save(path);
  const whole = readFileSync(path, 'utf8');
  const broken = ['', '{}', 'null', whole.slice(0, -4), whole.replace('"site:lyon": 2', '"site:lyon": 1')];
  broken.push(whole.replace('"index": 2', '"index": 1'), whole.replace('"index": 2', '"index": 0'));
  for (const text of broken) {
    assert.notEqual(text, whole);
    writeFileSync(path, text);
    assert.throws(() => Identities.load(path), { code: 'identities_unreadable' }, text);
  }
});

test('a file that cannot be written leaves nothing behind', () => {
  assert.throws(() => new Identities().save(join(directory, 'no', 'where.json')), { code: 'ENOENT' });
});

test('never two names with one port, never one (port, generation) for two tunnels', () => {
  const tunnel = fc.record({ name: fc.constantFrom(...'abcdefgh'), fingerprint: fc.constantFrom('x', 'y') });
  const plan = fc.uniqueArray(tunnel, { selector: ({ name }) => name, maxLength: 6 });
  fc.assert(
    fc.property(fc.array(plan, { maxLength: 30 }), (plans) => {
      const identities = new Identities();
      const owners = new Map<string, string>();
      let present = new Set<string>();
      let epoch = 0;
      const since = new Map<string, number>();
      for (const request of plans) {
        epoch++;
        const assigned = identities.assign({ spaces: [], ports: request, devices: [] }).ports;
        assert.equal(new Set(assigned.map(({ index }) => index)).size, assigned.length);
        const identity = request.map(({ name, fingerprint }) => `${name} ${fingerprint}`);
        request.forEach((_, at) => {
          const who = identity[at]!;
          if (!present.has(who)) since.set(who, epoch);
          const { index, generation } = assigned[at]!;
          const owner = `${who} ${since.get(who)}`;
          const slot = `${index}.${generation}`;
          assert.equal(owners.get(slot) ?? owner, owner, slot);
          owners.set(slot, owner);
        });
        present = new Set(identity);
      }
    }),
    { seed: 20252, numRuns: 300 },
  );
});

test('a site none of whose tunnels is one that it had is another address space, and its number nobody else’s', () => {
  const identities = new Identities();
  const assign = (members: Record<string, string[]>): readonly number[] => {
    const request = Object.entries(members).map(([name, of]) => ({
      kind: 'site' as const,
      name,
      members: of,
    }));
    return identities.assign({ spaces: request, ports: [], devices: [] }).spaces;
  };
  assert.deepEqual(assign({ paris: ['gre 1', 'gre 3'], lyon: ['gre 2'] }), [1, 2]);
  assert.deepEqual(assign({ paris: ['gre 3', 'gre 4'], lyon: ['gre 2'] }), [1, 2], 'one of them is left');
  assert.deepEqual(assign({ paris: ['gre 2'], lyon: ['gre 3'] }), [3, 4], 'swapped');
  assert.deepEqual(assign({ paris: ['gre 3'], lyon: ['gre 2'] }), [5, 6], 'swapped back');
  assert.deepEqual(assign({ lyon: ['gre 2'] }), [6]);
  assert.deepEqual(assign({ paris: ['gre 3'], lyon: ['gre 2'] }), [5, 6], 'away for a while');
  assert.deepEqual(assign({ paris: [], lyon: ['gre 2'] }), [5, 6]);
  assert.deepEqual(assign({ paris: ['gre 5'], lyon: ['gre 2'] }), [7, 6], 'without tunnels in between');
  assert.deepEqual(assign({ paris: ['gre 5', 'gre 6'], lyon: ['gre 2'] }), [7, 6], 'one more');
  assert.deepEqual(
    assign({ paris: ['gre 5'], lyon: ['gre 2', 'gre 6'] }),
    [8, 6],
    'one left for another site',
  );
  assert.deepEqual(assign({ paris: ['gre 5'], lyon: ['gre 2'] }), [8, 6], 'one removed');
});
