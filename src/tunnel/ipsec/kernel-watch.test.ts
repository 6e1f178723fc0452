/** That the kernel has lost what the daemon believes in is told from what is only on its way. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { eventually } from '../../../test/support/patience.ts';
import type { ChildSa, IkeSa } from '../../vici/views.ts';
import type { IpsecTunnel } from './connection.ts';
import type { KernelSas } from './kernel-host.ts';
import { KernelWatch, missingOf } from './kernel-watch.ts';

const ID = 0x68000007;
const TUNNEL = { name: 'paris', kernel: { requestId: ID, interfaceId: ID } } as IpsecTunnel;

function child(spiIn: string, spiOut: string, state = 'INSTALLED'): ChildSa {
  return { name: 'site', state, reqid: ID, spiIn, spiOut, interfaceIdIn: ID, interfaceIdOut: ID } as ChildSa;
}

function sas(...children: ChildSa[]): IkeSa[] {
  return [{ name: 'homeward-paris', state: 'ESTABLISHED', children } as unknown as IkeSa];
}

function kernel(spis: readonly string[], directions = ['in', 'out', 'fwd'], id = ID): KernelSas {
  return {
    states: spis.map((spi) => ({ id, source: '', destination: '', protocol: 'esp', spi: `0x${spi}` })),
    policies: directions.map((direction) => ({ id, direction, index: '1', interfaceId: undefined })),
  };
}

describe('of a tunnel that is up', () => {
  const one = sas(child('c1', 'd1'));

  it('nothing is missing that is there, whatever zeros it is written with', () => {
    assert.equal(missingOf(TUNNEL, one, kernel(['000000c1', '000000d1'])), undefined);
  });

  it('SAs of either direction and policies are missed', () => {
    assert.equal(missingOf(TUNNEL, one, kernel(['c1'])), 'out d1');
    assert.equal(missingOf(TUNNEL, one, kernel(['d1'])), 'in c1');
    assert.equal(missingOf(TUNNEL, one, kernel(['c1', 'd1'], ['in', 'fwd'])), 'out');
    assert.equal(missingOf(TUNNEL, one, kernel([], [])), 'in c1, out d1, in, out');
    assert.equal(
      missingOf(TUNNEL, one, kernel(['c1', 'd1'], ['in', 'out'], ID + 1)),
      'in c1, out d1, in, out',
    );
  });

  it('one SA of two is enough: the other one is on its way', () => {
    const rekeyed = sas(child('c1', 'd1', 'REKEYED'), child('c2', 'd2'));
    assert.equal(missingOf(TUNNEL, rekeyed, kernel(['c2', 'd1'])), undefined);
    assert.equal(missingOf(TUNNEL, rekeyed, kernel(['c2'])), 'out d1, out d2');
  });
});

it('of a tunnel that is not up, or not the kernel’s, nothing is missed', () => {
  assert.equal(missingOf(TUNNEL, [], kernel([])), undefined);
  assert.equal(missingOf({ ...TUNNEL, kernel: null }, sas(child('c1', 'd1')), kernel([])), undefined);
});

describe('the watch', () => {
  async function watched(
    looks: readonly (KernelSas | Error)[],
  ): Promise<{ anew: string[]; logged: string[] }> {
    const anew: string[] = [];
    const logged: string[] = [];
    let at = 0;
    const watch = new KernelWatch({
      list: async () => {
        const look = looks[Math.min(at++, looks.length - 1)]!;
        if (look instanceof Error) throw look;
        return look;
      },
      tunnels: () => [TUNNEL],
      reconciler: {
        look: async () => {},
        details: () => ({ sas: sas(child('c1', 'd1')) }) as never,
        makeAnew: async (tunnel) => {
          anew.push(tunnel);
        },
        status: () => undefined,
      },
      log: (level, _, text) => logged.push(`${level} ${text}`),
      lookMs: 1,
      confirmMs: 1,
    });
    watch.start();
    await eventually('it has looked', () => at > looks.length);
    watch.stop();
    return { anew, logged };
  }
  const whole = kernel(['c1', 'd1']);

  it('has the tunnel connect anew when the same is missing twice', async () => {
    assert.deepEqual((await watched([kernel(['c1']), kernel(['c1']), whole])).anew, ['paris']);
    assert.deepEqual(
      (await watched([kernel(['c1']), whole, kernel(['d1']), kernel(['c1']), whole])).anew,
      [],
    );
  });

  it('says once why it cannot look, and takes nothing for missing', async () => {
    const broken = new Error('no netlink');
    const { anew, logged } = await watched([kernel([]), broken, broken, kernel([]), broken, whole]);
    assert.deepEqual(anew, []);
    assert.deepEqual(logged, Array(2).fill("warn SAs cannot be compared with the kernel's: no netlink"));
  });
});
