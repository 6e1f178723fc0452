/** A hundred IPsec tunnels of the user-space driver: how long they take to come up, also when their daemons were killed. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { ipsecObstacle } from '../support/ipsec-peer.ts';
import { HundredTunnels, TUNNELS } from '../support/lab/hundred-tunnels.ts';
import { labOptions } from '../support/lab/lab-test.ts';
import { Lab } from '../support/lab.ts';
import { eventually } from '../support/patience.ts';

const skip = ipsecObstacle();
describe('a hundred IPsec tunnels in user space', skip === undefined ? labOptions() : { skip }, () => {
  let lab: Lab;
  let tunnels: HundredTunnels;

  before(async () => {
    lab = new Lab();
    tunnels = await HundredTunnels.create(lab, 'libipsec');
  });
  after(async () => {
    tunnels?.stop();
    await lab?.remove();
  });

  it('come up', async (t) => {
    const began = performance.now();
    await tunnels.gateway.start();
    const startMs = Math.round(performance.now() - began);
    t.diagnostic(`forwards after ${startMs} ms, all up ${await tunnels.untilUp()} ms later`);
    const { daemons, control } = tunnels.memory();
    t.diagnostic(`memory: ${TUNNELS} daemons ${daemons} KiB, control ${control} KiB`);
    assert.equal(await tunnels.connected(), TUNNELS);
  });

  it('come up again when all daemons were killed', async (t) => {
    const former = tunnels.daemons();
    assert.equal(former.length, TUNNELS);
    for (const pid of former) process.kill(pid, 'SIGKILL');
    const began = performance.now();
    await tunnels.untilDown();
    await tunnels.untilUp();
    t.diagnostic(`all up again after ${Math.round(performance.now() - began)} ms`);
    assert.ok(!tunnels.daemons().some((pid) => former.includes(pid)));
  });

  it('leave nothing', async () => {
    assert.equal(await tunnels.gateway.end('SIGINT'), 0);
    await eventually('all daemons are gone', () => tunnels.daemons().length === 0);
    assert.doesNotMatch(await lab.exec('gw', 'ip', ['link']), /\bt\d+\b/);
  });
});
