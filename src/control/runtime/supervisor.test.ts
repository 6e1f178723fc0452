/** The supervisor with real processes: a stub data plane that misbehaves on demand. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { eventually } from '../../../test/support/patience.ts';
import type { Plan } from '../../pipeline/plan.ts';
import { findDataPlane, identify, isAlive, killProcess, lastOutput } from './data-plane-process.ts';
import { DataPlaneGoneError, PlanRefusedError } from './data-plane-session.ts';
import { openRuntimeDirectory, type RuntimeDirectory } from './runtime-directory.ts';
import { Supervisor } from './supervisor.ts';

const STUB = join(import.meta.dirname, '../../../test/fixtures/stub-data-plane.ts');

function plan(generation: number, gatewayName = 'well'): Plan {
  return {
    generation,
    gatewayName,
    spaces: [],
    devices: [],
    ports: [],
    routes: [],
    gatewayAddresses: [],
    flowTable: {
      maxFlows: 1,
      perTunnel: 1,
      createRatePerTunnel: 0,
      createRatePerSource: 0,
      otherProtocols: [],
    },
    plugins: [],
  };
}

/** Files of an instance, and supervisors that share them. */
class Bench {
  readonly runtime: RuntimeDirectory;
  readonly #supervisors: Supervisor[] = [];

