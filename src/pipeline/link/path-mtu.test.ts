import assert from 'node:assert/strict';
import test from 'node:test';
import { IPV4, IPV6 } from '../../wire/packet.ts';
import { PATH_MTU_AGE_MS, PathMtu } from './path-mtu.ts';

const OVERHEAD = 44;

test('a report lowers the value, never raises it', () => {
  const mtu = new PathMtu(1500, OVERHEAD, IPV4);
  assert.ok(mtu.report(1400, 1500, 0));
  assert.equal(mtu.current, 1400);
  assert.ok(!mtu.report(1450, 1500, 0));
  assert.equal(mtu.current, 1400);
});

test('not below what every link must carry', () => {
  const ipv4 = new PathMtu(1500, OVERHEAD, IPV4);
  ipv4.report(68, 1500, 0);
  assert.equal(ipv4.current, 576);
  const ipv6 = new PathMtu(1500, OVERHEAD, IPV6);
  assert.ok(!ipv6.report(1279, 1500, 0), 'discarded: RFC 8201, 4');
  ipv6.report(1280, 1500, 0);
  assert.equal(ipv6.current, 1280);
  const small = new PathMtu(500, OVERHEAD, IPV4);
  small.report(68, 500, 0);
  assert.equal(small.current, 500, 'a configured value below the minimum stays');
});

test('a link that would have carried the packet is no reason', () => {
  const mtu = new PathMtu(1500, OVERHEAD, IPV4);
  assert.ok(!mtu.report(1400, 1400, 0));
  assert.ok(!mtu.report(1400, 100, 0));
  assert.ok(!mtu.report(-1, 1500, 0), 'a value above 2^31');
  assert.equal(mtu.current, 1500);
});

test('a router that does not say its MTU: the next plateau (RFC 1191, 7.1)', () => {
  const mtu = new PathMtu(1500, OVERHEAD, IPV4);
  mtu.report(0, 1500, 0);
  assert.equal(mtu.current, 1492);
  mtu.report(0, 1492, 0);
  assert.equal(mtu.current, 1006);
  mtu.report(0, 300, 0);
  assert.equal(mtu.current, 576);
});

test('forgotten ten minutes after the last confirmation', () => {
  const nowMs = 0x7fffffff - 1000;
  const mtu = new PathMtu(1500, OVERHEAD, IPV6);
  mtu.report(1400, 1500, nowMs);
  const again = (nowMs + PATH_MTU_AGE_MS - 1) | 0;
  mtu.tick(again);
  assert.equal(mtu.current, 1400);
  mtu.report(1400, 1500, again);
  mtu.tick((again + PATH_MTU_AGE_MS - 1) | 0);
  assert.equal(mtu.current, 1400);
  mtu.tick((again + PATH_MTU_AGE_MS) | 0);
  assert.equal(mtu.current, 1500);
});

test('narrow while an IPv6 packet of 1280 bytes does not pass whole', () => {
  const mtu = new PathMtu(1500, OVERHEAD, IPV6);
  assert.equal(mtu.isNarrow, 0);
  mtu.report(1280 + OVERHEAD, 1500, 0);
  assert.equal(mtu.isNarrow, 0);
  mtu.report(1280 + OVERHEAD - 1, 1500, 0);
  assert.equal(mtu.isNarrow, 1);
  mtu.tick(PATH_MTU_AGE_MS);
  assert.equal(mtu.isNarrow, 0);
  assert.equal(new PathMtu(1280, OVERHEAD, IPV4).isNarrow, 1, 'by configuration');
});

test('an IPv4 path below 576 is left to its routers, until that is forgotten', () => {
  for (const configured of [1500, 500]) {
    const mtu = new PathMtu(configured, OVERHEAD, IPV4);
    mtu.report(576, 1500, 0);
    assert.equal(mtu.mayBeCut, 0);
    mtu.report(296, 500, 0);
    assert.equal(mtu.mayBeCut, 1);
    assert.equal(mtu.current, Math.min(configured, 576));
    mtu.report(552, 576, 0);
    assert.equal(mtu.mayBeCut, 1);
    mtu.tick(PATH_MTU_AGE_MS);
    assert.equal(mtu.mayBeCut, 0);
    assert.equal(mtu.current, configured);
  }
});
