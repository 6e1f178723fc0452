/** `scripts/demo`, as a user runs it: its table, its exit status, trying it out, and that nothing is left. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { labOptions } from '../support/lab/lab-test.ts';
import { eventually } from '../support/patience.ts';

const DEMO = join(import.meta.dirname, '../../scripts/demo');
/** Two sites, two destinations, two families, three protocols. */
const FLOWS = 24;

interface Running {
  readonly pid: number;
  output(): string;
  errors(): string;
  readonly ended: Promise<number | null>;
  interrupt(): void;
}

function demo(t: TestContext, ...args: readonly string[]): Running {
  const child = spawn(DEMO, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let errors = '';
  child.stdout.on('data', (data: Buffer) => {
    output += data.toString();
  });
  child.stderr.on('data', (data: Buffer) => {
    errors += data.toString();
  });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  t.after(async () => {
    if (child.exitCode === null) child.kill('SIGINT');
    await ended;
  });
  return {
    pid: child.pid!,
    output: () => output,
    errors: () => errors,
    ended,
    interrupt: () => void child.kill('SIGINT'),
  };
}

/** Namespaces and processes of a demo that are still there. */
function leftovers(pid: number): string[] {
  const namespaces = existsSync('/run/netns') ? readdirSync('/run/netns') : [];
  return namespaces.filter((name) => name.startsWith(`hw-${pid}-`));
}

describe('scripts/demo', labOptions(), () => {
  it('--check --json: every flow by its own tunnel, status 0, nothing left', async (t) => {
    const run = demo(t, '--check', '--json');
    assert.equal(await run.ended, 0, run.errors() + run.output());
    const result = JSON.parse(run.output());
    assert.equal(result.ok, true);
    assert.equal(result.flows.length, FLOWS);
    assert.deepEqual(result.leaks, []);
    assert.deepEqual(
      result.firewall.flows.map(({ site, answered }: { site: string; answered: number }) => [
        site,
        answered > 0,
      ]),
      [
        ['paris', false],
        ['lyon', true],
      ],
      'a rule for one site, the same flow from both',
    );
    for (const flow of result.flows) {
      const own = flow.site === 'paris' ? 'paris-gre' : 'lyon-ic';
      assert.deepEqual([flow.tunnelIn, flow.tunnelReply, flow.ok], [own, own, true], flow.flow);
    }
    const sentBy = (site: string): string[] =>
      result.flows
        .filter((flow: { site: string }) => flow.site === site)
        .map(({ flow }: { flow: string }) => flow);
    assert.deepEqual(sentBy('paris'), sentBy('lyon'), 'both sites send the same five-tuples');
    assert.deepEqual(leftovers(run.pid), []);
  });

  it('stays up to be tried, and Ctrl-C leaves nothing', async (t) => {
    const run = demo(t);
    await eventually('it is up', () => run.output().includes('Places:'), 60_000);
    for (const [site, url, answer] of [
      ['paris', 'http://203.0.113.10/', /^internet sees you as 198\.51\.100\.1 port \d+\n$/],
      ['lyon', 'http://[2001:db8:113::10]/', /^internet sees you as 2001:db8:100::1 port \d+\n$/],
      ['lyon', 'http://10.50.0.10/', /^datacenter sees you as 10\.0\.1\.10 port \d+\n$/],
    ] as const) {
      const curl = demo(t, 'exec', site, 'curl', '--silent', '--max-time', '10', url);
      assert.equal(await curl.ended, 0);
      assert.match(curl.output(), answer);
    }
    assert.equal(await demo(t, 'exec', 'nowhere', 'true').ended, 2);
    run.interrupt();
    assert.equal(await run.ended, 0);
    assert.deepEqual(leftovers(run.pid), []);
    assert.equal(await demo(t, 'exec', 'paris', 'true').ended, 1);
  });

  it('Ctrl-C in the middle of the set-up leaves nothing', async (t) => {
    const run = demo(t);
    await eventually('it has begun', () => leftovers(run.pid).length > 0, 60_000);
    run.interrupt();
    assert.equal(await run.ended, 130);
    assert.deepEqual(leftovers(run.pid), []);
  });

  it('refuses what it does not know', async (t) => {
    assert.equal(await demo(t, '--chek').ended, 2);
  });
});
