/**
 * Captures for operators: what was asked for is checked, a ring is made, the data plane fills it, and what comes out
 * is a stream of pcapng.
 *
 * The ring's file has a name only until the data plane has mapped it: nothing is left of it, however either process
 * ends.
 *
 * Neighbours: `capture-stream.ts`, `filter/`, `dataplane/capture-host.ts`; `gateway.ts` owns one.
 */
import { randomInt } from 'node:crypto';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { mapFile } from '../../device/native.ts';
import {
  CaptureRingReader,
  captureRingBytes,
  formatCaptureRing,
} from '../../pipeline/capture/capture-ring.ts';
import type { FilterProgram } from '../../pipeline/capture/filter-program.ts';
import type { Plan } from '../../pipeline/plan.ts';
import { DROP, DROP_REASON_NAMES, type DropReasonName } from '../../plugin/drop-reasons.ts';
import { nearest } from '../config/suggest.ts';
import type { ControlEvents } from '../events.ts';
import { RequestError } from '../request-error.ts';
import type { Supervisor } from '../runtime/supervisor.ts';
import { findNamed } from '../unknown-name.ts';
import { CaptureInterfaces } from './capture-interfaces.ts';
import { type CaptureLimits, CaptureStream } from './capture-stream.ts';
import { compileFilter } from './filter/compile.ts';
import { FilterError } from './filter/tokens.ts';

/** Some milliseconds of a fast line: what control must be quick enough to read. */
const RING_DATA_BYTES = 16 * 1024 * 1024;
const RING_FILE = /^capture-\d+\.ring$/;

export interface CaptureRequest {
  /** Names; with neither tunnels nor egresses: all ports. */
  readonly tunnels: readonly string[];
  readonly egresses: readonly string[];
  readonly filter: string;
  /** Only dropped packets: for any of these reasons, or for any reason at all if there is none. */
  readonly dropped: readonly string[] | undefined;
  /** Only packets of this flow. */
  readonly flow: number | undefined;
  readonly snapBytes: number;
  readonly exact: boolean;
  readonly limits: CaptureLimits;
}

/** What the service needs of the gateway. */
export interface CaptureSource {
  gatewayName(): string;
  /** For rings: on tmpfs. */
  readonly directory: string;
  /** The running plan; undefined before the first. */
  plan(): Plan | undefined;
  readonly supervisor: Pick<Supervisor, 'startCapture' | 'stopCapture'>;
  readonly events: ControlEvents;
}

export class CaptureService {
  readonly #source: CaptureSource;
  readonly #starting = new Set<string>();

  constructor(source: CaptureSource) {
    this.#source = source;
  }

  /**
   * Starts a capture. The stream ends by itself; destroying it ends the capture.
   *
   * @throws RequestError for a filter, name or reason that is wrong, and when the data plane cannot capture now
   */
  async start(request: CaptureRequest): Promise<CaptureStream> {
    const plan = this.#source.plan();
    if (plan === undefined) throw unavailable('no data plane forwards now');
    const ports = portsOf(request, plan);
    const selection = {
      ports,
      dropped: reasonsOf(request.dropped),
      flow: request.flow ?? 0,
      filter: filterOf(request.filter),
      snapBytes: request.snapBytes,
      exact: request.exact,
    };
    const id = randomInt(1, 2 ** 31 - 1);
    const name = `capture-${id}.ring`;
    const ringPath = join(this.#source.directory, name);
    this.#starting.add(name);
    try {
      this.#removeStale();
      const ring = mapFile(ringPath, captureRingBytes(RING_DATA_BYTES), { create: true });
      formatCaptureRing(ring);
      const refused = await this.#source.supervisor.startCapture({ id, ringPath, selection });
      if (refused !== '') throw unavailable(refused);
      return this.#stream(id, new CaptureRingReader(ring), ports ?? [], request);
    } finally {
      rmSync(ringPath, { force: true });
      this.#starting.delete(name);
    }
  }

  #stream(
    id: number,
    reader: CaptureRingReader,
    ports: readonly number[],
    { limits, filter, snapBytes }: CaptureRequest,
  ): CaptureStream {
    const source = this.#source;
    const about = filter.trim() === '' ? '' : `, ${filter.trim()}`;
    const stream = new CaptureStream({
      reader,
      limits,
      interfaces: new CaptureInterfaces(() => source.plan(), ports, snapBytes),
      comment: `gateway ${source.gatewayName()}${about}`,
      application: 'homeward',
      stop: () => source.supervisor.stopCapture(id),
    });
    const unsubscribe = source.events.subscribe((event) => {
      if (event.type === 'data_plane_state' && event.state !== 'forwarding')
        stream.finish('the data plane has ended');
    });
    stream.once('close', unsubscribe);
    return stream;
  }

  /** Rings that a control process which was killed at that moment has left. */
  #removeStale(): void {
    const { directory } = this.#source;
    for (const name of readdirSync(directory)) {
      if (RING_FILE.test(name) && !this.#starting.has(name)) rmSync(join(directory, name), { force: true });
    }
  }
}

function unavailable(why: string): RequestError {
  return new RequestError('unavailable', 'capture_unavailable', `nothing can be captured: ${why}`);
}

function portsOf({ tunnels, egresses }: CaptureRequest, plan: Plan): readonly number[] | null {
  if (tunnels.length + egresses.length === 0) return null;
  const named = (role: 'tunnel' | 'egress', name: string): number => {
    const ports = plan.ports.filter((candidate) => candidate.role === role);
    return findNamed(role, name, ports).index;
  };
  return [...tunnels.map((name) => named('tunnel', name)), ...egresses.map((name) => named('egress', name))];
}

function reasonsOf(names: readonly string[] | undefined): readonly number[] | null {
  if (names === undefined) return null;
  if (names.length === 0) return DROP_REASON_NAMES.map((_, reason) => reason).slice(1);
  return names.map((name) => {
    const reason = DROP[name as DropReasonName];
    if (reason !== undefined && reason !== 0) return reason;
    const meant = nearest(name, DROP_REASON_NAMES);
    const hint = meant === undefined ? 'docs/drop-reasons.md lists them' : `did you mean ${meant}?`;
    throw new RequestError('invalid', 'no_such_reason', `${name} is no drop reason; ${hint}`);
  });
}

function filterOf(text: string): FilterProgram {
  try {
    return compileFilter(text);
  } catch (error) {
    if (error instanceof FilterError) throw new RequestError('invalid', error.code, error.message);
    throw error;
  }
}
