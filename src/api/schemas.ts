/**
 * The bodies of the API, `/v1/...`: JSON, UTF-8. Server and client check against the same schemas; members that
 * a client does not know are to be passed over.
 *
 * | request | answer |
 * | --- | --- |
 * | `GET /v1/status` | 200 {@link statusSchema} |
 * | `POST /v1/down` | 200 {@link downSchema}, when everything is down; then the server ends |
 * | anything else | 404, 405: {@link errorSchema} |
 */
import * as z from 'zod';

const countersShape = {
  /** Flows whose originator's packets come in here. */
  flows: z.number(),
  rxPackets: z.number(),
  rxBytes: z.number(),
  txPackets: z.number(),
  txBytes: z.number(),
  /** Dropped packets by reason. */
  drops: z.record(z.string(), z.number()),
};

const portStateSchema = z.enum(['up', 'down', 'disabled', 'unknown']);

export const tunnelSchema = z.object({
  name: z.string(),
  site: z.string(),
  type: z.enum(['gre', 'interconnect', 'device', 'ipsec']),
  state: portStateSchema,
  priority: z.number(),
  mtu: z.number(),
  device: z.string(),
  ...countersShape,
});

export const egressSchema = z.object({
  name: z.string(),
  state: portStateSchema,
  mtu: z.number(),
  device: z.string(),
  ...countersShape,
});

export const statusSchema = z.object({
  gateway: z.string(),
  pid: z.int(),
  uptimeMs: z.number(),
  configPath: z.string(),
  planGeneration: z.int(),
  dataPlane: z.object({
    state: z.enum(['stopped', 'starting', 'running', 'forwarding', 'waiting']),
    pid: z.int().nullable(),
    restarts: z.int(),
    lastFailure: z.string().nullable(),
  }),
  tunnels: z.array(tunnelSchema),
  egresses: z.array(egressSchema),
  flows: z.object({ current: z.number(), max: z.number(), created: z.number() }).nullable(),
  devices: z.array(
    z.object({
      index: z.int(),
      name: z.string(),
      state: z.enum(['open', 'closed', 'gone']),
      txErrors: z.number(),
      rxErrors: z.number(),
    }),
  ),
  plugins: z.array(
    z.object({
      name: z.string(),
      state: z.enum(['running', 'tripped']),
      failures: z.number(),
      counters: z.record(z.string(), z.number()),
    }),
  ),
  /** Why the host does not fit the configuration now; until it does, the former plan stays. */
  problems: z.array(z.string()),
  notices: z.array(z.string()),
});

export const downSchema = z.object({ down: z.literal(true) });

/** Every answer with a status of 400 or more. */
export const errorSchema = z.object({
  error: z.object({
    /** Stable, for programs. */
    code: z.enum(['not_found', 'method_not_allowed', 'failed']),
    /** A sentence for people. */
    message: z.string(),
  }),
});

export type StatusBody = z.infer<typeof statusSchema>;
export type DownBody = z.infer<typeof downSchema>;
export type ErrorBody = z.infer<typeof errorSchema>;
