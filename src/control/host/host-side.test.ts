/** What stays guarded over a stop and a start with another configuration. In a namespace of its own. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { INTERCONNECT } from '../../../test/fixtures/classifier-cases.ts';
import { inOwnNamespace } from '../../../test/support/own-namespace.ts';
import type { HostSetup } from '../compile/host-setup.ts';
import { collectFacts } from './collect-facts.ts';
import { HostSide } from './host-side.ts';
import { readHostState, writeHostState } from './host-state.ts';

const NOTHING: HostSetup = { devices: [] };

function rules(): string {
  return execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' });
}

if (inOwnNamespace(import.meta.url)) {
  it('devices of a former run are guarded until they are given back', async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'homeward-host-side-'));
    t.after(() => rmSync(directory, { recursive: true }));
    const statePath = join(directory, 'host-state.json');
    execFileSync('ip', ['link', 'add', 'ic0', 'type', 'veth', 'peer', 'name', 'made0']);
    const facts = await collectFacts([]);
    const { ifindex } = facts.links.ic0!;
    const former = HostSide.open(statePath);
    const setup = { devices: [{ ...INTERCONNECT, ifindex }] };
    await former.prepare(setup, facts);
    await former.finish(setup, facts);
    // A kernel's tunnel as an earlier version has recorded it; any interface will do for the guard.
    const state = readHostState(statePath)!;
    writeHostState(statePath, {
      ...state,
      madeLinks: [{ name: 'made0', ifindex: 0, arguments: 'type gre', ends: 'gre', tunnel: null }],
    });

    for (const begin of ['protect', 'prepare'] as const) {
      const next = HostSide.open(statePath);
      assert.ok(next.takesOver);
      await next[begin](NOTHING, facts);
      for (const name of ['ic0', 'made0']) {
        const found = rules();
        assert.match(found, new RegExp(`iifname "${name}" goto`), `${begin}: ${name}, by name`);
        assert.match(found, new RegExp(`device[^\\n]*${name}`), `${begin}: ${name}, by its hook`);
        assert.match(found, /oifname \{ "ic0", "made0" \} drop/, begin);
        assert.match(found, new RegExp(`iif (${facts.links[name]!.ifindex}|"${name}") goto`), begin);
      }
      if (begin === 'prepare') await next.finish(NOTHING, facts);
    }
    assert.doesNotMatch(rules(), /ic0|made0/);
    const left = await collectFacts([]);
    assert.deepEqual([Object.hasOwn(left.links, 'made0'), readHostState(statePath)!.links], [false, []]);
  });

  it("the kernel's tunnels of a former run keep all of their guard, whatever their names are now", async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'homeward-host-side-'));
    t.after(() => rmSync(directory, { recursive: true }));
    const statePath = join(directory, 'host-state.json');
    execFileSync('ip', ['link', 'add', 'made1', 'type', 'veth', 'peer', 'name', 'far1']);
    execFileSync('ip', ['link', 'set', 'made1', 'up']);
    t.after(() => execFileSync('nft', ['flush', 'ruleset']));
    const facts = await collectFacts([]);
    const link = { kind: 'gre', local: '192.0.2.1', remote: '192.0.2.9', key: 7 } as const;
    const tunnel = {
      link: { ...link, checksum: false, sequence: false, ttl: 64 },
      underlay: 'up0',
      requestId: null,
    };
    const { ifindex } = facts.links.made1!;
    const former = HostSide.open(statePath);
    await former.protect(NOTHING, facts);
    writeHostState(statePath, {
      ...readHostState(statePath)!,
      madeLinks: [{ name: 'made1', ifindex, arguments: 'type gre', ends: 'gre', tunnel }],
    });
    const outer = 'ip daddr 192.0.2.1 meta l4proto gre ip saddr (192.0.2.9|{ 192.0.2.9 }) drop';
    await HostSide.open(statePath).protect(NOTHING, facts);
    assert.match(rules(), new RegExp(`iifname != "up0" ${outer}`));

    execFileSync('ip', ['link', 'set', 'made1', 'down']);
    execFileSync('ip', ['link', 'set', 'made1', 'name', 'renamed1']);
    const renamed = await collectFacts([]);
    for (const begin of ['protect', 'prepare'] as const) {
      await HostSide.open(statePath)[begin](NOTHING, renamed);
      const found = rules();
      assert.match(found, /iifname "renamed1" goto/);
      assert.match(found, new RegExp(`iif (${ifindex}|"renamed1") goto`));
      // It takes none any more.
      assert.match(found, new RegExp(`^\\s*${outer}`, 'm'));
    }
  });
}
