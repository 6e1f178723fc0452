/**
 * The benchmarks: homeward against a C loop and against the kernel, in turn, in one run. `scripts/bench` starts this.
 *
 *   --only NAME   one of pipeline, firewall, tun, ethernet, gre
 *   --rounds N    rounds of the measurements over devices; default 20
 *   --quick       3 short rounds: to see that everything runs
 *   --json        prints everything as JSON instead of a table
 *
 * In every round each quantity is measured for each variant, in an order that the next round reverses. See
 * docs/benchmarks.md.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, loadavg, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { allocatedPerPacket } from './allocation.ts';
import { alone, type Bar, compare, type Figure, formatFigures, type Samples } from './figures.ts';
import { measureBesideNftables } from './firewall-devices.ts';
import { measureFirewall } from './firewall-measures.ts';
import { Lab, type Path, type Programs } from './lab.ts';
import { measurePackets, measurePing, measureTcp, serve } from './load.ts';
import { compileProgram } from './native-programs.ts';
import { measurePipeline } from './pipeline-measures.ts';
import { measurePlugins } from './plugin-measures.ts';

const GROUPS = ['pipeline', 'firewall', 'tun', 'ethernet', 'gre'] as const;

interface Durations {
  readonly rounds: number;
  readonly seconds: number;
  readonly pings: number;
}

const C_BARS = {
  tcp: { medianLeast: 0.95, lowLeast: 0.9 },
  packets: { medianLeast: 0.9 },
  ping: { medianMost: 40 },
} as const;
const KERNEL_BARS = { tcp: { lowLeast: 0.9 }, packets: { medianLeast: 1.3 } } as const;
const GRE_BARS = { tcp: { medianLeast: 1.7 } } as const;

type Bars = { readonly [quantity in 'tcp' | 'packets' | 'ping']?: Bar };

const usage = `usage: scripts/bench [--only ${GROUPS.join('|')}] [--rounds N] [--quick] [--json]`;

function options() {
  try {
    const { values } = parseArgs({
      options: {
        only: { type: 'string' },
        rounds: { type: 'string' },
        quick: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    const rounds = Number(values.rounds ?? (values.quick ? 3 : 20));
    if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds must be a whole number from 1');
    const groups = GROUPS.filter((group) => values.only === undefined || values.only === group);
    if (groups.length === 0) throw new Error(`--only must be one of ${GROUPS.join(', ')}`);
    return { ...values, rounds, groups };
  } catch (error) {
    process.stderr.write(`bench: ${(error as Error).message}\n${usage}\n`);
    process.exit(2);
  }
}

const { quick, json, help, rounds, groups } = options();
const durations: Durations = { rounds, seconds: quick ? 1 : 2, pings: quick ? 100 : 400 };
const say = (line: string): void => {
  process.stderr.write(`${line}\n`);
};

if (help) {
  process.stdout.write(`${usage}\n`);
  process.exit(0);
}

const directory = mkdtempSync(join(tmpdir(), 'homeward-bench-'));
let lab: Lab | undefined;
let interruptedBy = 0;
let cleaning: Promise<void> | undefined;
/** Once, whoever calls it: an error and a signal may come together. */
const cleanUp = (): Promise<void> => {
  cleaning ??= (lab?.remove() ?? Promise.resolve()).finally(() =>
    rmSync(directory, { recursive: true, force: true }),
  );
  return cleaning;
};
for (const [signal, number] of [
  ['SIGINT', 2],
  ['SIGTERM', 15],
  ['SIGHUP', 1],
] as const) {
  process.on(signal, () => {
    // Ends the programs, so that what waits for them fails; its error says nothing then.
    interruptedBy = number;
    cleanUp().finally(() => process.exit(128 + number));
  });
}

try {
  const loadBefore = loadavg()[0];
  const figures: Figure[] = [];
  if (groups.includes('pipeline')) figures.push(...(await benchPipeline()));
  if (groups.includes('firewall')) {
    say('firewall: in memory');
    figures.push(...measureFirewall(quick).map((figure) => alone(figure, 'firewall')));
    say('firewall: beside nftables');
    const udpLoad = compileProgram(directory, 'udp-load');
    lab = new Lab({ 'udp-load': udpLoad });
    const beside = await measureBesideNftables(
      lab,
      udpLoad,
      quick ? 1 : Math.min(5, rounds),
      durations.seconds,
    );
    figures.push(...beside.map((figure) => alone(figure, 'firewall')));
    await lab.remove();
  }
  const overDevices = groups.filter((group) => group !== 'pipeline' && group !== 'firewall');
  if (overDevices.length > 0) {
    const programs: Programs = {
      'tun-loop': compileProgram(directory, 'tun-loop'),
      'packet-loop': compileProgram(directory, 'packet-loop'),
      'gre-raw': compileProgram(directory, 'gre-raw'),
      'udp-load': compileProgram(directory, 'udp-load'),
    };
    for (const group of overDevices) figures.push(...(await benchDevices(group, programs)));
  }
  report(figures, loadBefore);
  await cleanUp();
} catch (error) {
  await cleanUp();
  if (interruptedBy !== 0) process.exit(128 + interruptedBy);
  throw error;
}

