/**
 * What the commands that change the configuration share: where a text comes from, who asks, and how the outcome is
 * told.
 */
import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { Flags } from '@oclif/core';
import {
  type AppliedBody,
  type DifferenceBody,
  MAX_CONFIRM_MS,
  MIN_CONFIRM_MS,
  type PendingBody,
  type RevisionBody,
} from '../api/schemas/config.ts';
import { readNamedFile } from './given-file.ts';
import { cliServices } from './services.ts';
import { counted } from './table.ts';
import { wrongUsage } from './wrong-usage.ts';

/** Flags of commands that change the configuration. */
export const CHANGE_FLAGS = {
  confirm: Flags.string({
    helpValue: 'DURATION',
    summary: 'Go back by itself after this time, unless "homeward config confirm" comes first.',
    parse: async (text) => {
      const ms = cliServices().readDuration(text);
      if (ms !== undefined && ms >= MIN_CONFIRM_MS && ms <= MAX_CONFIRM_MS) return text;
      throw wrongUsage(`--confirm: ${text} is not a duration between 1s and 24h; write one such as 10m`);
    },
  }),
  comment: Flags.string({ helpValue: 'TEXT', summary: 'Why, for the history.' }),
  reevaluate: Flags.boolean({
    summary: 'Judge all live flows anew afterwards; those that are refused now end.',
  }),
  'dry-run': Flags.boolean({ summary: 'Check, and show what would change; change nothing.' }),
};

/** Members of a request, from the {@link CHANGE_FLAGS}. */
export function changeMembers(flags: {
  readonly confirm?: string | undefined;
  readonly comment?: string | undefined;
  readonly reevaluate?: boolean | undefined;
}): { by: string; comment?: string; confirmMs?: number; reevaluate?: boolean } {
  return {
    by: claimant(),
    ...(flags.comment === undefined ? {} : { comment: flags.comment }),
    ...(flags.reevaluate === true ? { reevaluate: true } : {}),
    ...(flags.confirm === undefined ? {} : { confirmMs: cliServices().readDuration(flags.confirm)! }),
  };
}

/** A configuration from a file, or from the standard input for `-`. */
export function readConfigText(file: string): { readonly text: string; readonly file: string } {
  return file === '-'
    ? { text: readFileSync(0, 'utf8'), file: 'standard input' }
    : { text: readNamedFile(file), file };
}

/** Number of a revision, from the command line. */
export function revisionNumber(text: string): number {
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text);
  throw wrongUsage(`${text} is no number of a revision; "homeward config history" lists them`);
}

/**
 * Who this is, as the history shows it: `ann (sudo, from 203.0.113.7)`. It is what the environment says; whoever may
 * change the configuration could write anything.
 */
export function claimant(environment: NodeJS.ProcessEnv = process.env): string {
  const { SUDO_USER, SSH_CONNECTION } = environment;
  const from = SSH_CONNECTION?.split(' ')[0];
  const how = [...(SUDO_USER ? ['sudo'] : []), ...(from ? [`from ${from}`] : [])].join(', ');
  return `${SUDO_USER || userName()}${how === '' ? '' : ` (${how})`}`.slice(0, 200);
}

/** Lines for people about a change that was made, or would be. */
export function describeApplied(change: AppliedBody): string[] {
  const { applied, revision, difference, pending, notices, unapplied, reevaluated } = change;
  const lines = [...notices, ...describeDifference(difference)];
  const kept =
    unapplied === null ? [] : [`The file had a text that did not run; it is kept in ${unapplied}.`];
  if (!applied) return [...lines, ...kept, 'Nothing was changed.', ...describeReevaluation(reevaluated)];
  return [
    ...lines,
    ...kept,
    ...(revision === null ? [] : [`Revision ${revision.number} runs.`]),
    ...describeReevaluation(reevaluated),
    ...(reevaluated === null && difference.changes.some(({ object }) => object === 'plugin')
      ? ['Live flows keep their verdicts; --reevaluate has them judged anew.']
      : []),
    ...(pending === null ? [] : [describePending(pending)]),
  ];
}

/** What judging live flows anew has led to, if somebody wanted it. */
export function describeReevaluation(done: AppliedBody['reevaluated']): string[] {
  if (done === null) return [];
  return [`${counted(done.flows, 'live flow')} judged anew, ${done.ended} of them ended.`];
}

export function describeDifference({ lines, effect, refusal }: DifferenceBody): string[] {
  return [
    ...(lines.length === 0 ? ['No difference.'] : lines),
    ...(effect?.flows ?? []).map(({ port, flows, why }) => `${FLOWS[flows](port)}: ${why}.`),
    ...(effect?.restartsDataPlane
      ? ['Another data plane takes the flows over: nothing is forwarded for some tenths of a second.']
      : []),
    ...(refusal === null ? [] : [`It would be refused:\n${refusal}`]),
  ];
}

const FLOWS: Readonly<Record<'end' | 'some_end' | 'stop', (port: string) => string>> = {
  end: (port) => `Flows of ${port} end`,
  some_end: (port) => `Some flows of ${port} end`,
  stop: (port) => `Flows of ${port} wait`,
};

export function describePending({ revision, previous, leftMs }: PendingBody): string {
  return (
    `Revision ${revision} waits for its confirmation: in ${describeDuration(leftMs)} revision ${previous} runs again. ` +
    'Keep it with "homeward config confirm".'
  );
}

export function describeDuration(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  const parts = [
    [Math.floor(seconds / 3600), 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [seconds % 60, 's'],
  ] as const;
  const shown = parts.filter(([count]) => count > 0).map(([count, unit]) => `${count}${unit}`);
  return shown.length === 0 ? '0s' : shown.join(' ');
}

const CAUSES: Readonly<Record<RevisionBody['cause'], string>> = {
  found: 'found in the file',
  applied: 'applied',
  rolled_back: 'rolled back',
  reverted: 'not confirmed',
};

/** Why a revision was made. */
export function describeCause({ cause }: RevisionBody): string {
  return CAUSES[cause];
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.() ?? '?'}`;
  }
}
