/**
 * What setting up and ending flows stands on: what a plan compiles to, and what outlives plans.
 *
 * Neighbours: `assembly.ts` makes both; `flow-setup.ts`, `flow-end.ts` and `pipeline.ts` use them.
 */
import type { Budgets } from '../flow/budgets.ts';
import type { HeldTuples } from '../flow/held-tuples.ts';
import type { FlowTable } from '../flow/table.ts';
import type { Translation } from '../flow/translation.ts';
import type { Diversions } from './diversions.ts';
import type { GatewayAddresses } from './gateway-addresses.ts';
import type { PluginChain } from './plugin-chain.ts';
import type { PortForwards } from './port-forwards.ts';
import type { PortTable } from './port-table.ts';
import type { RoutingTable } from './routing-table.ts';

/** What a plan compiles to, as far as new flows are concerned. Replaced whole with the plan. */
export interface FlowPolicy {
  readonly planGeneration: number;
  readonly ports: PortTable;
  readonly routes: RoutingTable;
  readonly chain: PluginChain;
  readonly gatewayAddresses: GatewayAddresses;
  readonly portForwards: PortForwards;
  readonly diversions: Diversions;
  /** By protocol number: 1 if it may start a flow by address pair. */
  readonly otherProtocols: Uint8Array;
}

/** What outlives a plan. */
export interface FlowState {
  readonly table: FlowTable;
  readonly translation: Translation;
  readonly held: HeldTuples;
  readonly budgets: Budgets;
}
