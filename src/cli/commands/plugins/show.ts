import { Args } from '@oclif/core';
import { showPlugin } from '../../../api/client/plugins.ts';
import type { PluginDetailsBody } from '../../../api/schemas/plugins.ts';
import { HomewardCommand } from '../../command.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';
import { table } from '../../table.ts';
import { paintState } from '../../terminal.ts';

export default class PluginsShow extends HomewardCommand {
  static override summary = 'Show one plugin: state, options, failures and counters.';
  static override examples = ['<%= config.bin %> plugins show return-routing'];
  static override args = { plugin: Args.string({ required: true, description: 'Its name.' }) };
  static override flags = CONNECTION_FLAGS;

  async run(): Promise<PluginDetailsBody> {
    const { args, flags } = await this.parse(PluginsShow);
    const plugin = await showPlugin(await this.connect(flags), args.plugin);
    this.log(table(rowsOf(plugin)));
    return plugin;
  }
}

function rowsOf(plugin: PluginDetailsBody): string[][] {
  const { tripped, sites, tunnels, controlHalf, diversions, views, commands } = plugin;
  const places = [
    ...(sites === null ? [] : [`sites ${sites.join(', ')}`]),
    ...(tunnels === null ? [] : [`tunnels ${tunnels.join(', ')}`]),
  ];
  const rows: (string[] | undefined)[] = [
    ['plugin', `${plugin.name} ${plugin.version}`],
    plugin.description === null ? undefined : ['', plugin.description],
    ['from', plugin.manifest],
    ['state', paintState(plugin.state)],
    tripped === null ? undefined : ['tripped', `${tripped.cause}: ${tripped.message}`],
    ['runs', `in the ${plugin.phase} phase, at position ${plugin.position}`],
    ['for flows of', places.length === 0 ? 'everybody' : places.join('; ')],
    ['hooks', plugin.hooks.join(', ')],
    ...Object.entries(plugin.options).map(([name, value]) => [`option ${name}`, shortJson(value)]),
    ...Object.entries(plugin.onFailure).map(([cause, action]) => [
      `on ${cause}`,
      `${action}, ${plugin.failuresByCause[cause] ?? 0} times`,
    ]),
    plugin.calls === null ? undefined : ['calls', `${plugin.calls}${timeOf(plugin.callMicroseconds)}`],
    plugin.held === 0 ? undefined : ['held flows', String(plugin.held)],
    ...Object.entries(plugin.counters).map(([name, count]) => [name, String(count)]),
    controlHalf === null
      ? undefined
      : ['control half', `${controlHalf.state}, ${controlHalf.failures} failures${lastOf(controlHalf)}`],
    ...diversions.map(({ name, state, reason, namespace, tcp, udp }) => [
      `diversion ${name}`,
      `${paintState(state)}${reason === null ? '' : `: ${reason}`}; ${listeners(tcp, udp)} in namespace ${namespace}`,
    ]),
    ...views.map(({ name, summary }) => [`view ${name}`, summary]),
    ...Object.entries(commands).map(([verb, { summary }]) => [
      'command',
      `homeward ${plugin.name} ${verb}: ${summary}`,
    ]),
  ];
  return rows.filter((row) => row !== undefined);
}

function listeners(tcp: number | null, udp: number | null): string {
  const ports = [tcp === null ? '' : `TCP ${tcp}`, udp === null ? '' : `UDP ${udp}`];
  return ports.filter((text) => text !== '').join(' and ');
}

function timeOf(microseconds: number | null): string {
  return microseconds === null ? '' : `, ${microseconds.toFixed(2)} us each`;
}

function lastOf({ lastFailure }: NonNullable<PluginDetailsBody['controlHalf']>): string {
  return lastFailure === null ? '' : `, the last: ${lastFailure}`;
}

const MAX_CHARACTERS = 100;

function shortJson(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > MAX_CHARACTERS ? `${text.slice(0, MAX_CHARACTERS - 3)}...` : text;
}
