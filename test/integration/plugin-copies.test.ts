/**
 * A plugin's folder that somebody works on while the gateway runs: after a crash of either process, after a restart and with
 * other changes of the configuration, what runs is what was applied.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { reloadPlugin, showPlugin } from '../../src/api/client/plugins.ts';
import { labOptions } from '../support/lab/lab-test.ts';
import { SITES, TwoSites } from '../support/lab/two-sites.ts';
import { eventually } from '../support/patience.ts';
import { PASSING_HALF, writePlugin } from '../support/plugin-folder.ts';

/** Failures of plugins as `/v1/events` tells them. */
async function eventStream(socketPath: string): Promise<{ text(): string; close(): void }> {
  const asked = request({ socketPath, path: '/v1/events?type=plugin_failure' }).end();
  const [answer] = (await once(asked, 'response')) as [IncomingMessage];
  let text = '';
  answer.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  return { text: () => text, close: () => asked.destroy() };
}

describe('a plugin whose folder changes', labOptions(), () => {
  let sites: TwoSites;

  before(async () => {
    sites = await TwoSites.start();
  });
  after(() => sites?.remove());

  it('runs as it was applied, until it is read anew', async () => {
    const folder = join(sites.lab.directory, 'probe');
    const { gateway } = sites.network;
    const plugin = { name: 'probe', from: folder, sites: ['paris'] };
    writePlugin(folder, {
      files: { 'data.ts': PASSING_HALF.replaceAll('VERDICT_CONTINUE', 'VERDICT_DROP') },
    });
    await sites.run(plugin);
    assert.deepEqual(await sites.answered(), ['lyon']);

    // Saved in the middle of something.
    writeFileSync(join(folder, 'data.ts'), 'export const createDataHalf = (');
    writeFileSync(join(folder, 'manifest.json'), '{ "name": "pro');
    for (const which of ['dataPlane', 'control', 'both'] as const) {
      await gateway.kill(which);
      if (which !== 'dataPlane') await gateway.start();
      await gateway.forwarding();
      assert.deepEqual(await sites.answered(), ['lyon'], which);
    }
    assert.equal(await gateway.end('SIGTERM'), 0);
    await gateway.start();
    assert.deepEqual(await sites.answered(), ['lyon'], 'a restart');
    const { notices } = (await gateway.status())!;
    assert.match(
      notices.join('\n'),
      /probe.* has changed; "homeward plugins reload probe" takes what is there/s,
    );
    assert.equal((await showPlugin(sites.client, 'probe')).manifest, join(folder, 'manifest.json'));

    await assert.rejects(reloadPlugin(sites.client, 'probe', false, false), /manifest\.json/);
    await sites.run({ ...plugin, sites: ['paris', 'lyon'] });
    assert.deepEqual(await sites.answered(), []);

    // Whole again.
    rmSync(folder, { recursive: true });
    writePlugin(folder, { files: { 'data.ts': PASSING_HALF } });
    assert.deepEqual(await sites.answered(), []);
    await reloadPlugin(sites.client, 'probe', false, false);
    assert.deepEqual(await sites.answered(), SITES);
  });

  it('that fails is in the event stream', async () => {
    const folder = join(sites.lab.directory, 'failing');
    const half = PASSING_HALF.replace('() => VERDICT_CONTINUE', `() => { throw new Error('cannot'); }`);
    writePlugin(folder, { manifest: { name: 'failing' }, files: { 'data.ts': half } });
    const stream = await eventStream(join(sites.network.gateway.runtimeDirectory, 'api.sock'));
    await sites.run({ name: 'failing', from: folder, sites: ['paris'] });
    for (let round = 0; round < 4; round++) assert.deepEqual(await sites.answered(), ['lyon']);
    const events = await eventually('the trip is told', () => {
      const lines = stream
        .text()
        .split('\n')
        .filter((line) => line.startsWith('data: '));
      return lines.length < 2 ? undefined : lines.map((line) => JSON.parse(line.slice('data: '.length)));
    });
    stream.close();
    assert.deepEqual(
      events.map(({ plugin, cause, action, tripped }) => [plugin, cause, action, tripped]),
      [
        ['failing', 'exception', 'drop-flow', false],
        ['failing', 'exception', 'drop-flow', true],
      ],
    );
    assert.equal(events[0].message, 'cannot');
  });
});
