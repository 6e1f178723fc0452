/**
 * Puts all metrics together: from the mapped flow memory, the plan, the supervisor's report and /proc. Nothing here
 * asks the data plane, so that a scrape costs it nothing, however many scrape.
 *
 * Neighbours: `catalogue.ts` (what there is), `exposition.ts` (the text), `telemetry.ts` (who calls).
 */
import { readFileSync } from 'node:fs';
import type { PluginStatus } from '../../dataplane/plugin-messages.ts';
import {
  COUNTER,
  Counters,
  DEVICE_RECEIVE_ERRORS,
  DEVICE_SEND_ERRORS,
  PLUGIN_CALLS,
  PLUGIN_FAILURES_BY_CAUSE,
  PLUGIN_TIME_MS,
  PORT_BYTES_IN,
  PORT_BYTES_OUT,
  PORT_FLOWS_CREATED,
  PORT_FLOWS_LIVE,
  PORT_FOREIGN,
  PORT_PACKETS_IN,
  PORT_PACKETS_OUT,
  PORT_REPINS,
  PORT_UNEXPECTED,
  PORT_UP,
} from '../../flow/counters.ts';
import type { FlowMemory } from '../../flow/flow-memory.ts';
import type { Plan, PlanPort } from '../../pipeline/plan.ts';
import { FAILURE_CAUSES } from '../../plugin/contract.ts';
import { DROP_REASON_NAMES } from '../../plugin/drop-reasons.ts';
import { PORT_STATES, type PortCondition } from '../../tunnel/port-state.ts';
import type { FlowLogStatistics } from '../flow-log/flow-log.ts';
import type { Health } from '../health/health-record.ts';
import type { TunnelHealthStatus } from '../health/tunnel-health.ts';
import type { IpsecView } from '../ipsec/ipsec-view.ts';
import type { ControlHalfStatus } from '../plugins/control-half.ts';
import type { DataPlaneReport } from '../runtime/data-plane-requests.ts';
import { METRICS } from './catalogue.ts';
import { Exposition } from './exposition.ts';
import { CLASS_NAMES, countPorts } from './external-ports.ts';

/** Clock ticks a second in /proc: the same on every Linux (USER_HZ). */
const TICKS_PER_SECOND = 100;

/** How an `ipsec` tunnel is. */
export type IpsecSample = Pick<IpsecView, 'traffic' | 'rekeyings' | 'certificates'>;

/** How a plugin is. */
export interface PluginSample extends Pick<PluginStatus, 'name' | 'tripped' | 'held' | 'counters'> {
  /** undefined: it has no control half. */
  readonly controlHalf: Pick<ControlHalfStatus, 'failures' | 'counters'> | undefined;
}

/** What the metrics are made of. */
export interface MetricSources {
  readonly version: string;
  /** Milliseconds since 1970. */
  readonly startedAtMs: number;
  /** Milliseconds since boot as int32. */
  readonly nowMs: number;
  readonly plan: Plan | undefined;
  readonly memory: FlowMemory | undefined;
  readonly dataPlane: DataPlaneReport;
  readonly problems: number;
  /** Of a tunnel; null: it is not checked. */
  readonly health: (tunnel: string) => TunnelHealthStatus | null;
  /** null: no `ipsec` tunnel of this name runs. */
  readonly ipsec: (tunnel: string) => IpsecSample | null;
  /** Of a tunnel or an egress; undefined: nobody has looked yet. */
  readonly condition: (port: string) => PortCondition | undefined;
  /** What was last heard of plugins. */
  readonly plugins: readonly PluginSample[];
  /** undefined: there is no flow log. */
  readonly flowLog: FlowLogStatistics | undefined;
}

