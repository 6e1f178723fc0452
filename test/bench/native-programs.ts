/** Compiles the C programs in `native/` for one run. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const NATIVE_PROGRAMS = ['tun-loop', 'packet-loop', 'gre-raw', 'udp-load', 'udp-numbers'] as const;

export type NativeProgram = (typeof NATIVE_PROGRAMS)[number];

const SOURCES = fileURLToPath(new URL('native/', import.meta.url));

/** Compiles a program into `directory`; its path. Throws with what the compiler said. */
export function compileProgram(directory: string, program: NativeProgram): string {
  const path = join(directory, program);
  const flags = ['-O2', '-std=gnu11', '-Wall', '-Wextra', '-Werror'];
  const { status, stderr, error } = spawnSync('cc', [...flags, '-o', path, join(SOURCES, `${program}.c`)], {
    encoding: 'utf8',
  });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`cc ${program}.c: ${stderr}`);
  return path;
}
