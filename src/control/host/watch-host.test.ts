/** Which changes of the host are noticed. In a namespace of its own. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { it } from 'node:test';
import { inOwnNamespace } from '../../../test/support/own-namespace.ts';
import { eventually } from '../../../test/support/patience.ts';
import { HostWatch } from './watch-host.ts';

function ip(...args: string[]): void {
  execFileSync('ip', args);
}

if (inOwnNamespace(import.meta.url)) {
  it('follows interfaces, addresses, routes and policy rules of both families', async (t) => {
    let reports = 0;
    const watch = new HostWatch(() => reports++);
    t.after(() => watch.stop());
    watch.start();
    let last = 0;
    // The subscription begins some time after the start.
    await eventually('it follows', () => {
      ip('link', 'add', `early${last}`, 'type', 'veth', 'peer', 'name', 'other');
      ip('link', 'del', `early${last++}`);
      return reports > 0;
    });
    for (const [what, change] of [
      ['an interface', ['link', 'add', 'line0', 'type', 'veth', 'peer', 'name', 'line1']],
      ['an address', ['address', 'add', '192.0.2.1/24', 'dev', 'line0']],
      ['it is up', ['link', 'set', 'line0', 'up']],
      ['a route', ['route', 'add', '198.51.100.0/24', 'dev', 'line0']],
      ['a rule', ['rule', 'add', 'pref', '100', 'iif', 'line0', 'prohibit']],
      ['a rule that is deleted', ['rule', 'del', 'pref', '100']],
      ['a rule of IPv6', ['-6', 'rule', 'add', 'pref', '100', 'iif', 'line0', 'prohibit']],
      ['a rule of IPv6 that is deleted', ['-6', 'rule', 'del', 'pref', '100']],
    ] as const) {
      // What follows a change by itself, such as addresses that IPv6 makes, must not be taken for the next one.
      let before = -1;
      await eventually('nothing changes any more', async () => {
        before = reports;
        await new Promise((resolve) => setTimeout(resolve, 800));
        return reports === before;
      });
      ip(...change);
      await eventually(`${what} is reported`, () => reports > before);
    }
    assert.ok(reports >= 9);
  });
}
