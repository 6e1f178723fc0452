import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { EXAMPLE_FACTS } from '../../../test/fixtures/example-gateway.ts';
import { compile, example } from '../../../test/support/compile-example.ts';
import { pluginFolder } from '../../../test/support/plugin-folder.ts';
import type { PlanDiversionPort } from '../../pipeline/plan.ts';
import { ConfigError } from '../config/errors.ts';
import { diversionDevice } from '../diversion-names.ts';
import { Identities } from '../identities.ts';

const DIVERSIONS = [
  { name: 'http', tcp: 8080 },
  { name: 'dns', tcp: 5353, udp: 5353 },
];

function withProxy(t: TestContext, rest = ''): string {
  const folder = pluginFolder(t, {
    manifest: { control: './control.ts', diversions: DIVERSIONS },
    files: { 'control.ts': 'export const createControlHalf = () => ({});' },
  });
  const plugins = `- { name: probe, from: ${folder}${rest} }\n  - name: return-routing`;
  return example(['- name: return-routing', plugins]);
}

function diversionsOf({ plan }: ReturnType<typeof compile>): PlanDiversionPort[] {
  return plan.ports.filter((port) => port.role === 'diversion');
}

test('each diversion is a port in a space of its own, down until its proxy is ready', (t) => {
  const text = withProxy(t);
  const identities = new Identities();
  const compiled = compile(text, EXAMPLE_FACTS, identities);
  const ports = diversionsOf(compiled);
  assert.deepEqual(
    ports.map(({ name, plugin, place, tcp, udp, enabled }) => [name, plugin, place, tcp, udp, enabled]),
    [
      ['probe/http', 'probe', 0, 8080, null, false],
      ['probe/dns', 'probe', 1, 5353, 5353, false],
    ],
  );
  for (const { name, space, link } of ports) {
    assert.equal(compiled.plan.spaces.find(({ id }) => id === space)?.kind, 'diversion');
    assert.ok(!compiled.plan.routes.some(({ via }) => via === space));
    const device = compiled.plan.devices.find(({ index }) => index === link.device);
    assert.deepEqual([device?.name, device?.kind], [diversionDevice(name), 'ethernet']);
    const host = compiled.host.devices.find((one) => one.name === device?.name);
    assert.equal(host?.role, 'exclusive', 'guarded as any site');
  }
  // Who is ready makes another plan, and the same numbers.
  const ready = compile(text, EXAMPLE_FACTS, identities, { readyDiversions: new Set(['probe/dns']) });
  assert.deepEqual(
    diversionsOf(ready).map(({ enabled, index, generation, space }) => [enabled, index, generation, space]),
    ports.map(({ name, index, generation, space }) => [name === 'probe/dns', index, generation, space]),
  );
  assert.ok(ready.plan.generation > compiled.plan.generation);
});

test('a plugin that is disabled has none, and one that cannot be made is down', (t) => {
  assert.deepEqual(diversionsOf(compile(withProxy(t, ', enabled: false'))), []);
  const refusedLinks = { [diversionDevice('probe/http')]: 'Operation not permitted' };
  const compiled = compile(withProxy(t), { ...EXAMPLE_FACTS, refusedLinks });
  assert.deepEqual(
    diversionsOf(compiled).map(({ link }) => link.device >= 0),
    [false, true],
  );
});

test('no site may have the addresses of proxies', (t) => {
  const taken = withProxy(t).replace(/prefixes: \[[^\]]*\]/, 'prefixes: [198.18.64.0/18]');
  assert.throws(
    () => compile(taken),
    (error: ConfigError) => {
      assert.ok(error instanceof ConfigError);
      assert.match(
        error.message,
        /198\.18\.64\.0\/18 meets 198\.18\.0\.0\/15, which the plugin probe needs for its proxy; take it out, or leave out the plugin/,
      );
      return true;
    },
  );
});