/** All metrics as the text that Prometheus reads. */
export function collectMetrics(sources: MetricSources): string {
  const out = new Exposition();
  const { plan, memory, dataPlane } = sources;
  addGateway(out, sources);
  addProcess(out, 'control', process.pid);
  if (dataPlane.pid !== null) addProcess(out, 'dataplane', dataPlane.pid);
  if (plan !== undefined && memory !== undefined) {
    const counters = new Counters(memory.counters);
    addFlows(out, plan, memory, counters);
    addPorts(out, plan, counters, dataPlane.state === 'forwarding');
    addStates(out, plan, sources.condition);
    addHealth(out, plan, sources.health);
    addIpsec(out, plan, sources.ipsec);
    addOwnPackets(out, counters);
    addStreams(out, counters);
    addPlugins(out, memory, counters);
    for (const plugin of sources.plugins) addPlugin(out, plugin);
    for (const { index, name } of plan.devices) {
      out.add(METRICS.deviceSendErrors, counters.device(index, DEVICE_SEND_ERRORS), name);
      out.add(METRICS.deviceReceiveErrors, counters.device(index, DEVICE_RECEIVE_ERRORS), name);
    }
    addExternalPorts(out, plan, memory);
  }
  if (sources.flowLog !== undefined) addFlowLog(out, sources.flowLog);
  return out.toString();
}

function addGateway(out: Exposition, sources: MetricSources): void {
  const { plan, memory, dataPlane } = sources;
  out.add(METRICS.buildInfo, 1, sources.version, process.versions.node);
  out.add(METRICS.startTime, sources.startedAtMs / 1000);
  if (plan !== undefined) out.add(METRICS.planGeneration, plan.generation);
  out.add(METRICS.problems, sources.problems);
  out.add(METRICS.dataPlaneUp, dataPlane.state === 'forwarding' ? 1 : 0);
  out.add(METRICS.dataPlaneRestarts, dataPlane.restarts);
  if (memory === undefined) return;
  const counters = new Counters(memory.counters);
  // It says so every few milliseconds; the two clocks need not agree to the last one.
  out.add(METRICS.dataPlaneSilent, Math.max(0, (sources.nowMs - memory.lastAliveMs) | 0) / 1000);
  out.add(METRICS.busySeconds, counters.global(COUNTER.busy_ms) / 1000);
  out.add(METRICS.bursts, counters.global(COUNTER.bursts));
  out.add(METRICS.plansApplied, counters.global(COUNTER.plans_applied));
}

/** A process that is gone has no samples. */
function addProcess(out: Exposition, name: string, pid: number): void {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is the program's name in parentheses, which may contain anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const memory = /^VmRSS:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'));
    out.add(METRICS.processCpu, (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND, name);
    if (memory !== null) out.add(METRICS.processMemory, Number(memory[1]) * 1024, name);
  } catch {
    // It has just ended.
  }
}

function addFlows(out: Exposition, plan: Plan, memory: FlowMemory, counters: Counters): void {
  const live = plan.ports.reduce((sum, { index }) => sum + counters.port(index, PORT_FLOWS_LIVE), 0);
  out.add(METRICS.flows, live);
  out.add(METRICS.flowsLimit, memory.capacity);
  if (plan.flowTable.perTunnel > 0) out.add(METRICS.flowsPerTunnelLimit, plan.flowTable.perTunnel);
  out.add(METRICS.creations, counters.creations(0), 'created');
  DROP_REASON_NAMES.forEach((name, reason) => {
    const refused = reason === 0 ? 0 : counters.creations(reason);
    if (refused > 0) out.add(METRICS.creations, refused, name);
  });
  const ends = ['closed', 'timed_out', 'flushed', 'reopened'] as const;
  for (const how of ends) out.add(METRICS.flowEnds, counters.global(COUNTER[`flows_${how}`]), how);
  out.add(METRICS.flowsRestored, counters.global(COUNTER.flows_restored));
  out.add(METRICS.flowsDiscarded, counters.global(COUNTER.flows_discarded));
}

