/**
 * The routing table: which address space a new flow's destination is in.
 *
 * Asked once for a flow, never for a reply. It answers with a space, not with a tunnel: among the tunnels of a
 * site `port-table.ts` chooses. Within the promise (docs/promise.md): it never chooses between sites. An address
 * declared by two sites other than the sender's is ambiguous at any prefix length, unless a configured route
 * names one of those sites; what is inside the sender's own prefixes never goes elsewhere; an undeclared
 * private destination never falls to an egress by a route that is not itself private.
 *
 * A binary trie over address bits in one Int32Array, one for each family:
 *
 * ```
 *  node: [ child 0, child 1, declared: first index, declared: count, route: space, route: flags ]
 * ```
 *
 * A walk visits at most 32 or 128 nodes and allocates nothing. Neighbours: `plan.ts`, `flow-setup.ts`.
 */
import { DROP } from '../plugin/drop-reasons.ts';
import { isPrivateAddress, type Prefix } from '../wire/address.ts';
import { swap32 } from '../wire/byte-order.ts';
import { IPV4 } from '../wire/packet.ts';
import type { Plan } from './plan.ts';
import { planPrefix } from './plan-address.ts';

const NODE_WORDS = 6;
const CHILD0 = 0;
const CHILD1 = 1;
const DECLARED_AT = 2;
const DECLARED_COUNT = 3;
const ROUTE_SPACE = 4;
const ROUTE_FLAGS = 5;

const LAST_WALK = 0x7fffffff;

const ROUTE_TO_SITE = 1;
/** The route's own prefix is inside private space: the operator means private addresses. */
const ROUTE_NAMES_PRIVATE = 2;

/** What a look-up has before it when it answers. Lengths of prefixes in bits; -1 where there is none. */
export interface Considered {
  /** Sites that declare the address, and the longest of their prefixes that has it. */
  readonly declaredBy: readonly number[];
  readonly declaredLength: number;
  /** The longest configured route that has it, and where it leads; 0: there is none. */
  readonly routeSpace: number;
  readonly routeLength: number;
  /** The longest of those that lead to a site. */
  readonly siteRouteLength: number;
}

interface BuildNode {
  child0: BuildNode | undefined;
  child1: BuildNode | undefined;
  declared: number[];
  routeSpace: number;
  routePriority: number;
  routeFlags: number;
}

export class RoutingTable {
  private readonly v4: Trie;
  private readonly v6: Trie;
  /** Why the last `lookup` answered 0: a drop reason. */
  reason = 0;

  constructor(plan: Pick<Plan, 'spaces' | 'routes'>) {
    const root4 = newNode();
    const root6 = newNode();
    const siteIds = new Set(plan.spaces.filter((space) => space.kind === 'site').map((space) => space.id));
    for (const space of plan.spaces) {
      for (const text of space.prefixes) {
        const prefix = planPrefix(text);
        const node = descend(prefix.family === IPV4 ? root4 : root6, prefix);
        if (!node.declared.includes(space.id)) node.declared.push(space.id);
      }
    }
    for (const route of plan.routes) {
      const prefix = planPrefix(route.prefix);
      const node = descend(prefix.family === IPV4 ? root4 : root6, prefix);
      if (node.routeSpace !== 0 && node.routePriority <= route.priority) continue;
      node.routeSpace = route.via;
      node.routePriority = route.priority;
      node.routeFlags =
        (siteIds.has(route.via) ? ROUTE_TO_SITE : 0) | (namesPrivate(prefix) ? ROUTE_NAMES_PRIVATE : 0);
    }
    const lastSpace = plan.spaces.reduce((last, space) => Math.max(last, space.id), 0);
    this.v4 = new Trie(root4, lastSpace);
    this.v6 = new Trie(root6, lastSpace);
  }

  /**
   * The space that `destination` (wire-order words; IPv4 in `dst3`) is in, for a packet sent from
   * `senderSpace`; 0 if there is none, with the drop reason in `reason`.
   */
  lookup(
    family: number,
    dst0: number,
    dst1: number,
    dst2: number,
    dst3: number,
    senderSpace: number,
  ): number {
    const trie = this.walk(family, dst0, dst1, dst2, dst3);
    if (trie.isDeclaring(senderSpace)) return this.refuse(DROP.own_site_destination);
    const declaring = trie.declaring;
    if (declaring > 1) {
      const named = trie.siteRoute;
      if (named !== 0 && trie.isDeclaring(named)) return named;
      return this.refuse(DROP.ambiguous_destination);
    }
    if (declaring === 1 && trie.routeDepth < trie.declaredDepth) return trie.firstDeclaring;
    if (trie.route === 0) return this.refuse(DROP.no_route);
    if (trie.route === senderSpace) return this.refuse(DROP.own_site_destination);
    if (
      declaring === 0 &&
      (trie.routeFlags & (ROUTE_TO_SITE | ROUTE_NAMES_PRIVATE)) === 0 &&
      isPrivateAddress(family, dst0, dst3)
    ) {
      return this.refuse(DROP.private_destination);
    }
    return trie.route;
  }

  /** Whether any site declares the address (wire-order words; IPv4 in `word3`). */
  isDeclared(family: number, word0: number, word1: number, word2: number, word3: number): boolean {
    return this.walk(family, word0, word1, word2, word3).declaring > 0;
  }

  /** Whether this space declares the address. */
  isDeclaredBy(
    space: number,
    family: number,
    word0: number,
    word1: number,
    word2: number,
    word3: number,
  ): boolean {
    return this.walk(family, word0, word1, word2, word3).isDeclaring(space);
  }

