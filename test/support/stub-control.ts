/** What the API asks, for tests without a gateway: whatever a test does not give says so when it is used. */
import type { GatewayControl } from '../../src/control/daemon.ts';
import { ControlEvents } from '../../src/control/events.ts';

export function stubControl(given: Partial<GatewayControl>): GatewayControl {
  const known: Partial<GatewayControl> = { events: new ControlEvents(), ...given };
  return new Proxy(known as GatewayControl, {
    get(target, name) {
      if (name in target) return Reflect.get(target, name);
      throw new Error(`this test has no ${String(name)}`);
    },
  });
}