function addPorts(out: Exposition, plan: Plan, counters: Counters, forwards: boolean): void {
  const sites = siteNames(plan);
  const devices = new Map(plan.devices.map(({ index, name }) => [index, name]));
  for (const port of plan.ports) {
    const { index, name } = port;
    const site = sites.get(port.space) ?? '';
    const device = devices.get(port.link.device) ?? '';
    out.add(METRICS.portInfo, 1, name, site, port.role, portType(port), device);
    // The gauge is the data plane's word, which nobody keeps when it is not there.
    out.add(METRICS.portUp, forwards ? counters.port(index, PORT_UP) : 0, name, site);
    out.add(METRICS.portEnabled, port.enabled ? 1 : 0, name, site);
    out.add(METRICS.portPackets, counters.port(index, PORT_PACKETS_IN), name, site, 'in');
    out.add(METRICS.portPackets, counters.port(index, PORT_PACKETS_OUT), name, site, 'out');
    out.add(METRICS.portBytes, counters.port(index, PORT_BYTES_IN), name, site, 'in');
    out.add(METRICS.portBytes, counters.port(index, PORT_BYTES_OUT), name, site, 'out');
    out.add(METRICS.portFlows, counters.port(index, PORT_FLOWS_LIVE), name, site);
    out.add(METRICS.portFlowsCreated, counters.port(index, PORT_FLOWS_CREATED), name, site);
    out.add(METRICS.portRepins, counters.port(index, PORT_REPINS), name, site);
    if (port.role === 'tunnel') {
      out.add(METRICS.portUnexpected, counters.port(index, PORT_UNEXPECTED), name, site);
      out.add(METRICS.portForeign, counters.port(index, PORT_FOREIGN), name, site);
    }
    addDrops(out, counters, index, name, site);
  }
  // What came in by no port: foreign frames, unknown tunnels.
  addDrops(out, counters, 0, '', '');
}

function addStates(out: Exposition, plan: Plan, conditionOf: MetricSources['condition']): void {
  const sites = siteNames(plan);
  for (const { name, space } of plan.ports) {
    const condition = conditionOf(name);
    if (condition === undefined) continue;
    const site = sites.get(space) ?? '';
    for (const state of PORT_STATES) {
      out.add(METRICS.portState, state === condition.state ? 1 : 0, name, site, state);
    }
    out.add(METRICS.portStateSince, condition.sinceMs / 1000, name, site);
  }
}

/** By space; empty for egresses. */
function siteNames(plan: Plan): ReadonlyMap<number, string> {
  return new Map(plan.spaces.map(({ id, kind, name }) => [id, kind === 'site' ? name : '']));
}

const HEALTHS: readonly Health[] = ['unknown', 'healthy', 'degraded', 'down'];

function addHealth(out: Exposition, plan: Plan, healthOf: MetricSources['health']): void {
  const sites = siteNames(plan);
  for (const { name, space } of plan.ports) {
    const health = healthOf(name);
    if (health === null) continue;
    const site = sites.get(space) ?? '';
    for (const state of HEALTHS)
      out.add(METRICS.tunnelHealth, state === health.state ? 1 : 0, name, site, state);
    if (health.rttMs !== null) out.add(METRICS.tunnelRtt, health.rttMs / 1000, name, site);
    out.add(METRICS.tunnelLoss, health.lossRatio, name, site);
    out.add(METRICS.tunnelProbes, health.sent - health.lost, name, site, 'answered');
    out.add(METRICS.tunnelProbes, health.lost, name, site, 'lost');
  }
}

function addIpsec(out: Exposition, plan: Plan, ipsecOf: MetricSources['ipsec']): void {
  const sites = siteNames(plan);
  for (const { name, space } of plan.ports) {
    const ipsec = ipsecOf(name);
    if (ipsec === null) continue;
    const site = sites.get(space) ?? '';
    const { traffic, rekeyings, certificates } = ipsec;
    out.add(METRICS.ipsecPackets, traffic.packetsIn, name, site, 'in');
    out.add(METRICS.ipsecPackets, traffic.packetsOut, name, site, 'out');
    out.add(METRICS.ipsecBytes, traffic.bytesIn, name, site, 'in');
    out.add(METRICS.ipsecBytes, traffic.bytesOut, name, site, 'out');
    out.add(METRICS.ipsecRekeyings, rekeyings.ike, name, site, 'ike');
    out.add(METRICS.ipsecRekeyings, rekeyings.child, name, site, 'child');
    addCertificates(out, certificates, name, site);
  }
}

/** Of several with one name, the one that ends first. */
function addCertificates(
  out: Exposition,
  certificates: IpsecSample['certificates'],
  name: string,
  site: string,
): void {
  const first = new Map<string, IpsecSample['certificates'][number]>();
  for (const certificate of certificates) {
    const key = `${certificate.whose} ${certificate.subject}`;
    if ((first.get(key)?.ends ?? '~') > certificate.ends) first.set(key, certificate);
  }
  for (const { whose, subject, ends } of first.values())
    out.add(METRICS.ipsecCertificateExpiry, Date.parse(ends) / 1000, name, site, whose, subject);
}

