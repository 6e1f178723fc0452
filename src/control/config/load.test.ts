import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { EXAMPLE_CONFIG, EXAMPLE_FILE } from '../../../test/fixtures/example-gateway.ts';
import { ConfigError, formatProblem } from './errors.ts';
import { loadConfig, parseConfig } from './load.ts';

const SEED = 20251;
const directory = mkdtempSync(join(tmpdir(), 'homeward-config-'));
after(() => rmSync(directory, { recursive: true, force: true }));

/** The configuration, or undefined if it is refused; anything but a ConfigError is a failure. */
function parseOrRefuse(text: string): unknown {
  try {
    return parseConfig(text, 'random.yaml');
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    assert.ok(error.problems.length > 0);
    for (const line of error.message.split('\n')) assert.match(line, /^random\.yaml:\d+:\d+: ./);
    return undefined;
  }
}

test('the example is right, and says which addresses are ambiguous', () => {
  const config = parseConfig(EXAMPLE_CONFIG, EXAMPLE_FILE);
  assert.deepEqual(config.notices.map(formatProblem), [
    'homeward.yaml:19:16: sites.lyon.prefixes[0]: 10.0.1.0/24 is ambiguous with paris (10.0.1.0/24); ' +
      'new flows towards it are dropped unless a route names the site',
  ]);
  assert.deepEqual(config.sites[0], {
    name: 'paris',
    prefixes: ['10.0.1.0/24'],
    tunnels: [
      {
        name: 'paris-gre',
        type: 'gre',
        enabled: true,
        priority: 100,
        automaticReturnRouting: true,
        mtu: 1476,
        health: { target: null, rate: 'mid' },
        interfaceAddresses: [
          { address: '169.254.240.0', prefix: '169.254.240.0/31' },
          { address: 'fd00:a::', prefix: 'fd00:a::/127' },
        ],
        local: '192.0.2.1',
        remote: '198.51.100.10',
        key: 7,
        checksum: false,
        sequence: false,
        driver: 'auto',
        ttl: 64,
        ipsec: null,
      },
    ],
  });
  assert.equal(config.api.socket, '/run/homeward/api.sock');
});

test('a route that names the site settles the ambiguity', () => {
  const text = EXAMPLE_CONFIG.replace('routes:\n', 'routes:\n  - { prefix: 10.0.0.0/16, via: lyon }\n');
  assert.deepEqual(parseConfig(text, EXAMPLE_FILE).notices, []);
});

test('an empty gateway gets every default', () => {
  const { source: _, notices, plugins, ...config } = parseConfig('version: 1\n', EXAMPLE_FILE);
  assert.deepEqual(config, {
    version: 1,
    gateway: { name: 'homeward', stateDir: null, pluginDir: null },
    sites: [],
    egress: [],
    routes: [],
    ipsec: { daemonSocket: null },
    flowTable: {
      maxFlows: 262144,
      perTunnel: 0.25,
      createRatePerTunnel: 20000,
      createRatePerSource: 500,
      otherProtocols: [],
    },
    api: { socket: null, listen: null },
    metrics: { listen: null },
    flowLog: null,
    log: { level: 'info' },
  });
  assert.deepEqual(
    plugins.map(({ name, enabled, ports, onFailure, options }) => ({
      name,
      enabled,
      ports,
      onFailure,
      options,
    })),
    [
      {
        name: 'return-routing',
        enabled: true,
        ports: 'all',
        onFailure: {
          exception: 'drop-flow',
          timeout: 'drop-flow',
          memory: 'drop-flow',
          midstream: 'drop-flow',
          unparsable: 'drop-flow',
        },
        options: {},
      },
    ],
  );
  assert.deepEqual(notices, []);
});

test('an egress that no route leads to is a notice', () => {
  const text = `version: 1
egress: [ { name: out, type: internet, device: eth0 }, { name: spare, type: internet, device: eth1 } ]
routes: [ { prefix: 0.0.0.0/0, via: out } ]
`;
  assert.deepEqual(parseConfig(text, EXAMPLE_FILE).notices.map(formatProblem), [
    'homeward.yaml:2:64: egress.spare.name: no route leads to spare; no site can begin flows by it',
  ]);
});

