/** The configuration: shown, compared, applied, confirmed, rolled back. */
import { ConfigError } from '../../control/config/errors.ts';
import type { GatewayControl } from '../../control/daemon.ts';
import { claimedBy } from '../claimed-by.ts';
import type { Api } from '../operation.ts';
import {
  appliedSchema,
  applyBodySchema,
  configSchema,
  diffBodySchema,
  differenceSchema,
  historySchema,
  revisionSchema,
  revisionTextSchema,
  rollbackBodySchema,
} from '../schemas/config.ts';
import { wholeNumber } from '../schemas/parameters.ts';

export function configRoutes(api: Api): void {
  api.route({
    method: 'GET',
    path: '/v1/config',
    id: 'showConfig',
    summary: 'The configuration that runs',
    answer: configSchema,
    handle: async (_, control) => control.configuration.show(),
  });
  api.route({
    method: 'PUT',
    path: '/v1/config',
    id: 'applyConfig',
    summary: 'Run another configuration',
    description:
      'Whole or not at all: if anything fails the former one runs on. The text is written to the configuration file as it is given.',
    body: applyBodySchema,
    answer: appliedSchema,
    handle: ({ body, caller, validateOnly }, control) =>
      named(body.file, control, () =>
        control.configuration.apply(body.text, {
          by: claimedBy(body.by, caller),
          comment: body.comment,
          confirmMs: body.confirmMs,
          reevaluate: body.reevaluate,
          validateOnly,
          file: body.file,
        }),
      ),
  });
  api.route({
    method: 'POST',
    path: '/v1/config/diff',
    id: 'diffConfig',
    summary: 'What differs between two configurations',
    role: 'read',
    changes: false,
    body: diffBodySchema,
    answer: differenceSchema,
    handle: ({ body }, control) =>
      named(body.file, control, () =>
        control.configuration.diff(body.from, body.to ?? { text: body.text ?? '', file: body.file }),
      ),
  });
  api.route({
    method: 'POST',
    path: '/v1/config/confirm',
    id: 'confirmConfig',
    summary: 'Keep what waits for its confirmation',
    answer: revisionSchema,
    handle: ({ validateOnly }, control) => control.configuration.confirm(validateOnly),
  });
  api.route({
    method: 'POST',
    path: '/v1/config/rollback',
    id: 'rollbackConfig',
    summary: 'Run an earlier revision again',
    body: rollbackBodySchema,
    answer: appliedSchema,
    handle: ({ body, caller, validateOnly }, control) =>
      control.configuration.rollback(body.revision, {
        by: claimedBy(body.by, caller),
        comment: body.comment,
        confirmMs: body.confirmMs,
        reevaluate: body.reevaluate,
        validateOnly,
      }),
  });
  api.route({
    method: 'GET',
    path: '/v1/config/history',
    id: 'listRevisions',
    summary: 'What ran, newest first',
    answer: historySchema,
    handle: async (_, control) => ({
      revisions: [...control.configuration.revisions()],
      pending: control.configuration.show().pending,
    }),
  });
  api.route({
    method: 'GET',
    path: '/v1/config/history/:number',
    id: 'showRevision',
    summary: 'One revision with its text',
    params: { number: wholeNumber(1, Number.MAX_SAFE_INTEGER) },
    answer: revisionTextSchema,
    handle: async ({ params }, control) => control.configuration.revision(params.number),
  });
}

/** Problems with the name that the client knows the text by. */
async function named<T>(
  file: string | undefined,
  control: GatewayControl,
  action: () => Promise<T>,
): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof ConfigError) || file === undefined) throw error;
    // Manifests of plugins have names of their own.
    const { path } = control.configuration.show();
    const renamed = error.problems.map((one) => (one.file === path ? { ...one, file } : one));
    throw new ConfigError(renamed);
  }
}
