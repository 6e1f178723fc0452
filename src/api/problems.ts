/**
 * Errors, whoever throws them, as problem details (RFC 9457).
 *
 * | thrown | status |
 * | --- | --- |
 * | {@link RequestError} | by its kind |
 * | an error whose `code` is in the table below | by the table |
 * | by the HTTP framework (wrong JSON, too long, ...) | 4xx, with a code of ours |
 * | anything else | 500 `failed`, with its message |
 */
import { STATUS_CODES } from 'node:http';
import type * as z from 'zod';
import { RequestError, type RequestErrorKind } from '../control/request-error.ts';
import { type FindingBody, findingSchema, type ProblemBody } from './schemas/problem.ts';

const KIND_STATUS: Readonly<Record<RequestErrorKind, number>> = {
  malformed: 400,
  unauthorized: 401,
  invalid: 422,
  not_found: 404,
  not_allowed: 405,
  conflict: 409,
  forbidden: 403,
  unavailable: 503,
};

/** Statuses of errors of control that are no RequestError: they are thrown elsewhere too. */
const CODE_STATUS: Readonly<Record<string, number>> = {
  config_invalid: 422,
  plan_refused: 409,
  data_plane_gone: 503,
};

/** Statuses that the HTTP framework finds, and their codes. */
const FRAMEWORK_CODES: Readonly<Record<number, string>> = {
  400: 'bad_request',
  404: 'not_found',
  405: 'method_not_allowed',
  408: 'timeout',
  413: 'too_large',
  414: 'too_large',
  415: 'unsupported_media_type',
  431: 'too_large',
};

/** The problem that an error is, whatever was thrown. */
export function problemOf(error: unknown): ProblemBody {
  const { code, message, problems, status } = classify(error);
  const findings = problems?.flatMap((problem) => {
    const finding = findingSchema.safeParse(problem);
    return finding.success ? [finding.data] : [];
  });
  return problemWith(status, code, message, findings);
}

/** A problem that no error is made for. */
export function problemWith(
  status: number,
  code: string,
  detail: string,
  problems: readonly FindingBody[] = [],
): ProblemBody {
  return {
    type: 'about:blank',
    title: STATUS_CODES[status] ?? 'Error',
    status,
    detail,
    code,
    ...(problems.length === 0 ? {} : { problems: [...problems] }),
  };
}

interface Classified {
  readonly status: number;
  readonly code: string;
  readonly message: string;
  readonly problems?: readonly unknown[] | undefined;
}

function classify(error: unknown): Classified {
  const { message = String(error), code, statusCode, problems } = Object(error) as Partial<FrameworkError>;
  if (error instanceof RequestError)
    return { status: KIND_STATUS[error.kind], code: error.code, message, problems };
  if (typeof code === 'string' && Object.hasOwn(CODE_STATUS, code)) {
    return { status: CODE_STATUS[code]!, code, message, problems };
  }
  if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500) {
    return { status: statusCode, code: FRAMEWORK_CODES[statusCode] ?? 'bad_request', message };
  }
  return { status: 500, code: 'failed', message };
}

interface FrameworkError {
  readonly message: string;
  readonly code: string;
  readonly statusCode: number;
  readonly problems: readonly unknown[];
}

/** What is wrong with a part of a request; `part` is `params`, `query` or `body`. */
export function badRequest(part: string, error: z.ZodError): RequestError {
  const findings = error.issues.map((issue) => ({
    path: issue.path.reduce<string>(
      (path, step) => path + (typeof step === 'number' ? `[${step}]` : `.${String(step)}`),
      part,
    ),
    text: issue.message,
  }));
  const message = findings.map(({ path, text }) => `${path}: ${text}`).join('\n');
  return new RequestError('malformed', 'bad_request', message, findings);
}