test('an egress gets its defaults', () => {
  const text = 'version: 1\negress: [ { name: out, type: internet, device: eth0 } ]\n';
  assert.deepEqual(parseConfig(text, EXAMPLE_FILE).egress, [
    {
      name: 'out',
      type: 'internet',
      device: 'eth0',
      nextHop: 'auto',
      addresses: 'auto',
      reservedPorts: 'auto',
      siteQuota: 0.5,
      nat: { ipv4: 'source', ipv6: 'source' },
      mtu: null,
      portForwards: [],
    },
  ]);
});

test('values with units and several notations are read', () => {
  const text = `version: 1
egress:
  - name: out
    type: internet
    device: eth0
    next_hop: [192.0.2.254, "FE80::1"]
    addresses: [198.51.100.8/30, "2001:DB8:0:0::7"]
    reserved_ports: 50000-59999
    site_quota: 12.5%
flow_table: { create_rate: { per_tunnel: unlimited, per_source: 7/s }, other_protocols: 132 }
`;
  const { egress, flowTable } = parseConfig(text, EXAMPLE_FILE);
  assert.deepEqual(egress[0]!.nextHop, { ipv4: '192.0.2.254', ipv6: 'fe80::1' });
  assert.deepEqual(egress[0]!.addresses, [
    '198.51.100.8',
    '198.51.100.9',
    '198.51.100.10',
    '198.51.100.11',
    '2001:db8::7',
  ]);
  assert.deepEqual(egress[0]!.reservedPorts, { min: 50000, max: 59999 });
  assert.equal(egress[0]!.siteQuota, 0.125);
  assert.equal(flowTable.createRatePerTunnel, 0);
  assert.equal(flowTable.createRatePerSource, 7);
  assert.deepEqual(flowTable.otherProtocols, [132]);
});

test('anchors and aliases work, and a problem in one is reported at both places', () => {
  const text = `version: 1
sites:
  - { name: a, prefixes: &wrong [10.0.0.1/24], tunnels: [ { name: a1, type: device, device: wg1 } ] }
  - { name: b, prefixes: *wrong, tunnels: [ { name: b1, type: device, device: wg2 } ] }
`;
  assert.throws(
    () => parseConfig(text, 'f'),
    (error) => {
      assert.equal(
        (error as Error).message,
        'f:3:34: sites.a.prefixes[0]: 10.0.0.1/24 has bits set behind its length; write 10.0.0.0/24\n' +
          'f:3:34: sites.b.prefixes[0]: 10.0.0.1/24 has bits set behind its length; write 10.0.0.0/24',
      );
      return true;
    },
  );
});

test('files that cannot be read say why', () => {
  const missing = join(directory, 'missing.yaml');
  const binary = join(directory, 'binary.yaml');
  writeFileSync(binary, Uint8Array.of(0xff, 0xfe, 0x00));
  const cases: [string, string][] = [
    [missing, `${missing}:1:1: there is no such file; give the path of a configuration file`],
    [directory, `${directory}:1:1: is a directory; give the path of a configuration file`],
    [binary, `${binary}:1:1: is not UTF-8 text; save it as UTF-8`],
  ];
  for (const [file, message] of cases)
    assert.throws(() => loadConfig(file), { code: 'config_invalid', message });
});

test('an alias bomb is refused', () => {
  const levels = Array.from({ length: 12 }, (_, at) =>
    at === 0
      ? '&l0 [x, x, x, x, x, x, x, x, x]'
      : `&l${at} [${Array(9)
          .fill(`*l${at - 1}`)
          .join(', ')}]`,
  );
  const text = `version: 1\nsites: [${levels.join(', ')}]\n`;
  assert.equal(parseOrRefuse(text), undefined);
});

