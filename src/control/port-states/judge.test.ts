/** States and reasons, from everything that may be known of a port. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NEXT_HOP_ASKED, NEXT_HOP_BITS, NEXT_HOP_SILENT } from '../../flow/counters.ts';
import type { TunnelHealthStatus } from '../health/tunnel-health.ts';
import { type Judgement, judgePort, type PortFindings } from './judge.ts';

const FINE: PortFindings = {
  isEnabled: true,
  isForwarded: true,
  connection: undefined,
  isOpen: true,
  device: 'eth1',
  lack: undefined,
  nextHops: { ipv4: '10.0.0.2', ipv6: 'fd00::2' },
  nextHopBits: 0,
  health: null,
};
const UP: Judgement = { state: 'up', reason: null };
const NEW: Judgement = { state: 'configured', reason: null };

function health(state: TunnelHealthStatus['state'], lossRatio = 0): TunnelHealthStatus {
  return { state, since: '', target: '10.0.0.9', rttMs: 1, lossRatio, sent: 9, lost: 1 };
}

function judged(findings: Partial<PortFindings>, former: Judgement = UP): string {
  const { state, reason } = judgePort({ ...FINE, ...findings }, former);
  return reason === null ? state : `${state}: ${reason}`;
}

test('without anything wrong it is up, whatever it was', () => {
  for (const state of ['configured', 'connecting', 'up', 'degraded', 'down', 'disabled'] as const) {
    assert.equal(judged({}, { state, reason: 'as it was' }), 'up');
  }
});

test('the first thing that is wrong says why', () => {
  const wrong: (readonly [Partial<PortFindings>, string])[] = [
    [{ isEnabled: false }, 'disabled: the configuration says so'],
    [{ isForwarded: false }, 'down: no data plane forwards'],
    [
      { connection: { state: 'down', reason: 'the peer does not answer', sinceMs: 1 } },
      'down: the peer does not answer',
    ],
    [{ isOpen: false, lack: 'device: eth1 does not exist' }, 'down: device: eth1 does not exist'],
    [
      { nextHopBits: NEXT_HOP_SILENT | (NEXT_HOP_SILENT << NEXT_HOP_BITS) },
      'down: next hops 10.0.0.2 and fd00::2 do not answer',
    ],
    [{ health: health('down') }, 'down: health checks: 10.0.0.9 does not answer'],
  ];
  let all: Partial<PortFindings> = {};
  for (const [findings, text] of wrong.toReversed()) {
    all = { ...all, ...findings };
    assert.equal(judged(findings), text);
    assert.equal(judged(all), text);
  }
});

test('what is agreed on with the other end has its own words', () => {
  const connection = (state: 'configured' | 'connecting' | 'up', reason: string | null) =>
    judged({ connection: { state, reason, sinceMs: 1 }, isOpen: state === 'up' });
  assert.equal(
    connection('configured', 'waits for the peer to connect'),
    'configured: waits for the peer to connect',
  );
  assert.equal(connection('connecting', null), 'connecting');
  assert.equal(connection('up', null), 'up');
});

test('a device that comes with the connection is waited for', () => {
  const findings = {
    connection: { state: 'up', reason: null, sinceMs: 1 },
    isOpen: false,
    device: '',
  } as const;
  const connecting = { state: 'connecting', reason: null } as const;
  assert.equal(judged(findings, connecting), 'connecting');
  assert.equal(judged(findings, UP), 'down: it has no device');
  assert.equal(judged({ ...findings, lack: 'eth0 is gone' }, connecting), 'down: eth0 is gone');
});

test('a device that nobody complains about is named', () => {
  assert.equal(judged({ isOpen: false }), 'down: its device eth1 is not usable');
  assert.equal(judged({ isOpen: false, device: '' }), 'down: it has no device');
});

test('next hops: asked first, then silent, in part or all', () => {
  const asked = { nextHops: { ipv4: '10.0.0.2' }, nextHopBits: NEXT_HOP_ASKED };
  assert.equal(judged(asked, NEW), 'connecting: waits for next hop 10.0.0.2 to answer');
  assert.equal(judged(asked, UP), 'up');
  assert.equal(
    judged(asked, { state: 'down', reason: 'no device' }),
    'down: next hop 10.0.0.2 does not answer',
  );
  const silent = { nextHops: { ipv4: '10.0.0.2' }, nextHopBits: NEXT_HOP_SILENT };
  assert.equal(judged(silent), 'down: next hop 10.0.0.2 does not answer');
  assert.equal(
    judged({ nextHopBits: NEXT_HOP_SILENT << NEXT_HOP_BITS }),
    'degraded: next hop fd00::2 does not answer',
  );
  // One family works already: packets pass.
  assert.equal(judged({ nextHopBits: NEXT_HOP_ASKED }, NEW), 'up');
});

test('health checks: lost ones degrade, in words that do not change with every one', () => {
  const first = judged({ health: health('degraded', 0.01) });
  assert.equal(first, 'degraded: health checks: 10.0.0.9 leaves some unanswered');
  assert.equal(judged({ health: health('degraded', 0.02) }), first);
  assert.equal(judged({ health: health('unknown') }), 'up');
});
