/** The namespaces of diversions: made whole, made anew, refused, and gone without a trace. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { inOwnNamespace } from '../../../test/support/own-namespace.ts';
import { eventually, PATIENCE } from '../../../test/support/patience.ts';
import type { ExclusiveDevice, HostSetup } from '../compile/host-setup.ts';
import { diversionMacs, diversionNamespace } from '../diversion-names.ts';
import { networkNamespaceInode } from '../runtime/runtime-directory.ts';
import { emptyHostState } from './host-state.ts';
import { Links } from './links.ts';

const { ours, proxys } = diversionMacs('web/http');

function setup(mtu = 1500): HostSetup {
  const device: ExclusiveDevice = {
    role: 'exclusive',
    kind: 'ethernet',
    index: 0,
    name: 'hwd-test',
    ifindex: 0,
    mtu,
    tunnel: 'web/http',
    present: true,
    diversion: { mac: ours, proxyMac: proxys },
  };
  return { devices: [device] };
}

if (inOwnNamespace(import.meta.url)) {
  const namespace = diversionNamespace('hwd-test', networkNamespaceInode());
  const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8', stdio: 'pipe' });
  const listed = (): boolean => ip('netns', 'list').includes(namespace);

  test('a namespace is made whole and stays, is made anew, and goes with who is inside', async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'homeward-links-'));
    const links = new Links(join(directory, 'state.json'), emptyHostState('here'));
    t.after(async () => {
      await links.giveBackAll();
      rmSync(directory, { recursive: true });
    });
    const { namespaces } = links;

    assert.equal(await links.take(setup()), true);
    assert.equal(namespaces.generation('hwd-test'), 1);
    const inside = ip('-n', namespace, 'address');
    assert.match(inside, /198\.18\.0\.2\/32/);
    assert.match(ip('-n', namespace, 'route'), /default via 198\.18\.0\.1 dev out/);
    assert.match(ip('link', 'show', 'hwd-test'), new RegExp(ours));
    const cat = ['cat', '/proc/sys/net/ipv4/tcp_no_metrics_save', '/proc/sys/net/ipv4/ip_forward'];
    assert.equal(ip('netns', 'exec', namespace, ...cat), '1\n0\n');
    // What is whole is left alone, but for being set up.
    await links.take(setup());
    await links.take(setup());
    assert.equal(namespaces.generation('hwd-test'), 1);

    for (const [at, loss] of [
      ['link', 'del', 'hwd-test'],
      // Its name only: it is there for as long as somebody is inside.
      ['netns', 'del', namespace],
    ].entries()) {
      const proxy = spawn('ip', ['netns', 'exec', namespace, 'sleep', '600'], { stdio: 'ignore' });
      t.after(() => proxy.kill('SIGKILL'));
      await eventually('the proxy is inside', () => ip('netns', 'pids', namespace).includes(`${proxy.pid}`));
      const ended = once(proxy, 'exit', { signal: AbortSignal.timeout(10_000 * PATIENCE) });
      ip(...loss);
      assert.equal(await links.take(setup()), true);
      assert.equal(namespaces.generation('hwd-test'), 2 + at);
      assert.deepEqual(await ended, [null, 'SIGKILL']);
    }

    await links.giveBackOthers({ devices: [] });
    assert.equal(listed(), false);
    assert.throws(() => ip('link', 'show', 'hwd-test'));
    assert.deepEqual(links.state.namespaces, []);

    // The kernel has no such MTU.
    assert.equal(await links.take(setup(1)), true);
    assert.equal(listed(), false);
    assert.equal(typeof links.refused['hwd-test'], 'string');
    assert.ok((links.retryInMs ?? 0) > 0);
    assert.equal(await links.take(setup(1)), false, 'nothing new');
    assert.equal(await links.take(setup()), true);
    assert.deepEqual([links.refused, links.retryInMs], [{}, undefined]);
    assert.equal(namespaces.generation('hwd-test'), 4);
  });
}
