/** Rules and routes of XFRM interfaces, on an interface that any kernel has. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { inOwnNamespace } from '../../../test/support/own-namespace.ts';
import { addXfrmRoutes, removeXfrmRules } from './xfrm-routes.ts';

function ip(...args: readonly string[]): string {
  return spawnSync('ip', ['-6', ...args], { encoding: 'utf8' }).stdout;
}

const count = (text: string, what: RegExp): number => text.match(what)?.length ?? 0;

if (inOwnNamespace(import.meta.url)) {
  test('are made once, again when the routes are lost, and are removed', async () => {
    ip('link', 'add', 'x0', 'type', 'veth', 'peer', 'name', 'x1');
    for (const name of ['x0', 'x1']) ip('link', 'set', name, 'up');
    for (let time = 0; time < 2; time++) {
      await addXfrmRoutes(['x0', 'x1']);
      assert.equal(count(ip('rule', 'show'), /oif x[01] lookup 26743/g), 2);
      assert.equal(count(ip('route', 'show', 'table', '26743'), /default dev x[01]/g), 2);
    }
    assert.equal(count(ip('route', 'show'), /default/g), 0);
    ip('link', 'set', 'x0', 'down');
    ip('link', 'set', 'x0', 'up');
    await addXfrmRoutes(['x0', 'x1']);
    assert.equal(count(ip('route', 'show', 'table', '26743'), /default dev x[01]/g), 2);
    await removeXfrmRules(['x0', 'x1']);
    assert.equal(count(ip('rule', 'show'), /oif/g), 0);
  });
}
