/** Plugins for tests, in folders of their own that go when the test ends. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/** A data half that lets every flow pass. */
export const PASSING_HALF = `import type { DataHalfFactory } from 'homeward/plugin';
import { VERDICT_CONTINUE } from 'homeward/plugin';

export const createDataHalf: DataHalfFactory = () => ({
  configure: () => () => {},
  flowSetup: () => VERDICT_CONTINUE,
});
`;

export interface PluginFolderOptions {
  /** Keys of the manifest beside those of the simplest plugin; undefined takes one away. */
  readonly manifest?: Readonly<Record<string, unknown>>;
  /** Texts of files by their path in the folder. `data.ts`: {@link PASSING_HALF}. */
  readonly files?: Readonly<Record<string, string>>;
}

/** Makes a plugin; returns its folder. */
export function pluginFolder(
  t: { after(end: () => void): void },
  { manifest = {}, files = {} }: PluginFolderOptions = {},
): string {
  const folder = mkdtempSync(join(tmpdir(), 'hw-plugin-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  writePlugin(folder, { manifest, files: { 'data.ts': PASSING_HALF, ...files } });
  return folder;
}

/** Writes the manifest and files of a plugin. */
export function writePlugin(folder: string, { manifest = {}, files = {} }: PluginFolderOptions): void {
  const whole = {
    name: 'probe',
    version: '1.0.0',
    homeward: 1,
    data: './data.ts',
    phase: 'policy',
    hooks: ['flowSetup'],
    ...manifest,
  };
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'manifest.json'), JSON.stringify(whole, null, 2));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
}
