/** When the guard is set: where its rules change or somebody has changed them, and never else. In a namespace of its own. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { it } from 'node:test';
import { UPLINK } from '../../../test/fixtures/classifier-cases.ts';
import { inOwnNamespace } from '../../../test/support/own-namespace.ts';
import { nftState } from '../../device/native.ts';
import type { HostFacts } from '../facts.ts';
import { collectFacts } from './collect-facts.ts';
import { Guard, guardMark } from './guard.ts';
import { GUARD_TABLE, guardChanges } from './guard-rules.ts';

const SETUP = { devices: [UPLINK] };

function nft(rules: string): void {
  execFileSync('nft', ['-f', '-'], { input: rules });
}

function ip(...commands: string[]): void {
  execFileSync('ip', ['-batch', '-'], { input: `${commands.join('\n')}\n` });
}

async function links(): Promise<HostFacts['links']> {
  return (await collectFacts([])).links;
}

if (inOwnNamespace(import.meta.url)) {
  it('is set once for the same rules, whatever others do to tables of theirs', async () => {
    ip(`link add ${UPLINK.name} type veth peer name other`);
    const damages: number[] = [];
    const guard = new Guard('a mark', () => damages.push(1));
    assert.equal(await guard.apply(SETUP, await links()), true);
    const { generation } = nftState(GUARD_TABLE);
    nft('add table inet theirs\nadd chain inet theirs c { type filter hook input priority 0; }');
    for (let i = 0; i < 3; i++) assert.equal(await guard.apply(SETUP, await links()), false);
    assert.deepEqual([nftState(GUARD_TABLE).generation, damages.length], [generation + 1, 0]);
    assert.equal(await guardMark(), 'a mark');

    assert.equal(await guard.apply({ devices: [] }, await links()), true, 'other rules');
    assert.equal(await guard.apply(SETUP, await links()), true);
    assert.equal(damages.length, 0);
  });

  it('is set again after any damage', async () => {
    let damages = 0;
    const guard = new Guard('a mark', () => damages++);
    await guard.apply(SETUP, await links());
    const listed = (): string => execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' });
    const whole = listed();
    const chain = `device_${UPLINK.index}`;
    for (const damage of [
      'flush ruleset',
      `delete table netdev ${GUARD_TABLE}`,
      `delete table inet ${GUARD_TABLE}`,
      `delete table arp ${GUARD_TABLE}`,
      `flush chain inet ${GUARD_TABLE} ${chain}`,
      `add rule inet ${GUARD_TABLE} ${chain} accept`,
      `insert rule netdev ${GUARD_TABLE} ${chain} accept`,
      `add chain inet ${GUARD_TABLE} forward { policy drop; }`,
      `add table inet ${GUARD_TABLE} { flags dormant; }`,
      `add chain netdev ${GUARD_TABLE} unused`,
    ]) {
      damages = 0;
      nft(damage);
      assert.notEqual(listed(), whole, damage);
      assert.equal(await guard.apply(SETUP, await links()), true, damage);
      assert.deepEqual([damages, sortedTables(listed())], [1, sortedTables(whole)], damage);
      assert.equal(await guard.apply(SETUP, await links()), false, 'and then it is whole');
    }
  });

  it('is set once, and again after any damage, where the kernel does not say what stands', async () => {
    let damages = 0;
    let isSilent = true;
    const guard = new Guard(
      'a mark',
      () => damages++,
      (table) => {
        if (isSilent) throw new Error('EPERM');
        return nftState(table);
      },
    );
    const changes = guardChanges(SETUP, new Set(), 'a mark').length;
    const set = async (): Promise<number> => {
      const { generation } = nftState(GUARD_TABLE);
      const isSet = await guard.apply(SETUP, await links());
      const made = nftState(GUARD_TABLE).generation - generation;
      assert.equal(isSet, made > 0);
      return made;
    };
    assert.deepEqual([await set(), await set(), await set()], [changes, 0, 0]);
    nft(`delete table arp ${GUARD_TABLE}`);
    assert.deepEqual([await set(), await set(), damages], [changes, 0, 1]);
    nft('flush ruleset');
    assert.deepEqual([await set(), await set(), damages], [changes, 0, 2]);
    isSilent = false;
    assert.deepEqual([await set(), await set()], [changes, 0], 'known by other means now');
    isSilent = true;
    assert.deepEqual([await set(), await set()], [changes, 0]);
    assert.equal(damages, 2, 'and nobody is blamed');
  });

  it('is set again when its device has been away, under the same number', async () => {
    const guard = new Guard('a mark');
    await guard.apply(SETUP, await links());
    const { ifindex } = (await links())[UPLINK.name]!;
    ip(`link del ${UPLINK.name}`);
    ip(`link add ${UPLINK.name} index ${ifindex} type veth peer name other`);
    await guard.apply(SETUP, await links());
    const hooks = execFileSync('nft', ['list', 'table', 'netdev', GUARD_TABLE], { encoding: 'utf8' });
    assert.match(hooks, new RegExp(`hook ingress device "${UPLINK.name}"`));
  });
}

/** `flush ruleset` takes others' tables along, which is not the guard's affair. */
function sortedTables(ruleset: string): string[] {
  return ruleset
    .split(/^(?=table )/m)
    .filter((table) => table.includes(GUARD_TABLE))
    .map((table) => table.trim())
    .sort();
}
