/**
 * A hundred IPsec tunnels by the kernel, with one daemon: how long they take to come up, also after the daemon was killed,
 * and what memory they take. Runs in the guest of `scripts/lab`.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { ipsecObstacle } from '../../support/ipsec-peer.ts';
import { HundredTunnels, TUNNELS } from '../../support/lab/hundred-tunnels.ts';
import { labOptions } from '../../support/lab/lab-test.ts';
import { Lab } from '../../support/lab.ts';
import { eventually } from '../../support/patience.ts';

const skip = ipsecObstacle();
describe('a hundred IPsec tunnels', skip === undefined ? labOptions() : { skip }, () => {
  let lab: Lab;
  let tunnels: HundredTunnels;

  before(async () => {
    lab = new Lab();
    tunnels = await HundredTunnels.create(lab, 'xfrm');
  });
  after(async () => {
    tunnels?.stop();
    await lab?.remove();
  });

  it('come up', async (t) => {
    await tunnels.gateway.start();
    t.diagnostic(`all up ${await tunnels.untilUp()} ms after the gateway forwarded`);
    const { daemons, control } = tunnels.memory();
    t.diagnostic(`memory: daemon ${daemons} KiB, control ${control} KiB`);
    assert.equal(await tunnels.connected(), TUNNELS);
  });

  it('come up again when the daemon was killed', async (t) => {
    const [former] = tunnels.daemons();
    process.kill(former!, 'SIGKILL');
    const began = performance.now();
    await eventually('another daemon runs', () => ![former, undefined].includes(tunnels.daemons()[0]));
    await tunnels.untilDown();
    await tunnels.untilUp();
    t.diagnostic(`all up again after ${Math.round(performance.now() - began)} ms`);
  });

  it('leave nothing', async () => {
    assert.equal(await tunnels.gateway.end('SIGINT'), 0);
    assert.equal((await lab.exec('gw', 'ip', ['xfrm', 'state', 'list'])).trim(), '');
    assert.equal((await lab.exec('gw', 'ip', ['xfrm', 'policy', 'list'])).trim(), '');
    assert.doesNotMatch(await lab.exec('gw', 'ip', ['link']), /xfrm|t\d+-/);
  });
});
