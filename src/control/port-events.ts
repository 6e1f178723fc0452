/**
 * Tells when ports change their state. The data plane is asked for it, once a second, and only while somebody
 * listens.
 */
import type { ControlEvents } from './events.ts';
import type { GatewayStatus } from './gateway-status.ts';

const INTERVAL_MS = 1000;

/** Watches until the returned function is called. */
export function watchPorts(events: ControlEvents, status: () => Promise<GatewayStatus>): () => void {
  let known: PortStates | undefined;
  let asking = false;
  const look = async (): Promise<void> => {
    if (asking) return;
    if (!events.watched) {
      known = undefined;
      return;
    }
    asking = true;
    try {
      const now = portStates(await status());
      if (known !== undefined) publishChanges(events, known, now);
      known = now;
    } finally {
      asking = false;
    }
  };
  const timer = setInterval(() => void look().catch(() => {}), INTERVAL_MS);
  return () => clearInterval(timer);
}

type PortStates = ReadonlyMap<string, { readonly role: 'tunnel' | 'egress'; readonly state: string }>;

function portStates({ tunnels, egresses }: GatewayStatus): PortStates {
  const states = new Map<string, { readonly role: 'tunnel' | 'egress'; readonly state: string }>();
  for (const { name, state } of tunnels) states.set(name, { role: 'tunnel', state });
  for (const { name, state } of egresses) states.set(name, { role: 'egress', state });
  return states;
}

function publishChanges(events: ControlEvents, former: PortStates, now: PortStates): void {
  for (const [port, { role, state }] of now) {
    const before = former.get(port)?.state ?? null;
    if (before !== state) events.publish({ type: 'port_state', port, role, former: before, state });
  }
  for (const [port, { role, state }] of former) {
    if (!now.has(port)) events.publish({ type: 'port_state', port, role, former: state, state: null });
  }
}
