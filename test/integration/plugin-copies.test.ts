/**
 * A plugin's folder that somebody works on while the gateway runs: after a crash of either process, after a restart and with
 * other changes of the configuration, what runs is what was applied.
 */
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { reloadPlugin, showPlugin } from '../../src/api/client/plugins.ts';
import { labOptions } from '../support/lab/lab-test.ts';
import { SITES, TwoSites } from '../support/lab/two-sites.ts';
import { PASSING_HALF, writePlugin } from '../support/plugin-folder.ts';

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
});