function portType(port: PlanPort): string {
  if (port.role === 'diversion') return 'diversion';
  return port.role === 'tunnel' ? port.tunnelType : 'internet';
}

function addDrops(out: Exposition, counters: Counters, index: number, name: string, site: string): void {
  DROP_REASON_NAMES.forEach((reason, number) => {
    const dropped = counters.drops(index, number);
    if (dropped > 0) out.add(METRICS.dropped, dropped, name, site, reason);
  });
}

function addOwnPackets(out: Exposition, counters: Counters): void {
  out.add(METRICS.icmpErrors, counters.global(COUNTER.icmp_errors_sent));
  out.add(METRICS.tcpResets, counters.global(COUNTER.tcp_resets_sent));
  out.add(METRICS.echoReplies, counters.global(COUNTER.echo_replies_sent));
  out.add(METRICS.fragments, counters.global(COUNTER.fragments_received));
  out.add(METRICS.reassembled, counters.global(COUNTER.datagrams_reassembled));
  out.add(METRICS.fragmented, counters.global(COUNTER.packets_fragmented));
}

function addStreams(out: Exposition, counters: Counters): void {
  out.add(METRICS.streamFlows, counters.global(COUNTER.stream_flows));
  out.add(METRICS.streamBytes, counters.global(COUNTER.stream_bytes));
  out.add(METRICS.streamBytesLimit, counters.global(COUNTER.stream_bytes_limit));
  out.add(METRICS.streamHeld, counters.global(COUNTER.stream_held_segments));
  out.add(METRICS.streamConflicts, counters.global(COUNTER.stream_conflicts));
}

function addPlugins(out: Exposition, memory: FlowMemory, counters: Counters): void {
  memory.plugins?.forEach((name, place) => {
    out.add(METRICS.pluginCalls, counters.plugin(place, PLUGIN_CALLS), name);
    out.add(METRICS.pluginSeconds, counters.plugin(place, PLUGIN_TIME_MS) / 1000, name);
    FAILURE_CAUSES.forEach((cause, at) => {
      out.add(METRICS.pluginFailures, counters.plugin(place, PLUGIN_FAILURES_BY_CAUSE + at), name, cause);
    });
  });
}

function addPlugin(out: Exposition, { name, tripped, held, counters, controlHalf }: PluginSample): void {
  out.add(METRICS.pluginTripped, tripped === null ? 0 : 1, name);
  out.add(METRICS.pluginHeld, held, name);
  if (controlHalf !== undefined) out.add(METRICS.pluginControlFailures, controlHalf.failures, name);
  for (const [counter, count] of Object.entries({ ...counters, ...controlHalf?.counters })) {
    out.add(METRICS.pluginCounter, count, name, counter);
  }
}

function addExternalPorts(out: Exposition, plan: Plan, memory: FlowMemory): void {
  for (const port of plan.ports) {
    if (port.role !== 'egress') continue;
    for (const pool of port.pools) {
      const { live, held } = countPorts(memory.translation, port.space, pool);
      CLASS_NAMES.forEach((protocol, kind) => {
        out.add(METRICS.externalPorts, live[kind]!, port.name, pool.address, protocol, 'live');
        out.add(METRICS.externalPorts, held[kind]!, port.name, pool.address, protocol, 'held');
        const usable = pool.portMax - pool.portMin + 1;
        out.add(METRICS.externalPortsLimit, usable, port.name, pool.address, protocol);
      });
    }
  }
}

function addFlowLog(out: Exposition, log: FlowLogStatistics): void {
  out.add(METRICS.logEvents, log.events);
  out.add(METRICS.logWaiting, log.waiting);
  out.add(METRICS.logLost, log.lost);
  out.add(METRICS.logSuppressed, log.suppressed);
  if (log.file !== undefined) {
    out.add(METRICS.logBytes, log.file.writtenBytes);
    out.add(METRICS.logErrors, log.file.errors);
  }
  if (log.ipfix !== undefined) {
    out.add(METRICS.ipfixMessages, log.ipfix.messages);
    out.add(METRICS.ipfixRecords, log.ipfix.records);
    out.add(METRICS.ipfixLost, log.ipfix.lost);
  }
}
