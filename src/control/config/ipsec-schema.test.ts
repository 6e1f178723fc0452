/** IPsec tunnels in the configuration: what is read, what is refused and how, and that no secret is repeated. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { IpsecTunnelConfig } from './config.ts';
import { ConfigError } from './errors.ts';
import { parseConfig } from './load.ts';

const IKE = 'local_id: gw.example, remote_id: paris.example, psk: { file: /etc/homeward/psk }';

function withTunnels(...tunnels: readonly string[]): string {
  const lines = tunnels.map((keys, at) => `      - { name: t${at}, type: ipsec, local: 192.0.2.1, ${keys} }`);
  return `version: 1\nsites:\n  - name: paris\n    tunnels:\n${lines.join('\n')}\n`;
}

function problems(...tunnels: readonly string[]): string[] {
  try {
    parseConfig(withTunnels(...tunnels), 'test.yaml');
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.problems.map(({ path, text }) => `${path}: ${text}`);
  }
  return [];
}

describe('ipsec tunnels', () => {
  it('have defaults', () => {
    const config = parseConfig(withTunnels(`remote: 198.51.100.1, ike: { ${IKE} }`), 'test.yaml');
    const tunnel = config.sites[0]!.tunnels[0] as IpsecTunnelConfig;
    assert.equal(tunnel.ike.start, 'both');
    assert.equal(tunnel.ike.dpdMs, 2000);
    assert.equal(tunnel.ike.rekeyMs, 14_400_000);
    assert.equal(tunnel.child.rekeyMs, 3_600_000);
    assert.equal(tunnel.child.replayProtection, true);
    assert.equal(tunnel.driver, 'auto');
    assert.deepEqual(tunnel.ike.authentication, { kind: 'psk', secret: { file: '/etc/homeward/psk' } });
    assert.deepEqual(tunnel.child.proposals, ['aes256gcm16', 'aes128gcm16', 'aes256-sha256']);
  });

  it('wait for a peer that may be anywhere', () => {
    const config = parseConfig(withTunnels(`remote: any, ike: { ${IKE} }`), 'test.yaml');
    const tunnel = config.sites[0]!.tunnels[0] as IpsecTunnelConfig;
    assert.equal(tunnel.remote, null);
    assert.equal(tunnel.ike.start, 'respond');
  });

  const wrong: readonly (readonly [what: string, tunnels: readonly string[], problem: string])[] = [
    [
      'a proposal',
      [`remote: 198.51.100.1, ike: { ${IKE}, proposals: aes256gcm16-ecp384 }`],
      'sites.paris.tunnels.t0.ike.proposals: "aes256gcm16-ecp384" has aes256gcm16 without a PRF; add one such as prfsha384',
    ],
    [
      'a proposal of the child',
      [`remote: 198.51.100.1, ike: { ${IKE} }, child: { proposals: [aes256gcm16, aes256gcn16] }`],
      'sites.paris.tunnels.t0.child.proposals[1]: "aes256gcn16" has the unknown algorithm "aes256gcn16"; did you mean aes256gcm16?',
    ],
    [
      'no way to authenticate',
      ['remote: 198.51.100.1, ike: { local_id: a, remote_id: b }'],
      'sites.paris.tunnels.t0.ike: does not say how the ends authenticate, or says it twice; write either psk or certificate',
    ],
    [
      'two places of a secret',
      ['remote: 198.51.100.1, ike: { local_id: a, remote_id: b, psk: { file: /x, env: Y } }'],
      'sites.paris.tunnels.t0.ike.psk: names no place or two; write either file or env',
    ],
    [
      'a driver of another type',
      [`remote: 198.51.100.1, ike: { ${IKE} }, driver: kernel`],
      'sites.paris.tunnels.t0.driver: kernel is not known here; write one of auto, xfrm, libipsec',
    ],
    [
      'a name as remote',
      [`remote: paris.example.com, ike: { ${IKE} }`],
      'sites.paris.tunnels.t0.remote: paris.example.com: names are not built yet; write one such as 198.51.100.11, or any for an end that calls from any address',
    ],
    [
      'another family',
      [`remote: "2001:db8::1", ike: { ${IKE} }`],
      'sites.paris.tunnels.t0.remote: 2001:db8::1 is not of the same family as local (192.0.2.1); write an IPv4 address',
    ],
    [
      'somebody to call who is nowhere',
      [`remote: any, ike: { ${IKE}, start: initiate }`],
      'sites.paris.tunnels.t0.ike.start: initiate needs somebody to call, and remote is any; write respond, or an address as remote',
    ],
    [
      'the same ends twice',
      [`remote: 198.51.100.1, ike: { ${IKE} }`, `remote: 198.51.100.1, ike: { ${IKE} }`],
      'sites.paris.tunnels.t1.ike.remote_id: paris.example does not tell this tunnel from t0 (same remote, local_id and remote_id); write another remote_id',
    ],
    [
      'identities that differ in how they are written only',
      [
        `remote: 198.51.100.1, ike: { ${IKE} }`,
        `remote: 198.51.100.1, ike: { ${IKE.replace('paris.example', "'@Paris.example'")} }`,
      ],
      'sites.paris.tunnels.t1.ike.remote_id: @Paris.example does not tell this tunnel from t0 (same remote, local_id and remote_id); write another remote_id',
    ],
    [
      'a pattern as identity',
      [`remote: 198.51.100.1, ike: { ${IKE.replace('paris.example', "'*.example'")} }`],
      'sites.paris.tunnels.t0.ike.remote_id: "*.example" is not an identity; write a name, an address, an e-mail address or a distinguished name, whole and without *',
    ],
    [
      'an interval that the daemon cannot count in',
      [`remote: 198.51.100.1, ike: { ${IKE}, dpd: 1500ms }`],
      'sites.paris.tunnels.t0.ike.dpd: 1500ms is not usable; write whole seconds from 1s to 3600s',
    ],
  ];
  for (const [what, tunnels, problem] of wrong) {
    it(`refuse ${what}`, () => assert.deepEqual(problems(...tunnels), [problem]));
  }

  const greWrong: readonly (readonly [what: string, tunnels: readonly string[], problem: string])[] = [
    [
      'within IPsec in user space',
      [`remote: 198.51.100.1, driver: userspace, ipsec: { ike: { ${IKE} } }`],
      'sites.paris.tunnels.g0.driver: userspace sends GRE past the kernel, which is to encrypt it; write kernel or auto',
    ],
    [
      'beside one within IPsec',
      [`remote: 198.51.100.1, key: 1, ipsec: { ike: { ${IKE} } }`, 'remote: 198.51.100.1, key: 2'],
      'sites.paris.tunnels.g1.remote: tunnel g0 has the same local and remote, and IPsec does not tell GRE tunnels by their keys; write another local or remote for one of them',
    ],
    [
      'that does not say how its ends authenticate',
      ['remote: 198.51.100.1, ipsec: { ike: { local_id: a, remote_id: b } }'],
      'sites.paris.tunnels.g0.ipsec.ike: does not say how the ends authenticate, or says it twice; write either psk or certificate',
    ],
    [
      'whose ends have one identity',
      ['remote: 198.51.100.1, ipsec: { ike: { local_id: a, remote_id: a, psk: { env: PSK } } }'],
      "sites.paris.tunnels.g0.ipsec.ike.remote_id: a is local_id as well; write the other end's identity",
    ],
  ];
  for (const [what, tunnels, problem] of greWrong) {
    it(`refuse a GRE tunnel ${what}`, () => {
      const gre = tunnels.map((keys, at) => `      - { name: g${at}, type: gre, local: 192.0.2.1, ${keys} }`);
      const text = `version: 1\nsites:\n  - name: paris\n    tunnels:\n${gre.join('\n')}\n`;
      assert.throws(
        () => parseConfig(text, 'test.yaml'),
        (error) => {
          assert.ok(error instanceof ConfigError);
          const told = error.problems.map(({ path, text: words }) => `${path}: ${words}`);
          assert.deepEqual(told, [problem]);
          return true;
        },
      );
    });
  }

  it('never repeat a secret that somebody writes here', () => {
    for (const secret of ['hunter2', '[hunter2]', '"hunter2"']) {
      const [problem] = problems(`remote: 198.51.100.1, ike: { local_id: a, remote_id: b, psk: ${secret} }`);
      assert.match(problem!, /psk: is not written here; put the secret into a file/);
      assert.doesNotMatch(problem!, /hunter2/);
    }
  });
});
