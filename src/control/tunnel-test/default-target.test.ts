import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TunnelConfig } from '../config/config.ts';
import { defaultTarget } from './default-target.ts';

test('the other end, where there can be only one', () => {
  const cases: [address: string, prefix: string, other: string | undefined][] = [
    ['169.254.240.0', '169.254.240.0/31', '169.254.240.1'],
    ['169.254.240.1', '169.254.240.0/31', '169.254.240.0'],
    ['172.20.0.1', '172.20.0.0/30', '172.20.0.2'],
    ['172.20.0.2', '172.20.0.0/30', '172.20.0.1'],
    ['172.20.0.1', '172.20.0.0/29', undefined],
    ['172.20.0.1', '172.20.0.1/32', undefined],
    ['fd00:a::', 'fd00:a::/127', 'fd00:a::1'],
    ['fd00:a::2', 'fd00:a::/126', 'fd00:a::1'],
    ['fd00:a::1', 'fd00:a::/64', undefined],
  ];
  for (const [address, prefix, other] of cases) {
    const tunnel = { type: 'gre', interfaceAddresses: [{ address, prefix }] } as unknown as TunnelConfig;
    assert.equal(defaultTarget(tunnel), other, `${address} in ${prefix}`);
  }
  const withNextHop = {
    type: 'interconnect',
    nextHop: { ipv4: '172.20.0.6' },
    interfaceAddresses: [{ address: '172.20.0.1', prefix: '172.20.0.0/29' }],
  };
  assert.equal(defaultTarget(withNextHop as unknown as TunnelConfig), '172.20.0.6');
  assert.equal(
    defaultTarget({ type: 'device', interfaceAddresses: [] } as unknown as TunnelConfig),
    undefined,
  );
});