async function benchPipeline(): Promise<Figure[]> {
  say('pipeline: in memory');
  const figures = [...measurePipeline(quick), ...measurePlugins(quick)].map((figure) => alone(figure));
  for (const protocol of ['tcp', 'udp'] as const) {
    const bytes = await allocatedPerPacket(protocol);
    // Less than one byte a packet is the counting's own: nothing that is allocated for each packet is that small.
    const bar = { most: 1 };
    figures.push(alone({ name: `heap per ${protocol} packet`, value: bytes, unit: 'bytes', bar }));
  }
  return figures;
}

async function benchDevices(group: 'tun' | 'ethernet' | 'gre', programs: Programs): Promise<Figure[]> {
  say(`${group}: setting up`);
  lab = new Lab(programs);
  const variants = new Map<string, Path>();
  switch (group) {
    case 'tun':
      variants.set('homeward', await lab.homewardTun());
      variants.set('c loop', await lab.tunLoop());
      variants.set('kernel', lab.kernel());
      break;
    case 'ethernet':
      variants.set('homeward', await lab.homewardEthernet());
      variants.set('c loop', await lab.packetLoop());
      variants.set('kernel', lab.kernel());
      break;
    case 'gre':
      variants.set('homeward', await lab.homewardGre());
      variants.set('c raw socket', await lab.rawGre());
      break;
  }
  for (const path of variants.values()) await serve(path);

  const samples = {
    tcp: newSamples(group, 'TCP, one flow', 'Gbit/s', variants),
    cpu: newSamples(group, 'TCP per CPU time', 'Gbit/CPU-s', variants),
    packets: newSamples(group, '64-byte packets', 'packets/s', variants),
    ping: newSamples(group, 'ping', 'us', variants),
  };
  // Round 0 warms caches, neighbours and compiled code up, and does not count.
  for (let round = 0; round <= durations.rounds; round++) {
    say(round === 0 ? `${group}: warming up` : `${group}: round ${round} of ${durations.rounds}`);
    const order = [...variants];
    if (round % 2 === 0) order.reverse();
    const take = (into: MutableSamples, variant: string, value: number): void => {
      if (round > 0) into.byVariant.get(variant)!.push(value);
    };
    for (const [name, path] of order) {
      const { gbitPerSecond, gbitPerCpuSecond } = await measureTcp(path, durations.seconds);
      take(samples.tcp, name, gbitPerSecond);
      take(samples.cpu, name, gbitPerCpuSecond);
    }
    for (const [name, path] of order) {
      take(samples.packets, name, await measurePackets(path, durations.seconds, programs['udp-load']!));
    }
    for (const [name, path] of order) take(samples.ping, name, await measurePing(path, durations.pings));
  }
  await lab.remove();

  return [...variants.keys()]
    .filter((name) => name !== 'homeward')
    .flatMap((name) => {
      const bars: Bars = group === 'gre' ? GRE_BARS : name === 'kernel' ? KERNEL_BARS : C_BARS;
      return [
        compare(samples.tcp, name, 'ratio', bars.tcp ?? null),
        compare(samples.packets, name, 'ratio', bars.packets ?? null),
        compare(samples.ping, name, 'difference', bars.ping ?? null),
        compare(samples.cpu, name, 'ratio', null),
      ];
    });
}

interface MutableSamples extends Samples {
  readonly byVariant: Map<string, number[]>;
}

function newSamples(
  group: string,
  name: string,
  unit: string,
  variants: ReadonlyMap<string, Path>,
): MutableSamples {
  return { group, name, unit, byVariant: new Map([...variants.keys()].map((variant) => [variant, []])) };
}

function report(figures: readonly Figure[], loadBefore: number): void {
  const machine = {
    cpu: cpus()[0].model,
    cpus: cpus().length,
    kernel: release(),
    node: process.version,
    // Work of others on the machine: above about 0.2, the figures are only indications.
    loadBefore: Number(loadBefore.toFixed(2)),
  };
  if (json) {
    process.stdout.write(`${JSON.stringify({ machine, rounds: durations.rounds, figures }, null, 2)}\n`);
    return;
  }
  process.stdout.write(`${formatFigures(figures)}\n\n`);
  process.stdout.write(
    `${machine.cpus} x ${machine.cpu}, Linux ${machine.kernel}, Node ${machine.node}, ` +
      `load before: ${machine.loadBefore}, rounds: ${durations.rounds}\n`,
  );
}
