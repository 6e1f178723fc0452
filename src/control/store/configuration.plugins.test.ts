/** Copies of plugins over changes that are confirmed, undone, refused or only looked at. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { BY, ConfigurationHost, chosenDirectory } from '../../../test/support/configuration-host.ts';
import { eventually } from '../../../test/support/patience.ts';
import { pluginFolder, writePlugin } from '../../../test/support/plugin-folder.ts';

/** A configuration with a plugin of somebody else's. */
class PluginHost extends ConfigurationHost {
  folder = '';

  text(name: string): string {
    return `version: 1\ngateway: { name: ${name} }\nplugins: [ { name: probe, from: ${this.folder} } ]\n`;
  }

  /** The folder has another version from now on. */
  change(version: string): void {
    writePlugin(this.folder, { manifest: { version } });
  }

  get #copies(): string {
    return join(this.state, chosenDirectory(this), 'plugins');
  }

  copies(): string[] {
    return readdirSync(this.#copies).filter((name) => !name.endsWith('.json'));
  }

  /** Version of the copy that was applied. */
  get applied(): string {
    const { probe } = JSON.parse(readFileSync(join(this.#copies, 'applied.json'), 'utf8'));
    const manifest = join(this.#copies, probe, 'files/manifest.json');
    return JSON.parse(readFileSync(manifest, 'utf8')).version;
  }
}

async function started(t: TestContext): Promise<PluginHost> {
  const host = new PluginHost(t);
  host.folder = pluginFolder(t, { manifest: { version: '1.0.0' } });
  writeFileSync(host.path, host.text('one'));
  await host.start();
  return host;
}

test('what is not confirmed goes back to the plugins that ran before, not to what their folders have now', async (t) => {
  const host = await started(t);
  host.change('2.0.0');
  await host.apply(host.text('two'), 2000);
  assert.deepEqual([host.applied, host.copies().length], ['2.0.0', 2]);
  await eventually('it goes back', () => host.configuration.show().pending === null);
  assert.deepEqual([host.applied, host.gateway.ran.at(-1)], ['1.0.0', 'one']);
  await eventually('the other copy is removed', () => host.copies().length === 1);

  // By hand, and over the end of the process.
  await host.apply(host.text('two'), 60_000);
  assert.equal(host.applied, '2.0.0');
  await host.configuration.rollback(3, BY);
  assert.deepEqual([host.applied, host.copies().length], ['1.0.0', 1]);
  await host.apply(host.text('two'), 60_000);
  await host.start();
  assert.deepEqual([host.applied, host.copies().length], ['2.0.0', 2]);
  await host.configuration.rollback(5, BY);
  assert.deepEqual([host.applied, host.copies().length], ['1.0.0', 1]);
});

test('what is confirmed stays, and the copy from before is removed', async (t) => {
  const host = await started(t);
  host.change('2.0.0');
  await host.apply(host.text('two'), 60_000);
  assert.equal(host.copies().length, 2);
  await host.configuration.confirm();
  assert.deepEqual([host.applied, host.copies().length], ['2.0.0', 1]);
});

test('a change that cannot be written down is undone with the copy from before', async (t) => {
  const host = await started(t);
  host.change('2.0.0');
  const obstacle = join(host.state, chosenDirectory(host), '2.yaml');
  mkdirSync(obstacle);
  let versions: string[] = [];
  host.gateway.meanwhile = () => {
    versions = [...versions, `${host.applied} of ${host.copies().length}`];
  };
  await assert.rejects(host.apply(host.text('two')), { code: 'history_unwritable' });
  assert.deepEqual(versions, ['1.0.0 of 2', '2.0.0 of 2']);
  assert.deepEqual([host.applied, host.copies().length], ['1.0.0', 1]);
  rmdirSync(obstacle);
});

test('what was refused or only looked at leaves no copies', async (t) => {
  const host = await started(t);
  for (const version of ['2.0.0', '3.0.0']) {
    host.change(version);
    await host.configuration.diff(undefined, { text: host.text('two') });
    await host.configuration.apply(host.text('two'), { ...BY, validateOnly: true });
    host.gateway.failure = new Error('no such device');
    await assert.rejects(host.apply(host.text('two')), /no such device/);
    host.gateway.failure = undefined;
  }
  await assert.rejects(host.apply(`${host.text('two')}nonsense: 1\n`));
  assert.deepEqual([host.applied, host.copies().length], ['1.0.0', 1]);
});
