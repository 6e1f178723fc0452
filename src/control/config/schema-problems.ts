/** What zod finds wrong, as problems with their place: one for each unknown key, at the key. */
import type * as z from 'zod';
import type { ConfigPath } from './config.ts';
import type { Problem } from './errors.ts';
import type { YamlSource } from './source.ts';

export function schemaProblems(error: z.ZodError, source: YamlSource): Problem[] {
  return error.issues.flatMap((issue) => {
    const path = issue.path as ConfigPath;
    if (issue.code === 'invalid_key') {
      const text = issue.issues.map(({ message }) => message).join('; ');
      return [{ ...source.problem(path, text), ...source.locateKey(path) }];
    }
    if (issue.code !== 'unrecognized_keys') return [source.problem(path, issue.message)];
    const texts = issue.message.split('\n');
    return issue.keys.map((key, at): Problem => {
      const keyPath = [...path, key];
      return {
        ...source.locateKey(keyPath),
        file: source.file,
        path: source.describe(path),
        text: texts[at]!,
      };
    });
  });
}