  constructor(t: TestContext) {
    const directory = mkdtempSync('/dev/shm/homeward-test-');
    this.runtime = openRuntimeDirectory({ HOMEWARD_RUNTIME_DIR: directory });
    t.after(async () => {
      for (const supervisor of this.#supervisors) supervisor.leave();
      const left = findDataPlane(this.runtime);
      if (left !== undefined) await killProcess(left);
      rmSync(directory, { recursive: true });
    });
  }

  newSupervisor(): Supervisor & { failures: string[] } {
    const supervisor = Object.assign(new Supervisor(this.runtime, { main: STUB }), {
      failures: [] as string[],
    });
    supervisor.on('failure', (reason) => supervisor.failures.push(reason));
    this.#supervisors.push(supervisor);
    return supervisor;
  }
}

test('starts, applies, asks, and stops', async (t) => {
  const bench = new Bench(t);
  const supervisor = bench.newSupervisor();
  const states: string[] = [];
  const logs: string[] = [];
  supervisor.on('state', ({ state }) => states.push(state));
  supervisor.on('log', ({ msg }) => logs.push(msg));
  await assert.rejects(supervisor.status(), DataPlaneGoneError);
  await supervisor.start();
  await supervisor.apply(plan(1));
  // Answers come in the order of the questions.
  const [status, flushed] = await Promise.all([supervisor.status(), supervisor.flush({ space: 7 })]);
  assert.deepEqual([status.generation, status.flows, flushed], [1, 2, 7]);
  assert.deepEqual(logs, ['got a plan']);
  const process = identify(supervisor.report.pid!)!;
  await supervisor.stop();
  assert.equal(isAlive(process), false);
  assert.equal(findDataPlane(bench.runtime), undefined);
  assert.deepEqual(states, ['starting', 'running', 'forwarding', 'stopped']);
  assert.deepEqual(supervisor.failures, []);
});

test('a refused plan is said, and the former one is what a restarted data plane gets', async (t) => {
  const supervisor = new Bench(t).newSupervisor();
  await supervisor.start();
  await supervisor.apply(plan(1));
  await assert.rejects(supervisor.apply(plan(2, 'refuse')), (error) => {
    assert.ok(error instanceof PlanRefusedError);
    return error.message === 'told to refuse';
  });
  process.kill(supervisor.report.pid!, 'SIGKILL');
  await eventually(
    'it is back',
    () => supervisor.report.restarts === 1 && supervisor.report.state === 'forwarding',
  );
  assert.equal((await supervisor.status()).generation, 1);
  assert.deepEqual(supervisor.failures, ['the data plane ended with SIGKILL']);
});

test('a data plane that stands still is killed and started anew', async (t) => {
  const supervisor = new Bench(t).newSupervisor();
  await supervisor.start();
  const first = identify(supervisor.report.pid!)!;
  await supervisor.apply(plan(1, 'stall'));
  const asked = supervisor.status();
  asked.catch(() => {});
  await eventually('it was started anew', () => supervisor.report.restarts >= 1);
  assert.equal(isAlive(first), false);
  assert.match(supervisor.failures[0]!, /silent for 1000 ms/);
  await supervisor.stop();
});

test('a data plane may stand still while it takes a plan', async (t) => {
  const supervisor = new Bench(t).newSupervisor();
  await supervisor.start();
  await supervisor.apply(plan(1, 'slow'));
  assert.deepEqual(supervisor.failures, []);
  assert.equal((await supervisor.status()).generation, 1);
  await supervisor.stop();
});

test('one that is stopped from outside is killed, too', async (t) => {
  const supervisor = new Bench(t).newSupervisor();
  await supervisor.start();
  await supervisor.apply(plan(1));
  const first = identify(supervisor.report.pid!)!;
  process.kill(first.pid, 'SIGSTOP');
  await eventually(
    'it is back',
    () => supervisor.report.restarts === 1 && supervisor.report.state === 'forwarding',
  );
  assert.equal(isAlive(first), false);
});

test('one that crashes on its plan again and again is started ever later, and the caller is told', async (t) => {
  const supervisor = new Bench(t).newSupervisor();
  await supervisor.start();
  await assert.rejects(supervisor.apply(plan(1, 'crash')), DataPlaneGoneError);
  await eventually('it has crashed three times', () => supervisor.failures.length >= 3);
  assert.equal(supervisor.report.state, 'waiting');
  assert.equal(supervisor.report.lastFailure, 'the data plane ended with status 3');
  await supervisor.stop();
  assert.equal(supervisor.report.pid, null);
});

test('one that speaks garbage is replaced', async (t) => {
  const supervisor = new Bench(t).newSupervisor();
  await supervisor.start();
  await assert.rejects(supervisor.apply(plan(1, 'garbage')), DataPlaneGoneError);
  await eventually('the failure is known', () => supervisor.failures.length > 0);
  assert.match(supervisor.failures[0]!, /4294967295 bytes/);
  await supervisor.stop();
});

test('one that ignores stop is killed', async (t) => {
  const supervisor = new Bench(t).newSupervisor();
  await supervisor.start();
  await supervisor.apply(plan(1, 'deaf'));
  const process = identify(supervisor.report.pid!)!;
  await supervisor.stop();
  assert.equal(isAlive(process), false);
});

test('one that was left is adopted; a deaf one is replaced', async (t) => {
  const bench = new Bench(t);
  const first = bench.newSupervisor();
  await first.start();
  await first.apply(plan(5));
  const { pid } = first.report;
  first.leave();
  assert.equal(first.report.state, 'stopped');

  const second = bench.newSupervisor();
  await second.start();
  assert.deepEqual([second.report.pid, second.adopted], [pid, true]);
  assert.equal((await second.status()).generation, 5);
  second.leave();

  const left = identify(pid!)!;
  process.kill(left.pid, 'SIGSTOP');
  const third = bench.newSupervisor();
  await third.start();
  assert.equal(isAlive(left), false);
  assert.equal(third.adopted, false);
  await third.stop();
});

test('a first start that fails says why and leaves nothing', async (t) => {
  const bench = new Bench(t);
  const supervisor = bench.newSupervisor();
  writeFileSync(join(bench.runtime.directory, 'stub-fails'), '');
  await assert.rejects(supervisor.start(), /ended with status 4/);
  assert.equal(supervisor.report.state, 'stopped');
  assert.equal(findDataPlane(bench.runtime), undefined);
  assert.equal(lastOutput(bench.runtime), 'the stub was told to fail');
});
