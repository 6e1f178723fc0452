/**
 * An interface that the kernel refuses, because another one has the same ends, is made when that is gone; and one that somebody
 * renames, or makes anew, is made as it was. Runs in the guest of `scripts/lab`.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { HostSetup } from '../../src/control/compile/host-setup.ts';
import { emptyHostState } from '../../src/control/host/host-state.ts';
import { Links } from '../../src/control/host/links.ts';
import { inOwnNamespace } from '../support/own-namespace.ts';

const NAME = 'paris-gr-000000';
const ENDS = { local: '192.0.2.1', remote: '192.0.2.9', key: 7 } as const;
const SETUP: HostSetup = {
  devices: [
    {
      role: 'exclusive',
      kind: 'ip',
      index: 0,
      name: NAME,
      ifindex: 0,
      mtu: 1472,
      tunnel: 'paris-gre',
      present: true,
      made: {
        link: { kind: 'gre', ...ENDS, checksum: false, sequence: false, ttl: 64 },
        underlay: null,
        isUp: false,
        requestId: null,
      },
    },
  ],
};

if (inOwnNamespace(import.meta.url)) {
  test('what the kernel refused is made when nothing is in its way any more', async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'homeward-links-'));
    t.after(() => rmSync(directory, { recursive: true }));
    const ip = (command: string): string => execFileSync('ip', command.split(' '), { encoding: 'utf8' });
    ip(`link add other0 type gre local ${ENDS.local} remote ${ENDS.remote} key ${ENDS.key}`);
    let nowMs = 0;
    const links = new Links(join(directory, 'host-state.json'), emptyHostState('test'), () => nowMs);
    assert.equal(await links.take(SETUP), true);
    assert.match(links.refused[NAME]!, /File exists/);
    ip('link del other0');
    nowMs += links.retryInMs!;
    assert.deepEqual(links.refused, {});
    assert.equal(await links.take(SETUP), true);
    assert.deepEqual([links.refused, links.retryInMs], [{}, undefined]);
    assert.match(ip('-brief link'), new RegExp(NAME));
    await links.giveBackAll();
    assert.doesNotMatch(ip('-brief link'), new RegExp(NAME));
  });

  test('what somebody renames or makes anew is made as it was, and nothing else is removed', async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'homeward-links-'));
    t.after(() => rmSync(directory, { recursive: true }));
    const ip = (command: string): string => execFileSync('ip', command.split(' '), { encoding: 'utf8' });
    const indexOf = (name: string): number =>
      (JSON.parse(ip(`-json link show dev ${name}`)) as { ifindex: number }[])[0]!.ifindex;
    const xfrm = { kind: 'xfrm', interfaceId: 0x68000007 } as const;
    const [device] = SETUP.devices;
    assert.ok(device?.role === 'exclusive');
    const setup: HostSetup = {
      devices: [{ ...device, made: { link: xfrm, underlay: null, isUp: false, requestId: null } }],
    };
    const links = new Links(join(directory, 'host-state.json'), emptyHostState('test'));
    await links.take(setup);
    const first = indexOf(NAME);
    assert.equal(links.state.madeLinks[0]?.ifindex, first);

    ip(`link set ${NAME} down`);
    ip(`link set ${NAME} name renamed0`);
    await links.take(setup);
    assert.doesNotMatch(ip('-brief link'), /renamed0/);
    const second = indexOf(NAME);
    assert.notEqual(second, first);
    assert.equal(links.state.madeLinks[0]?.ifindex, second);

    ip(`link del ${NAME}`);
    ip(`link add ${NAME} type xfrm if_id 5`);
    await links.take(setup);
    assert.match(ip(`-details link show dev ${NAME}`), /if_id 0x68000007/);

    ip(`link del ${NAME}`);
    ip(`link add ${NAME} type xfrm if_id 5`);
    await links.giveBackAll();
    assert.match(ip(`-details link show dev ${NAME}`), /if_id 0x5/);
    ip(`link del ${NAME}`);
  });
}