  /** What {@link lookup} looks at for this address, for explanations. Allocates. */
  considered(family: number, word0: number, word1: number, word2: number, word3: number): Considered {
    const trie = this.walk(family, word0, word1, word2, word3);
    return {
      declaredBy: trie.allDeclaring(),
      declaredLength: trie.declaredDepth,
      routeSpace: trie.route,
      routeLength: trie.routeDepth,
      siteRouteLength: trie.siteRouteDepth,
    };
  }

  private walk(family: number, word0: number, word1: number, word2: number, word3: number): Trie {
    const trie = family === IPV4 ? this.v4 : this.v6;
    if (family === IPV4) trie.walk(word3, 0, 0, 0, 32);
    else trie.walk(word0, word1, word2, word3, 128);
    return trie;
  }

  private refuse(reason: number): number {
    this.reason = reason;
    return 0;
  }
}

class Trie {
  private readonly nodes: Int32Array;
  private readonly declared: Int32Array;
  /** By space id: number of the walk that last found the space declaring its address. */
  private readonly declaredIn: Int32Array;
  private walkNumber = 0;
  /** Results of the last walk: how many spaces declare the address, one of them, the longest such prefix. */
  declaring = 0;
  firstDeclaring = 0;
  declaredDepth = -1;
  route = 0;
  routeDepth = -1;
  routeFlags = 0;
  /** The longest matching route that leads to a site. */
  siteRoute = 0;
  siteRouteDepth = -1;

  constructor(root: BuildNode, lastSpace: number) {
    this.declaredIn = new Int32Array(lastSpace + 1);
    const flat: BuildNode[] = [root];
    for (let i = 0; i < flat.length; i++) {
      const { child0, child1 } = flat[i];
      if (child0) flat.push(child0);
      if (child1) flat.push(child1);
    }
    const numbers = new Map(flat.map((node, number) => [node, number]));
    const declared: number[] = [];
    this.nodes = new Int32Array(flat.length * NODE_WORDS);
    flat.forEach((node, number) => {
      const at = number * NODE_WORDS;
      this.nodes[at + CHILD0] = node.child0 ? numbers.get(node.child0)! : 0;
      this.nodes[at + CHILD1] = node.child1 ? numbers.get(node.child1)! : 0;
      this.nodes[at + DECLARED_AT] = declared.length;
      this.nodes[at + DECLARED_COUNT] = node.declared.length;
      this.nodes[at + ROUTE_SPACE] = node.routeSpace;
      this.nodes[at + ROUTE_FLAGS] = node.routeFlags;
      declared.push(...node.declared);
    });
    this.declared = Int32Array.from(declared);
  }

  walk(word0: number, word1: number, word2: number, word3: number, bits: number): void {
    if (this.walkNumber === LAST_WALK) {
      // Numbers begin anew, so those of long ago must not look like the present one.
      this.declaredIn.fill(0);
      this.walkNumber = 0;
    }
    this.walkNumber++;
    this.declaring = 0;
    this.firstDeclaring = 0;
    this.declaredDepth = -1;
    this.route = 0;
    this.routeDepth = -1;
    this.routeFlags = 0;
    this.siteRoute = 0;
    this.siteRouteDepth = -1;
    const nodes = this.nodes;
    let node = 0;
    let word = 0;
    for (let depth = 0; ; depth++) {
      const at = node * NODE_WORDS;
      const count = nodes[at + DECLARED_COUNT];
      if (count !== 0) this.collect(nodes[at + DECLARED_AT], count, depth);
      const space = nodes[at + ROUTE_SPACE];
      if (space !== 0) {
        this.route = space;
        this.routeDepth = depth;
        this.routeFlags = nodes[at + ROUTE_FLAGS];
        if ((this.routeFlags & ROUTE_TO_SITE) !== 0) {
          this.siteRoute = space;
          this.siteRouteDepth = depth;
        }
      }
      if (depth === bits) return;
      if ((depth & 31) === 0) {
        const index = depth >> 5;
        word = swap32(index === 0 ? word0 : index === 1 ? word1 : index === 2 ? word2 : word3);
      }
      const bit = (word >>> (31 - (depth & 31))) & 1;
      node = nodes[at + bit];
      if (node === 0) return;
    }
  }

  /** Whether `space` declares the address of the last walk. */
  isDeclaring(space: number): boolean {
    return this.declaredIn[space] === this.walkNumber;
  }

  /** Every space that declares the address of the last walk. */
  allDeclaring(): number[] {
    return [...this.declaredIn.keys()].filter((space) => this.isDeclaring(space));
  }

  private collect(first: number, count: number, depth: number): void {
    this.declaredDepth = depth;
    for (let i = first; i < first + count; i++) {
      const space = this.declared[i];
      if (this.declaredIn[space] === this.walkNumber) continue;
      this.declaredIn[space] = this.walkNumber;
      if (this.declaring++ === 0) this.firstDeclaring = space;
    }
  }
}

function newNode(): BuildNode {
  return {
    child0: undefined,
    child1: undefined,
    declared: [],
    routeSpace: 0,
    routePriority: 0,
    routeFlags: 0,
  };
}

function descend(root: BuildNode, prefix: Prefix): BuildNode {
  let node = root;
  for (let depth = 0; depth < prefix.length; depth++) {
    const word = swap32(prefix.words[prefix.family === IPV4 ? 3 : depth >> 5]);
    if ((word >>> (31 - (depth & 31))) & 1) {
      node.child1 ??= newNode();
      node = node.child1;
    } else {
      node.child0 ??= newNode();
      node = node.child0;
    }
  }
  return node;
}

function namesPrivate(prefix: Prefix): boolean {
  const longEnough = prefix.family === IPV4 ? prefix.length >= 8 : prefix.length >= 7;
  return longEnough && isPrivateAddress(prefix.family, prefix.words[0], prefix.words[3]);
}
