/** A plugin for tests of reloads: it knows when it judges by half of an old generation and half of a new one. */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { writePlugin } from './plugin-folder.ts';

/**
 * Writes a plugin whose code is in two modules and whose rules are two numbers in a file, all of one generation. What it
 * judges by more than one of them is torn.
 */
export function writeTornPlugin(folder: string, rules: string, generation: number): void {
  const code = generation - (generation % 2);
  const part = `export const CODE: number = ${code};\n`;
  const data = `import { type DataHalfFactory, VERDICT_CONTINUE } from 'homeward/plugin';
import { readFileSync } from 'node:fs';
import { CODE } from './part.ts';

export const createDataHalf: DataHalfFactory = ({ counter }) => {
  const [judged, torn, generations] = [counter('judged'), counter('torn'), counter('generations')];
  let former = -1;
  const rules = { first: -1, second: -1 };
  return {
    configure({ options }) {
      const next = JSON.parse(readFileSync((options as { rules: string }).rules, 'utf8'));
      return () => {
        rules.first = next.first;
        rules.second = next.second;
      };
    },
    flowSetup() {
      judged();
      if (rules.first !== rules.second || CODE !== ${code} || CODE > rules.first) torn();
      if (rules.first !== former) generations();
      former = rules.first;
      return VERDICT_CONTINUE;
    },
    exportState: () => former,
    importState: (state) => {
      former = state as number;
    },
  };
};
`;
  writeFileSync(`${rules}.new`, JSON.stringify({ first: generation, second: generation }));
  renameSync(`${rules}.new`, rules);
  mkdirSync(folder, { recursive: true });
  writePlugin(folder, {
    manifest: {
      name: 'torn',
      options: { type: 'object', properties: { rules: { type: 'string' } }, additionalProperties: false },
    },
    files: { 'part.ts': part, 'data.ts': data },
  });
}