test('lists and maps that stand in each other too deep are refused, with their place', () => {
  const inEachOther = (depth: number): string =>
    `version: 1\nsites: ${'['.repeat(depth)}${']'.repeat(depth)}\n`;
  const texts = [
    inEachOther(64),
    inEachOther(1900),
    inEachOther(100_000),
    `version: 1\nsites:\n${'- '.repeat(5000)}x\n`,
    `version: 1\nsites: ${'{a: '.repeat(100_000)}`,
  ];
  for (const text of texts) {
    assert.throws(
      () => parseConfig(text, 'deep.yaml'),
      /^ConfigError: deep\.yaml:[23]:\d+: lists and maps stand in each other more than 64 deep here; look for/,
      text.slice(0, 40),
    );
  }
  // No syntax that is at fault: what is said is about sites.
  assert.throws(() => parseConfig(inEachOther(63), 'deep.yaml'), /deep\.yaml:2:\d+: sites/);
  const levels = Array.from({ length: 900 }, (_, at) => {
    const within = at === 0 ? 'x' : `*l${at - 1}`;
    return `- &l${at} ${'['.repeat(60)}${within}${']'.repeat(60)}`;
  });
  const byAliases = `version: 1\nplugins:\n- name: firewall\n  options:\n    rules:\n${levels.map((level) => `    ${level}\n`).join('')}`;
  assert.throws(() => parseConfig(byAliases, 'deep.yaml'), { code: 'config_invalid' });
});

test('random text is refused in order, never by another error', () => {
  const pieces = fc.constantFrom(
    'version: 1',
    'sites:',
    '\n',
    '  ',
    '- ',
    '{',
    '}',
    '[',
    ']',
    ': ',
    '&a ',
    '*a',
    '!!set ',
    '? ',
    '"',
    '|',
    '<<: ',
    '__proto__: ',
    '---',
    '#',
    '\t',
  );
  const text = fc.array(fc.oneof(pieces, fc.string({ maxLength: 6 })), { maxLength: 40 });
  fc.assert(
    fc.property(text, (parts) => {
      parseOrRefuse(parts.join(''));
    }),
    { seed: SEED, numRuns: 2000 },
  );
});

test('random values in the place of every key are refused in order, or accepted', () => {
  const keys = fc.constantFrom(
    ...'version gateway sites egress routes flow_table plugins api name type device prefixes tunnels local'.split(
      ' ',
    ),
    ...'remote key next_hop addresses reserved_ports nat port_forwards to prefix via priority options'.split(
      ' ',
    ),
    ...'interface_address driver mtu create_rate per_tunnel other_protocols constructor __proto__'.split(' '),
  );
  const leaf = fc.oneof(
    fc.constantFrom(
      1,
      0,
      -1,
      1.5,
      true,
      null,
      '',
      'auto',
      'gre',
      'interconnect',
      'device',
      'tun',
      'internet',
    ),
    fc.constantFrom(
      '10.0.0.0/8',
      '10.0.0.1',
      '::1',
      'fd00::/64',
      '61000-65535',
      '25%',
      '5/s',
      'return-routing',
    ),
    fc.string({ maxLength: 8 }),
  );
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 5, withCrossShrink: true },
      leaf,
      fc.array(tie('value'), { maxLength: 4 }),
      fc.dictionary(keys, tie('value'), { maxKeys: 8 }),
    ),
  }));
  fc.assert(
    fc.property(fc.dictionary(keys, value, { maxKeys: 8 }), (content) => {
      parseOrRefuse(stringify({ version: 1, ...content }, { aliasDuplicateObjects: false }));
    }),
    { seed: SEED, numRuns: 2000 },
  );
});

test('the example with any of its lines removed or doubled is refused in order, or accepted', () => {
  const lines = EXAMPLE_CONFIG.split('\n');
  fc.assert(
    fc.property(
      fc.array(fc.nat(lines.length - 1), { minLength: 1, maxLength: 3 }),
      fc.boolean(),
      (at, double) => {
        const changed = lines.flatMap((line, index) => {
          if (!at.includes(index)) return [line];
          return double ? [line, line] : [];
        });
        parseOrRefuse(changed.join('\n'));
      },
    ),
    { seed: SEED, numRuns: 500 },
  );
});
