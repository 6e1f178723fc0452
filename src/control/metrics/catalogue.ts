/**
 * Every metric there is: what it is called, what it says, by what it is told apart. docs/metrics.md is checked
 * against this list, and the dashboard in appliance/grafana may use nothing else.
 *
 * Names have base units (seconds, bytes) and begin with `homeward_`; counters end with `_total`. `port` is a
 * tunnel or an egress; `site` is empty for egresses.
 */
import type { Metric } from './exposition.ts';

function counter(name: string, help: string, ...labels: readonly string[]): Metric {
  return { name: `homeward_${name}_total`, type: 'counter', help, labels };
}

function gauge(name: string, help: string, ...labels: readonly string[]): Metric {
  return { name: `homeward_${name}`, type: 'gauge', help, labels };
}

const PORT = ['port', 'site'];

export const METRICS = {
  buildInfo: gauge('build_info', 'Always 1; which version runs, on which Node.', 'version', 'node'),
  startTime: gauge('start_time_seconds', 'When the control process began, seconds since 1970.'),
  planGeneration: gauge('plan_generation', 'Generation of the plan that is in force.'),
  plansApplied: counter('plans_applied', 'Plans that the data plane has taken.'),
  problems: gauge('problems', 'Problems that the status tells now.'),

  dataPlaneUp: gauge('dataplane_up', '1 while the data plane runs and has its plan.'),
  dataPlaneRestarts: counter('dataplane_restarts', 'Times that the data plane was started anew.'),
  dataPlaneSilent: gauge('dataplane_silent_seconds', 'Since the data plane last said that it is alive.'),
  busySeconds: counter('dataplane_busy_seconds', 'Time that the loop was not waiting for input.'),
  bursts: counter('dataplane_bursts', 'Rounds of the loop: send, wait, receive.'),
  processCpu: counter('process_cpu_seconds', 'Processor time, user and system, by process.', 'process'),
  processMemory: gauge('process_resident_memory_bytes', 'Resident memory, by process.', 'process'),

  flows: gauge('flows', 'Flows there are.'),
  flowsLimit: gauge('flows_limit', 'Flows there is room for.'),
  flowsPerTunnelLimit: gauge('flows_per_tunnel_limit', 'Flows that one tunnel may have.'),
  creations: counter(
    'flow_creations',
    'Attempts to make a flow, by result: created, or the drop reason of the refusal.',
    'result',
  ),
  flowEnds: counter('flow_ends', 'Flows that ended, by how.', 'how'),
  flowsRestored: counter('flows_restored', 'Flows found again by a new data plane.'),
  flowsDiscarded: counter('flows_discarded', 'Flow records that a new data plane could not use.'),

  portInfo: gauge(
    'port_info',
    'Always 1; what a tunnel, an egress or a diversion is made of.',
    ...PORT,
    'role',
    'type',
    'device',
  ),
  portUp: gauge('port_up', '1 while packets may leave by the port.', ...PORT),
  portEnabled: gauge('port_enabled', '1 unless the configuration disables it.', ...PORT),
  portState: gauge(
    'port_state',
    '1 for the state that a tunnel or an egress is in, 0 for the others.',
    ...PORT,
    'state',
  ),
  portStateSince: gauge(
    'port_state_since_timestamp_seconds',
    'Since when it is in its state, seconds since 1970; begins anew with the control process.',
    ...PORT,
  ),
  tunnelHealth: gauge(
    'tunnel_health',
    '1 for what the health checks say of a tunnel, 0 for what they do not; only tunnels that are checked.',
    ...PORT,
    'state',
  ),
  tunnelRtt: gauge('tunnel_rtt_seconds', 'Round-trip time of health checks, smoothed.', ...PORT),
  tunnelLoss: gauge(
    'tunnel_loss_ratio',
    'Share of the last 256 health checks that was not answered.',
    ...PORT,
  ),
  tunnelProbes: counter('tunnel_probes', 'Health checks, by result.', ...PORT, 'result'),
  ipsecPackets: counter(
    'ipsec_packets',
    'Packets that SAs of a tunnel have carried, as the IKE daemon counts them; looked at every five seconds.',
    ...PORT,
    'direction',
  ),
  ipsecBytes: counter('ipsec_bytes', 'Bytes of the same packets.', ...PORT, 'direction'),
  ipsecRekeyings: counter('ipsec_rekeyings', 'SAs that took the place of others.', ...PORT, 'sa'),
  ipsecCertificateExpiry: gauge(
    'ipsec_certificate_expiry_timestamp_seconds',
    'When a certificate ends, seconds since 1970: own, authority (who signs the peer), peer (as it was last shown).',
    ...PORT,
    'certificate',
    'subject',
  ),
  portPackets: counter(
    'port_packets',
    'Packets; those that offloads have joined count as one.',
    ...PORT,
    'direction',
  ),
  portBytes: counter('port_bytes', 'Bytes of IP packets.', ...PORT, 'direction'),
  portFlows: gauge('port_flows', 'Flows whose originator comes in by the port.', ...PORT),
  portFlowsCreated: counter('port_flows_created', 'Flows whose first packet came in by the port.', ...PORT),
  portRepins: counter(
    'port_repins',
    'Flows that changed over to the port from another of its site.',
    ...PORT,
  ),
  portUnexpected: counter(
    'port_unexpected_replies',
    'TCP segments and ICMP replies that came by the tunnel and answer nothing that the gateway knows of; all were dropped.',
    ...PORT,
  ),
  portForeign: counter(
    'port_foreign_replies',
    'The same, where a flow of another site or egress has exactly these addresses and ports; of twenty a second that are examined.',
    ...PORT,
  ),
  dropped: counter(
    'dropped_packets',
    'Packets dropped, by the port they came in by and the reason; reasons that never happened are left out.',
    ...PORT,
    'reason',
  ),

  icmpErrors: counter('icmp_errors_sent', 'ICMP errors of our own.'),
  tcpResets: counter('tcp_resets_sent', 'TCP resets of our own.'),
  echoReplies: counter('echo_replies_sent', 'Pings answered.'),
  fragments: counter('fragments_received', 'Fragments that came.'),
  reassembled: counter('datagrams_reassembled', 'Datagrams put together from fragments.'),
  fragmented: counter('packets_fragmented', 'Packets cut into fragments.'),

  streamFlows: gauge('stream_flows', 'Flows whose bytes plugins read.'),
  streamBytes: gauge(
    'stream_bytes',
    'Memory in use for their bytes: held back, or delivered and not acknowledged.',
  ),
  streamBytesLimit: gauge(
    'stream_bytes_limit',
    'The most that these can take; 0 while no plugin reads streams.',
  ),
  streamHeld: gauge('stream_held_segments', 'Segments held back.'),
  streamConflicts: counter(
    'stream_conflicts',
    'Segments in which a byte was another one than the first copy of it, or behind the end of the stream.',
  ),

  pluginCalls: counter('plugin_calls', 'Calls of hooks of a plugin.', 'plugin'),
  pluginSeconds: counter('plugin_seconds', 'Time in them, estimated from one call in 32.', 'plugin'),
  pluginFailures: counter('plugin_failures', 'Failures of a plugin, by cause.', 'plugin', 'cause'),
  pluginTripped: gauge('plugin_tripped', '1 for a plugin that is called no more since it failed.', 'plugin'),
  pluginHeld: gauge('plugin_held_flows', 'Flows that wait for a decision of a plugin.', 'plugin'),
  pluginControlFailures: counter('plugin_control_failures', "Failures of a plugin's control half.", 'plugin'),
  pluginCounter: counter('plugin_counter', "Counters of a plugin's own.", 'plugin', 'counter'),

  deviceSendErrors: counter('device_send_errors', 'Frames that a device did not take.', 'device'),
  deviceReceiveErrors: counter('device_receive_errors', 'Frames that could not be received.', 'device'),

  externalPorts: gauge(
    'external_ports',
    'External ports (ICMP: identifiers) in use: live, or held for late packets.',
    'egress',
    'address',
    'protocol',
    'state',
  ),
  externalPortsLimit: gauge(
    'external_ports_limit',
    'External ports of an address that homeward may use, port forwards included.',
    'egress',
    'address',
    'protocol',
  ),

  logEvents: counter('flow_log_events', 'Events of flows taken out of the ring for the flow log.'),
  logWaiting: gauge('flow_log_waiting', 'Events that wait in the ring.'),
  logLost: counter('flow_log_lost', 'Events lost because the ring was full.'),
  logSuppressed: counter('flow_log_suppressed', 'Refusals above their rate, which are not logged.'),
  logBytes: counter('flow_log_written_bytes', 'Bytes written to the file of the flow log.'),
  logErrors: counter('flow_log_errors', 'Failures to write the file of the flow log.'),
  ipfixMessages: counter('ipfix_messages', 'IPFIX messages sent.'),
  ipfixRecords: counter('ipfix_records', 'IPFIX data records sent.'),
  ipfixLost: counter('ipfix_lost', 'Events that could not be sent to the collector.'),
} as const satisfies Readonly<Record<string, Metric>>;
