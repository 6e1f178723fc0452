/** A tunnel interface that the kernel refuses is told, and keeps nothing else from being done. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { inOwnNamespace } from '../../../test/support/own-namespace.ts';
import type { ExclusiveDevice, HostSetup } from '../compile/host-setup.ts';
import { emptyHostState } from './host-state.ts';
import { Links } from './links.ts';

const ENDS = { local: '192.0.2.1', remote: '192.0.2.9', key: 7 } as const;

/** The kernel refuses it: see below. */
const REFUSED: ExclusiveDevice = {
  role: 'exclusive',
  kind: 'ip',
  index: 0,
  name: 'paris-gr-000000',
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
};

const SETUP: HostSetup = {
  devices: [REFUSED, { role: 'tun', index: 1, name: 'tun0', mtu: 1400, tunnel: 'dc-tun', present: true }],
};

if (inOwnNamespace(import.meta.url)) {
  test('what the kernel says is kept, the rest is made, and nothing is left', async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'homeward-links-'));
    t.after(() => rmSync(directory, { recursive: true }));
    // A kernel that has GRE refuses a second interface with the same ends; others refuse the first one.
    const { local, remote, key } = ENDS;
    const other = [
      'link',
      'add',
      'other0',
      'type',
      'gre',
      'local',
      local,
      'remote',
      remote,
      'key',
      String(key),
    ];
    const says =
      spawnSync('ip', other, { encoding: 'utf8' }).status === 0 ? /File exists/ : /[Uu]nknown|not supported/;

    const statePath = join(directory, 'host-state.json');
    const links = new Links(statePath, emptyHostState('test'));
    assert.equal(await links.take(SETUP), true);
    assert.deepEqual(Object.keys(links.refused), ['paris-gr-000000']);
    assert.match(links.refused['paris-gr-000000']!, says);
    assert.match(execFileSync('ip', ['link', 'show', 'tun0'], { encoding: 'utf8' }), /mtu 1400/);
    const state = JSON.parse(readFileSync(statePath, 'utf8')) as { madeLinks: unknown[]; tuns: string[] };
    assert.deepEqual([state.madeLinks, state.tuns], [[], ['tun0']]);
    assert.equal(await links.take(SETUP), false, 'the same refusal is nothing new');

    await links.giveBackAll();
    const names = execFileSync('ip', ['-brief', 'link'], { encoding: 'utf8' });
    assert.doesNotMatch(names, /tun0|paris/);
  });

  test('the kernel is asked again, after pauses that grow, for as long as somebody wants the interface', async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'homeward-links-'));
    t.after(() => rmSync(directory, { recursive: true }));
    let nowMs = 1000;
    const links = new Links(join(directory, 'host-state.json'), emptyHostState('test'), () => nowMs);
    const refusing: HostSetup = { devices: [REFUSED] };
    const pauses: (number | undefined)[] = [];
    for (let attempt = 0; attempt < 9; attempt++) {
      assert.deepEqual(links.refused, {}, 'nothing keeps it from being tried now');
      assert.equal(await links.take(refusing), true, 'a refusal that is in force again is news');
      pauses.push(links.retryInMs);
      nowMs += 1000;
      assert.equal(await links.take(refusing), false, 'one before the time is not');
      assert.equal(links.retryInMs, pauses.at(-1)! - 1000, 'and changes nothing');
      assert.deepEqual(Object.keys(links.refused), [REFUSED.name]);
      nowMs += links.retryInMs!;
    }
    assert.deepEqual(
      pauses,
      [5, 10, 20, 40, 80, 160, 320, 600, 600].map((seconds) => seconds * 1000),
    );
    assert.equal(await links.take({ devices: [] }), false);
    assert.equal(links.retryInMs, undefined, 'nobody wants it any more');
  });
}
