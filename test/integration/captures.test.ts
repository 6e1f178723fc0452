/**
 * Captures on the command line, of running traffic: judged by tshark and capinfos. And that they cost no packet.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { assertComplete, labOptions, useNetwork } from '../support/lab/lab-test.ts';
import { UPLINK_ADDRESSES } from '../support/lab/sites.ts';
import { type FlowPattern, identicalFlows, runFlows } from '../support/lab/traffic.ts';
import type { CommandResult } from '../support/lab.ts';
import { eventually } from '../support/patience.ts';

const MAIN = join(import.meta.dirname, '../../src/main.ts');
const MAX_CAPTURES = 4;

describe('captures', labOptions(), () => {
  const test = useNetwork({
    sites: [
      { name: 'paris', attachment: 'gre' },
      { name: 'lyon', attachment: 'on-link' },
    ],
  });
  const file = (name: string): string => join(test.lab.directory, name);

  /** Starts a capture into a file; resolves when packets are captured. */
  async function start(name: string, ...args: string[]): Promise<{ ended: Promise<CommandResult> }> {
    const path = file(name);
    const ended = test.network.gateway.command('capture', '-o', path, ...args);
    await Promise.race([
      eventually(`${name} has begun`, async () => existsSync(path) && statSync(path).size > 0),
      ended.then(({ stderr }) => Promise.reject(new Error(`the capture has ended: ${stderr}`))),
    ]);
    return { ended };
  }

  /** A capture into a program that reads it. */
  function pipe(args: readonly string[], reader: string): Promise<CommandResult> {
    const { runtimeDirectory } = test.network.gateway;
    const capture = [process.execPath, MAIN, 'capture', '-o', '-', ...args].join(' ');
    const script = `export HOMEWARD_RUNTIME_DIR=${runtimeDirectory}; ${capture} | { ${reader}; }`;
    return test.lab.attempt('gw', 'sh', ['-c', script]);
  }

  async function read(name: string, fields: readonly string[]): Promise<string[][]> {
    const args = ['-r', file(name), '-T', 'fields', '-E', 'separator=|'];
    const text = await test.lab.exec('gw', 'tshark', [...args, ...fields.flatMap((field) => ['-e', field])]);
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split('|'));
  }

  const flows = (pattern: Partial<FlowPattern>) =>
    identicalFlows(test.network, test.experiment.tokens, {
      from: test.sites,
      to: ['internet'],
      families: [4],
      kinds: ['udp'],
      ...pattern,
    });

  it('shows a flow of one site before and after its translation, and nothing of the other', async () => {
    const { ended } = await start(
      'nat.pcapng',
      '--tunnel',
      'paris-gre',
      '--filter',
      'host 10.0.1.10 and udp',
      '-c',
      '20',
    );
    await assertComplete(test.network, await runFlows(test.network, flows({ count: 5, firstPort: 22_000 })));
    const { status, stderr } = await ended;
    assert.equal(status, 0);
    assert.equal(
      stderr,
      'The capture has ended: it has reached its limit of 20 packets.\n20 packets matched, 20 captured, 0 lost because the reader was slow.\n',
    );

    const rows = await read('nat.pcapng', [
      'frame.interface_name',
      'frame.interface_description',
      'frame.packet_flags_direction',
      'ip.src',
      'udp.srcport',
      'ip.dst',
      'udp.dstport',
      'frame.comment',
    ]);
    const [paris, internet] = [
      ['paris-gre', 'gre tunnel of site paris, device up0'],
      ['internet', 'egress, device up0'],
    ];
    const external = rows[1]![4]!;
    const flowOf = (row: readonly string[]): string => /, (flow \d+)/.exec(row[7]!)?.[1] ?? 'none';
    const flow = flowOf(rows[0]!);
    assert.match(flow, /^flow \d+$/);
    const [inbound, outbound] = ['0x00000001', '0x00000002'];
    const [server, outside] = ['203.0.113.10', UPLINK_ADDRESSES[0]];
    const seen = rows.map((row) => [...row.slice(0, 7), flowOf(row)].join(' '));
    assert.deepEqual(
      seen.toSorted(),
      Array.from({ length: 5 }, () => [
        [...paris, inbound, '10.0.1.10', '22000', server, '7', flow],
        [...internet, outbound, outside, external, server, '7', flow],
        [...internet, inbound, server, '7', outside, external, flow],
        [...paris, outbound, server, '7', '10.0.1.10', '22000', flow],
      ])
        .flat()
        .map((row) => row.join(' '))
        .toSorted(),
    );
    // What belongs together has one number, and what came in stands before what went out.
    const numbers = rows.map((row) => row[7]!.split(',')[0]!);
    assert.deepEqual(
      numbers.filter((_, at) => at % 2 === 0),
      numbers.filter((_, at) => at % 2 === 1),
    );
    const about = await test.lab.exec('gw', 'capinfos', [file('nat.pcapng')]);
    assert.match(about, /Number of packets:\s+20/);
    assert.match(about, /Capture application: homeward/);
    assert.match(about, /Number of interfaces in file: 2/);
  });

  it('goes live into a pipe, and ends with its reader', async () => {
    const tshark = 'tshark -l -r - -c 6 -T fields -e frame.interface_name';
    const live = pipe(['--egress', 'internet', '--exact', '--duration', '30s'], tshark);
    let isOver = false;
    void live.then(() => {
      isOver = true;
    });
    // Until it has seen enough; its own start takes a while.
    for (let round = 0; !isOver; round++) {
      await runFlows(test.network, flows({ count: 2, firstPort: 23_000 + round, graceMs: 500 }));
    }
    const { stdout } = await live;
    assert.deepEqual(
      stdout.trim().split('\n'),
      Array.from({ length: 6 }, () => 'internet'),
    );
  });

  it('says why packets were dropped', async () => {
    const { ended } = await start('drops.pcapng', '--dropped', 'private_destination', '-c', '4');
    const nowhere = flows({ count: 2, firstPort: 22_200, graceMs: 200 }).map((flow) => ({
      ...flow,
      destination: '10.99.0.1',
    }));
    await runFlows(test.network, nowhere);
    const { status, stderr } = await ended;
    assert.equal(status, 0, stderr);
    const rows = await read('drops.pcapng', ['frame.interface_name', 'ip.dst', 'frame.comment']);
    const dropped = rows.filter(([, destination]) => destination === '10.99.0.1');
    assert.ok(dropped.length >= 2, JSON.stringify(rows));
    for (const [, , comment] of dropped) {
      assert.match(comment!, /^packet \d+,dropped: private_destination: A private destination that no site/);
    }
  });

  it('refuses what is wrong, with status 2', async () => {
    const { gateway } = test.network;
    const cases: readonly [args: readonly string[], status: number, message: RegExp][] = [
      [
        ['--filter', 'hst 10.0.0.1'],
        2,
        /the filter, column 1: "hst" is not known here; did you mean "host"\?/,
      ],
      [['--tunnel', 'nowhere'], 2, /there is no tunnel nowhere/],
      [['--dropped', 'no_rout'], 2, /no_rout is no drop reason; did you mean no_route\?/],
      [['--duration', 'x'], 2, /--duration: x is not a duration/],
      [['no_route'], 2, /stands behind --dropped/],
    ];
    for (const [args, status, message] of cases) {
      const result = await gateway.command('capture', '-o', '/dev/null', ...args);
      assert.match(result.stderr, message);
      assert.equal(result.status, status, args.join(' '));
    }
  });

  it('loses captured packets when its reader is slow, and no forwarded ones', async () => {
    const [begun, go, rest] = ['slow.begun', 'slow.go', 'slow.rest'].map(file) as [string, string, string];
    const reader = `dd bs=1 count=28 of=${begun} status=none; until [ -e ${go} ]; do sleep 0.1; done; cat > ${rest}`;
    const capture = pipe(['--bytes', '8MiB'], reader);
    await eventually('the capture has begun', async () => existsSync(begun) && statSync(begun).size === 28);
    const outcomes = await runFlows(
      test.network,
      flows({ kinds: ['udp'], families: [4, 6], count: 2500, intervalMs: 1, size: 1400, firstPort: 22_300 }),
    );
    await assertComplete(test.network, outcomes);
    writeFileSync(go, '');
    const { stderr } = await capture;
    writeFileSync(file('slow.pcapng'), Buffer.concat([readFileSync(begun), readFileSync(rest)]));
    const [, matched, captured, lost] =
      /^(\d+) packets matched, (\d+) captured, (\d+) lost because the reader was slow\.$/m.exec(stderr) ?? [];
    assert.equal(Number(matched), Number(captured) + Number(lost));
    assert.ok(Number(lost) > 1000, stderr);
    const rows = await read('slow.pcapng', ['frame.number']);
    assert.equal(rows.length, Number(captured));
  });

  it('ends in the data plane when control is gone', async () => {
    const { gateway } = test.network;
    let started = 0;
    const begin = () => start(`long-${started++}.pcapng`, '--duration', '50s', '--tunnel', 'lyon-ic');
    const running = await Promise.all(Array.from({ length: MAX_CAPTURES }, begin));
    const fifth = await gateway.command('capture', '-o', '/dev/null');
    assert.match(fifth.stderr, /4 captures run already/);
    await gateway.kill('control');
    await Promise.all(running.map(({ ended }) => ended));
    await gateway.start();
    // Until their leases run out there is no room.
    const again = [];
    while (again.length < MAX_CAPTURES) {
      const next = () => begin().catch(() => undefined);
      again.push(await eventually('a capture can be started again', next, 30_000));
    }
    await gateway.end('SIGTERM');
    for (const { ended } of again) {
      const { stderr } = await ended;
      assert.match(stderr, /^The capture has ended: the (gateway is being stopped|data plane has ended)/);
    }
  });
});
