/**
 * Bodies of the gateway as a whole: its status, and its end. Programs pass over members that they do not know.
 *
 * Neighbours: `routes/gateway.ts`, `client.ts`; `control/gateway-status.ts` has the same shape.
 */
import * as z from 'zod';
import { FAILURE_CAUSES } from '../../plugin/contract.ts';
import { PORT_STATES } from '../../tunnel/port-state.ts';

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

const stateShape = {
  state: z.enum(PORT_STATES),
  reason: z.string().nullable().describe('Why it is in this state; null where there is nothing to explain.'),
  since: z.string().describe('Since when it is in this state; begins anew with the control process.'),
};

const healthSchema = z
  .object({
    state: z.enum(['unknown', 'healthy', 'degraded', 'down']),
    target: z.string(),
    since: z.string().describe('Since when it is in this state.'),
    /** Smoothed; null before the first answer. */
    rttMs: z.number().nullable(),
    /** Of the last 256 probes, 0 to 1. */
    lossRatio: z.number(),
    sent: z.int(),
    lost: z.int(),
  })
  .meta({ id: 'TunnelHealth' });

export const tunnelSchema = z
  .object({
    name: z.string(),
    site: z.string(),
    type: z.enum(['gre', 'interconnect', 'device', 'ipsec']),
    ...stateShape,
    priority: z.number(),
    mtu: z.number(),
    device: z.string(),
    driver: z
      .object({ name: z.enum(['kernel', 'userspace', 'xfrm', 'libipsec']), why: z.string() })
      .nullable()
      .describe("What does the tunnel's work, and why that. null: there is no choice."),
    /** null: it is not checked. */
    health: healthSchema.nullable(),
    ...countersShape,
  })
  .meta({ id: 'Tunnel' });

export const egressSchema = z
  .object({
    name: z.string(),
    ...stateShape,
    mtu: z.number(),
    device: z.string(),
    ...countersShape,
  })
  .meta({ id: 'Egress' });

export const statusSchema = z
  .object({
    gateway: z.string(),
    version: z.string().describe('Of the control process, as pid and uptimeMs are.'),
    pid: z.int(),
    uptimeMs: z.number(),
    configPath: z.string(),
    planGeneration: z.int(),
    dataPlane: z.object({
      state: z.enum(['stopped', 'starting', 'running', 'forwarding', 'waiting']),
      pid: z.int().nullable(),
      version: z
        .string()
        .nullable()
        .describe(
          'Its own: until it is restarted after an upgrade, the former one. null: it could not be asked.',
        ),
      uptimeMs: z.number().nullable(),
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
        version: z.string(),
        state: z.enum(['running', 'tripped']),
        tripped: z.object({ cause: z.enum(FAILURE_CAUSES), message: z.string() }).nullable(),
        failures: z.number(),
        failuresByCause: z.record(z.enum(FAILURE_CAUSES), z.number()),
        calls: z.number(),
        timeMs: z.number(),
        held: z.number(),
        counters: z.record(z.string(), z.number()),
      }),
    ),
    /** What is not as the configuration has it: mostly what the host lacks, and so why ports are down. One line each. */
    problems: z.array(z.string()),
    notices: z.array(z.string()),
  })
  .meta({ id: 'Status' });

export const downSchema = z
  .object({
    /** Whether everything is down; false after a dry run. */
    down: z.boolean(),
  })
  .meta({ id: 'Down' });

export type TunnelBody = z.infer<typeof tunnelSchema>;
export type StatusBody = z.infer<typeof statusSchema>;
export type DownBody = z.infer<typeof downSchema>;
