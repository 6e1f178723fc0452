/** The xfrm driver and a daemon of its own: peers are held off until it knows their tunnels, and nothing stays. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { EXAMPLE_IPSEC_TUNNEL } from '../../../test/fixtures/example-ipsec-tunnel.ts';
import { charonObstacle } from '../../../test/support/charon.ts';
import { inOwnNamespace } from '../../../test/support/own-namespace.ts';
import { eventually } from '../../../test/support/patience.ts';
import { runCommand } from '../../control/host/command.ts';
import type { RunTool } from './host-tools.ts';
import { KernelDriver } from './kernel.ts';
import { HOLD_TABLE } from './peer-hold.ts';

/** The processes that this one has started. */
function daemons(): number[] {
  const tasks = `/proc/${process.pid}/task`;
  return readdirSync(tasks)
    .flatMap((task) => readFileSync(`${tasks}/${task}/children`, 'latin1').split(' '))
    .filter((pid) => /^charon/.test(pid && readFileSync(`/proc/${pid}/comm`, 'latin1')))
    .map(Number);
}

const skip = charonObstacle();
if (skip !== undefined) it('has a daemon', { skip }, () => {});
else if (inOwnNamespace(import.meta.url)) {
  it('holds peers off until the daemon knows their tunnels, also another one, and leaves nothing', async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'homeward-kernel-'));
    t.after(() => rmSync(directory, { recursive: true, force: true }));
    const tools: string[] = [];
    const run: RunTool = async (command, args, options) => {
      if (command === 'nft') tools.push(/\{/.test(options?.input ?? '') ? 'held' : 'released');
      return await runCommand(command, args, options);
    };
    const driver = new KernelDriver({
      directory,
      instance: 'test',
      daemonSocket: null,
      run,
      log: () => {},
      onState: () => {},
    });
    t.after(() => driver.stop());
    const id = 0x68000007;
    const tunnel = { ...EXAMPLE_IPSEC_TUNNEL, kernel: { requestId: id, interfaceId: id } };
    const path = { device: 'up0', mtu: 1500, local: tunnel.local, remote: '192.0.2.2', nextHop: '192.0.2.2' };
    await driver.apply([
      { key: 'one', tunnel, credentials: () => ({ kind: 'psk', secret: Buffer.from('secret') }), path },
      {
        key: 'other',
        // Its secret cannot be read: nobody waits for it.
        tunnel: { ...tunnel, name: 'other', kernel: { requestId: id + 1, interfaceId: id + 1 } },
        credentials: () => {
          throw new Error('there is no secret');
        },
        path,
      },
    ]);
    await eventually('the daemon knows the tunnel', () =>
      driver.status(tunnel.name)?.reason?.startsWith('waits for'),
    );
    await eventually('peers are released', () => tools.at(-1) === 'released');
    assert.deepEqual(tools, ['held', 'released']);

    const [hung] = daemons();
    process.kill(hung!, 'SIGSTOP');
    // Two questions of ten seconds, and some more until it is killed.
    await eventually(
      'one that hangs is started anew',
      () => ![hung, undefined].includes(daemons()[0]),
      60_000,
    );
    await eventually('the next one knows the tunnel', () =>
      driver.status(tunnel.name)?.reason?.startsWith('waits for'),
    );
    await eventually('peers are released again', () => tools.length >= 4 && tools.at(-1) === 'released');
    assert.deepEqual(tools, ['held', 'released', 'held', 'released']);

    await driver.stop();
    assert.doesNotMatch(await runCommand('nft', ['list', 'tables']), new RegExp(HOLD_TABLE));
  });
}
