/** Bodies of plugins; `control/plugins/plugin-service.ts` has the same shapes. */
import * as z from 'zod';
import { changeShape } from './config.ts';

const pluginShape = {
  name: z.string(),
  position: z.int(),
  version: z.string(),
  phase: z.string(),
  state: z.enum(['running', 'tripped', 'disabled', 'unknown']),
  failures: z.number(),
};

export const pluginListSchema = z
  .object({ plugins: z.array(z.object(pluginShape)) })
  .meta({ id: 'PluginList' });

const flagSchema = z.object({
  summary: z.string(),
  type: z.enum(['string', 'integer', 'boolean']),
  required: z.boolean(),
  multiple: z.boolean(),
});

export const pluginCommandSchema = z
  .object({
    summary: z.string(),
    description: z.string(),
    view: z.string(),
    flags: z.record(z.string(), flagSchema),
    examples: z.array(z.string()),
  })
  .meta({ id: 'PluginCommand' });

export const pluginDetailsSchema = z
  .object({
    ...pluginShape,
    description: z.string().nullable(),
    manifest: z.string(),
    hooks: z.array(z.string()),
    runsBefore: z.array(z.string()),
    runsAfter: z.array(z.string()),
    sites: z.array(z.string()).nullable().describe('For whose flows it runs; null: all.'),
    tunnels: z.array(z.string()).nullable(),
    onFailure: z.record(z.string(), z.string()).describe('Action by cause of failure.'),
    options: z.record(z.string(), z.unknown()),
    tripped: z.object({ cause: z.string(), message: z.string() }).nullable(),
    failuresByCause: z.record(z.string(), z.number()),
    calls: z.number().nullable(),
    callMicroseconds: z.number().nullable().describe('Mean time of a call, estimated.'),
    held: z.number().describe('Flows that wait for its decision.'),
    counters: z.record(z.string(), z.number()),
    controlHalf: z
      .object({
        state: z.enum(['running', 'failed']),
        failures: z.number(),
        lastFailure: z.string().nullable(),
      })
      .nullable(),
    diversions: z
      .array(
        z.object({
          name: z.string(),
          state: z.enum(['ready', 'gone']).describe('gone: its flows are dropped.'),
          reason: z.string().nullable().describe('Why it is gone; null: it is ready.'),
          namespace: z.string().describe('The network namespace of its proxy.'),
          tcp: z.int().nullable().describe('Where its proxy listens; null: it takes none of this.'),
          udp: z.int().nullable(),
        }),
      )
      .describe('Where it may hand flows to; empty too while its control half does not run.'),
    views: z.array(z.object({ name: z.string(), summary: z.string(), half: z.string() })),
    commands: z.record(z.string(), pluginCommandSchema),
  })
  .meta({ id: 'PluginDetails' });

/** Enable, disable. */
export const pluginSwitchSchema = z.strictObject(changeShape).prefault({});

export const pluginReloadSchema = z.strictObject({ reevaluate: changeShape.reevaluate }).prefault({});

/** What a view takes its manifest says. */
export const viewParametersSchema = z.record(z.string().max(64), z.json()).prefault({});

export const viewAnswerSchema = z.unknown().meta({ id: 'PluginViewAnswer' });

export type PluginListBody = z.infer<typeof pluginListSchema>;
export type PluginDetailsBody = z.infer<typeof pluginDetailsSchema>;
export type PluginCommandBody = z.infer<typeof pluginCommandSchema>;
export type ViewAnswerBody = z.infer<typeof viewAnswerSchema>;
export type ViewParameters = NonNullable<z.input<typeof viewParametersSchema>>;
