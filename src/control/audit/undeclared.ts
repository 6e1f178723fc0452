/**
 * Addresses that begin flows and that their site does not declare: found in the flow records, so only what has
 * a flow now is seen. Such flows work, because replies follow the pin; but nothing leads new flows towards these
 * addresses, and a wrong plug or a forged source looks the same.
 */
import { setImmediate } from 'node:timers/promises';
import type { FlowMemory } from '../../flow/flow-memory.ts';
import {
  DIRECTION_PACKETS,
  DIRECTION_WORDS,
  KEY_META,
  KEY_SRC0,
  RECORD_WORDS,
  SHARED_INGRESS,
  SHARED_STATE,
} from '../../flow/layout.ts';
import type { Plan } from '../../pipeline/plan.ts';
import { formatAddressWords, type Prefix, prefixContainsWords } from '../../wire/address.ts';
import { knownPrefix } from '../config/ip.ts';
import { RecordCopy } from '../flows/flow-list.ts';
import { snapshot } from '../flows/mapped-flow-memory.ts';

/** Addresses that are listed; further ones are counted by their flows. */
const MAX_ADDRESSES = 1000;
const SLICE_RECORDS = 32_768;

export interface UndeclaredAddress {
  readonly site: string;
  /** Of the flow that was seen first. */
  readonly tunnel: string;
  readonly address: string;
  readonly flows: number;
  readonly packets: number;
  /** Other sites that declare it. */
  readonly declaredBy: readonly string[];
  readonly text: string;
}

export interface UndeclaredReport {
  /** Flows looked at. */
  readonly flows: number;
  /** Most flows first. */
  readonly addresses: readonly UndeclaredAddress[];
  /** Flows from further addresses, which are not listed. */
  readonly omittedFlows: number;
}

interface Found {
  readonly site: string;
  readonly tunnel: string;
  readonly address: string;
  readonly declaredBy: readonly string[];
  flows: number;
  packets: number;
}

/** Looks through all live flows. */
export async function findUndeclared(plan: Plan, memory: FlowMemory): Promise<UndeclaredReport> {
  const plans = addressPlans(plan);
  const own = new Set(plan.gatewayAddresses);
  const found = new Map<string, Found>();
  const copy = new RecordCopy();
  let flows = 0;
  let omittedFlows = 0;
  for (let record = 0; record < memory.capacity; record++) {
    if (record % SLICE_RECORDS === SLICE_RECORDS - 1) await setImmediate();
    if (memory.records[record * RECORD_WORDS + SHARED_STATE] === 0) continue;
    if (!snapshot(memory.records, record, copy.words)) continue;
    flows++;
    const meta = copy.words[KEY_META]!;
    const site = plans.get(meta >>> 16);
    if (site === undefined || declares(site, copy.words)) continue;
    const { words, floats } = copy;
    const [word0, word1, word2, word3] = words.subarray(KEY_SRC0, KEY_SRC0 + 4) as unknown as number[];
    const address = formatAddressWords(meta & 0xff, word0!, word1!, word2!, word3!);
    if (own.has(address)) continue;
    const key = `${meta >>> 16} ${address}`;
    let entry = found.get(key);
    if (entry === undefined) {
      if (found.size === MAX_ADDRESSES) {
        omittedFlows++;
        continue;
      }
      const declaredBy = [...plans.values()]
        .filter((other) => declares(other, words))
        .map(({ name }) => name);
      const tunnel = plan.ports.find(({ index }) => index === (words[SHARED_INGRESS]! & 0xffff))?.name ?? '?';
      entry = { site: site.name, tunnel, address, declaredBy, flows: 0, packets: 0 };
      found.set(key, entry);
    }
    entry.flows++;
    entry.packets += floats[DIRECTION_PACKETS >> 1]! + floats[(DIRECTION_WORDS + DIRECTION_PACKETS) >> 1]!;
  }
  const addresses = [...found.values()]
    .sort((a, b) => b.flows - a.flows)
    .map((entry): UndeclaredAddress => ({ ...entry, text: describe(entry) }));
  return { flows, addresses, omittedFlows };
}

interface SitePlan {
  readonly name: string;
  /** Its own prefixes, and those that routes lead to it. */
  readonly prefixes: readonly Prefix[];
}

function addressPlans(plan: Plan): ReadonlyMap<number, SitePlan> {
  return new Map(
    plan.spaces
      .filter(({ kind }) => kind === 'site')
      .map(({ id, name, prefixes }) => {
        const routed = plan.routes.filter(({ via }) => via === id).map(({ prefix }) => prefix);
        return [id, { name, prefixes: [...prefixes, ...routed].map(knownPrefix) }];
      }),
  );
}

/** Whether the originator's address in a record is the site's by its plan. */
function declares(site: SitePlan, words: Int32Array): boolean {
  const family = words[KEY_META]! & 0xff;
  return site.prefixes.some((prefix) =>
    prefixContainsWords(
      prefix,
      family,
      words[KEY_SRC0]!,
      words[KEY_SRC0 + 1]!,
      words[KEY_SRC0 + 2]!,
      words[KEY_SRC0 + 3]!,
    ),
  );
}

function describe({ site, tunnel, address, flows, declaredBy }: Found): string {
  const whose =
    declaredBy.length === 0
      ? 'no site declares it'
      : `${declaredBy.join(', ')} declares it, ${site} does not`;
  return `${address} begins flows (${flows} now) in ${site}, by ${tunnel}: ${whose}.`;
}
