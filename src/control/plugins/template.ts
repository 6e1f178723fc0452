/** The files of a new plugin: small, whole, and each for its author to change. `create.ts` writes them. */

/** Texts by path. */
export function templateFiles(name: string): Readonly<Record<string, string>> {
  return {
    'manifest.json': manifest(name),
    'data.ts': DATA.replaceAll('NAME', name),
    'data.test.ts': TEST.replaceAll('NAME', name),
    'README.md': README.replaceAll('NAME', name),
    'package.json': `${JSON.stringify({ name, version: '0.1.0', private: true, type: 'module' }, null, 2)}\n`,
    '.gitignore': 'node_modules/\n',
  };
}

function manifest(name: string): string {
  return `${JSON.stringify(
    {
      name,
      version: '0.1.0',
      homeward: 1,
      description: 'Refuses new flows towards some ports.',
      data: './data.ts',
      phase: 'policy',
      hooks: ['flowSetup'],
      failure_policy: { exception: 'drop-flow' },
      options: {
        type: 'object',
        additionalProperties: false,
        properties: {
          refused_ports: {
            description: 'a list of ports, TCP and UDP',
            type: 'array',
            items: { type: 'integer', minimum: 1, maximum: 65535 },
            default: [],
          },
        },
      },
      views: { ports: { summary: 'The refused ports, and how often.', half: 'data' } },
      commands: {
        ports: {
          summary: 'List the refused ports, and how often each was asked for.',
          view: 'ports',
          examples: [`homeward ${name} ports`],
        },
      },
    },
    null,
    2,
  )}\n`;
}

const DATA = `/**
 * NAME: the data half. It runs in the data plane, on the packet's way: it is asked once for every new flow, answers at
 * once, and never waits.
 */
import {
  type DataHalf,
  type PluginEnvironment,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  VERDICT_CONTINUE,
  VERDICT_REJECT,
} from 'homeward/plugin';

/** What the manifest's schema lets through, with its defaults. */
interface Options {
  readonly refused_ports: readonly number[];
}

export function createDataHalf(environment: PluginEnvironment): DataHalf {
  const countRefused = environment.counter('refused');
  /** How often each port was refused. */
  let refused = new Map<number, number>();

  return {
    // Prepares; what it returns puts that into force, between two packets, and may not fail.
    configure({ options }) {
      const { refused_ports: ports } = options as Options;
      const next = new Map(ports.map((port) => [port, refused.get(port) ?? 0]));
      return () => {
        refused = next;
      };
    },

    flowSetup(packet, flow) {
      if (packet.protocol !== PROTOCOL_TCP && packet.protocol !== PROTOCOL_UDP) return VERDICT_CONTINUE;
      const times = refused.get(packet.destinationPort);
      if (times === undefined) return VERDICT_CONTINUE;
      // Somebody may only be asking (homeward flows explain): nothing is counted then.
      if (!flow.hypothetical) {
        countRefused();
        refused.set(packet.destinationPort, times + 1);
      }
      environment.reason(\`port \${packet.destinationPort} is refused\`);
      return VERDICT_REJECT;
    },

    query() {
      const ports = [...refused].map(([port, times]) => ({ port, times }));
      return { ports, lines: ports.map(({ port, times }) => \`\${port}: \${times} times\`) };
    },
  };
}
`;

const TEST = `/** NAME without a gateway: node --test */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type DataHalf,
  type FlowSetup,
  type PacketView,
  PROTOCOL_TCP,
  VERDICT_CONTINUE,
  VERDICT_REJECT,
} from 'homeward/plugin';
import { createDataHalf } from './data.ts';

/** A data half with these options, and the reasons that it gave. */
function make(options: object): { half: DataHalf; reasons: string[] } {
  const reasons: string[] = [];
  const half = createDataHalf({
    name: 'NAME',
    log: () => {},
    counter: () => () => {},
    reason: (text) => reasons.push(text),
    nowMs: () => 0,
    send: () => true,
  });
  half.configure({ options, topology: { ports: [], spaces: [], maxFlows: 1024 } })();
  return { half, reasons };
}

/** The first packet of a flow towards a port: only what this plugin reads. */
function packetTo(destinationPort: number): PacketView {
  return { protocol: PROTOCOL_TCP, destinationPort } as PacketView;
}

const flow = { hypothetical: false } as FlowSetup;

test('refuses the ports of its options, and no others', () => {
  const { half, reasons } = make({ refused_ports: [23] });
  assert.equal(half.flowSetup(packetTo(443), flow), VERDICT_CONTINUE);
  assert.equal(half.flowSetup(packetTo(23), flow), VERDICT_REJECT);
  assert.deepEqual(reasons, ['port 23 is refused']);
  assert.deepEqual(half.query?.('ports', {}), { ports: [{ port: 23, times: 1 }], lines: ['23: 1 times'] });
});

test('a question is not counted', () => {
  const { half } = make({ refused_ports: [23] });
  const question = { hypothetical: true } as FlowSetup;
  assert.equal(half.flowSetup(packetTo(23), question), VERDICT_REJECT);
  assert.deepEqual(half.query?.('ports', {}), { ports: [{ port: 23, times: 0 }], lines: ['23: 0 times'] });
});
`;

const README = `# NAME

A plugin of homeward, the virtual gateway. It refuses new flows towards the ports of its options.

| | |
| --- | --- |
| \`manifest.json\` | name, hooks, options (a JSON Schema), failure policy, views and commands |
| \`data.ts\` | the data half: what is asked for every new flow |
| \`data.test.ts\` | its tests: \`node --test\`, with Node 24 |
| \`node_modules/homeward\` | a link to the homeward that made this folder; elsewhere \`npm install --save-dev homeward\` |

In the gateway's configuration:

\`\`\`yaml
plugins:
  - name: NAME
    from: /opt/plugins/NAME        # this folder
    options: { refused_ports: [23] }
\`\`\`

\`homeward config check\` says what is wrong with manifest and options, \`homeward plugins show NAME\` how it does,
\`homeward NAME ports\` what it refused, and \`homeward plugins reload NAME\` takes changed code into a gateway that runs.
The guide for authors is docs/plugins.md of homeward.
`;
