/**
 * What a pipeline is made of. Neighbours: `assembly.ts` makes these, `pipeline.ts` puts packets through them.
 */

import type { Counters } from '../flow/counters.ts';
import type { PacketView } from '../wire/packet.ts';
import type { PacketTap } from './capture/packet-tap.ts';
import type { Departure } from './departure.ts';
import type { FlowEnd } from './flow-end.ts';
import type { FlowState } from './flow-policy.ts';
import type { FlowSetupStage } from './flow-setup.ts';
import type { LinkLayer } from './link/link-layer.ts';
import type { Scratch } from './link/scratch.ts';
import type { OwnErrors } from './own-errors.ts';
import type { Reassembler } from './reassembly.ts';
import type { Strays } from './strays.ts';
import type { TunnelProbes } from './tunnel-probes.ts';

export interface PipelineParts {
  readonly view: PacketView;
  readonly link: LinkLayer;
  readonly reassembler: Reassembler;
  readonly state: FlowState;
  readonly setup: FlowSetupStage;
  readonly end: FlowEnd;
  readonly departure: Departure;
  readonly errors: OwnErrors;
  readonly counters: Counters;
  readonly tap: PacketTap;
  readonly probes: TunnelProbes;
  readonly strays: Strays;
  readonly scratch: Scratch;
}
