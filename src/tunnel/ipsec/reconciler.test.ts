/** The reconciler against a daemon of the test's own, which says whatever a daemon under attack may say. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import { EXAMPLE_IPSEC_TUNNEL } from '../../../test/fixtures/example-ipsec-tunnel.ts';
import { eventually } from '../../../test/support/patience.ts';
import {
  ALGORITHMS,
  CONFIRM,
  event,
  packet,
  response,
  ViciServer,
} from '../../../test/support/vici-server.ts';
import * as field from '../../vici/fields.ts';
import { decodeMessage, type ViciInput, type ViciSection } from '../../vici/message.ts';
import { Reconciler } from './reconciler.ts';
import type { WantedTunnel } from './tracked-tunnel.ts';

const directory = mkdtempSync(join(tmpdir(), 'homeward-reconciler-'));
after(() => rmSync(directory, { recursive: true, force: true }));

const TUNNEL = EXAMPLE_IPSEC_TUNNEL;

describe('the reconciler', () => {
  const commands: string[] = [];
  const listeners = new Set<Socket>();
  let sas: ViciInput = {};
  /** SAs are left out where the daemon is not to wait for them. */
  let isBusy = false;
  let keys = 0;
  /** Which commands are answered only when the test says so, by {@link release}. */
  let isHeld: (name: string, waits: boolean) => boolean = () => false;
  const held: (() => void)[] = [];
  let server: ViciServer;
  let reconciler: Reconciler;
  const states: string[] = [];
  let sockets = 0;

  function answer(name: string, message: ViciSection): Buffer {
    if (name === 'get-algorithms') return response(ALGORITHMS);
    if (name === 'list-sas') {
      return Buffer.concat([event('list-sa', isBusy && !waits(message) ? {} : sas), response({})]);
    }
    if (name === 'load-key') return response({ success: 'yes', id: `key${++keys}` });
    if (name === 'terminate') sas = {};
    return response({ success: 'yes' });
  }

  function waits(message: ViciSection): boolean {
    return field.text(message, 'noblock') === 'no';
  }

  function release(): void {
    isHeld = () => false;
    for (const write of held.splice(0)) write();
  }

  function logs(...texts: readonly string[]): void {
    const lines = texts.map((msg) => event('log', { 'ikesa-name': 'homeward-paris-ipsec', msg }));
    for (const socket of listeners) socket.write(Buffer.concat(lines));
  }

  function isUp(name = 'homeward-paris-ipsec'): ViciInput {
    return { [name]: { uniqueid: '1', state: 'ESTABLISHED', 'child-sas': { 'site-1': CHILD } } };
  }

  const wanted = (secret: string, more: Partial<WantedTunnel> = {}): WantedTunnel => ({
    tunnel: TUNNEL,
    credentials: () => ({ kind: 'psk', secret: Buffer.from(secret) }),
    ...more,
  });
  const status = () => reconciler.status(TUNNEL.name)!;
  const count = (command: string): number => commands.filter((name) => name === command).length;

  beforeEach(async () => {
    const path = join(directory, `${sockets++}.vici`);
    server = new ViciServer((socket, type, name, message) => {
      if (type !== 0) {
        if (name === 'log') listeners.add(socket);
        socket.write(packet(CONFIRM));
        return;
      }
      commands.push(name);
      const asked = decodeMessage(message);
      if (isHeld(name, waits(asked))) held.push(() => socket.write(answer(name, asked)));
      else socket.write(answer(name, asked));
    });
    await server.listen(path);
    reconciler = new Reconciler({
      socketPath: path,
      log: () => {},
      attemptsAtATime: 1,
      onState: (_, { state, reason }) => states.push(`${state}: ${reason}`),
    });
  });
  afterEach(() => {
    reconciler.stop();
    server.close();
    for (const list of [commands, states, held]) list.length = 0;
    isHeld = () => false;
    listeners.clear();
    sas = {};
    isBusy = false;
  });

  it('lets no stranger drive states, logs or looks at secrets', async () => {
    reconciler.want([wanted('secret')]);
    reconciler.start();
    await eventually('it waits', () => states.at(-1)?.startsWith('configured'));
    const loads = count('list-sas');
    // Both are what anybody who can write to the IKE ports can have said.
    for (let i = 0; i < 500; i++) {
      logs('no matching peer config found', 'tried 1 shared key, but MAC mismatched');
      if (i % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await eventually('the log is read', () => status().state === 'down');
    await eventually('its secret was looked at again', () => count('list-sas') > loads);
    assert.deepEqual(states.slice(1), [
      'down: the peer comes with other identities; compare local_id and remote_id at both ends',
    ]);
    assert.ok(count('list-sas') - loads < 10, commands.join(' '));
  });

  it('takes what a daemon says of others for nothing of an only tunnel', async () => {
    reconciler.want([wanted('secret')]);
    reconciler.start();
    await eventually('it waits', () => states.at(-1)?.startsWith('configured'));
    const says = (...packets: readonly Buffer[]): void => {
      for (const socket of listeners) socket.write(Buffer.concat(packets));
    };
    const refused = 'no matching peer config found';
    says(event('log', { 'ikesa-name': 'theirs', msg: refused }), event('child-rekey', { theirs: {} }));
    const looks = count('list-sas');
    says(event('ike-updown', {}));
    await eventually('it has looked', () => count('list-sas') > looks);
    assert.equal(status().state, 'configured');
    assert.deepEqual(reconciler.details(TUNNEL.name)?.rekeyings, { ike: 0, child: 0 });
    // Whose a peer is that has not said so is not known; here nobody else's.
    says(event('log', { 'ikesa-name': '(unnamed)', msg: refused }));
    await eventually('it is told', () => status().state === 'down');
  });

  it('takes no SA for its own that a tunnel has left that had its name', async () => {
    const tunnel = { ...TUNNEL, kernel: { requestId: 0x68000007, interfaceId: 0x68000007 } };
    const own = {
      ...CHILD,
      reqid: `${0x68000007}`,
      'spi-in': 'c1',
      'if-id-in': '68000007',
      'if-id-out': '68000007',
    };
    const of = (child: ViciInput): ViciInput => ({
      'homeward-paris-ipsec': { uniqueid: '1', state: 'ESTABLISHED', 'child-sas': { 'site-1': child } },
    });
    const formers = [
      { ...own, reqid: `${0x68000008}` },
      { ...own, 'if-id-in': '68000008' },
      { ...own, 'if-id-out': '68000008' },
      { ...CHILD, reqid: own.reqid, 'spi-in': 'c1' },
    ];
    sas = of(formers[0]!);
    reconciler.want([wanted('secret', { tunnel })]);
    reconciler.start();
    await eventually('it has looked', () => status().reason !== null);
    assert.deepEqual(states, ['configured: waits for the peer to connect']);
    assert.equal(count('terminate'), 1, 'the former one is ended');
    for (const former of formers) {
      sas = of(former);
      const looks = count('list-sas');
      for (const socket of listeners) socket.write(event('ike-updown', {}));
      await eventually('it has looked again', () => count('list-sas') > looks);
      await reconciler.settled();
    }
    assert.equal(states.length, 1, states.join(' '));
    // The daemon tells less of an SA while it updates it.
    for (const child of [own, { ...CHILD, reqid: own.reqid, state: 'UPDATING' }]) {
      sas = of(child);
      const looks = count('list-sas');
      for (const socket of listeners) socket.write(event('ike-updown', {}));
      await eventually('it has looked again', () => count('list-sas') > looks);
      await reconciler.settled();
      assert.deepEqual(states.slice(1), ['up: null']);
    }
    assert.equal(count('terminate'), 1);
  });

  it('takes no SA for gone that the daemon is busy with', async () => {
    sas = isUp();
    reconciler.want([wanted('secret')]);
    reconciler.start();
    await eventually('it is up', () => status().state === 'up');
    isBusy = true;
    const looks = count('list-sas');
    for (const socket of listeners) socket.write(event('child-rekey', { 'homeward-paris-ipsec': {} }));
    await eventually('it has looked twice', () => count('list-sas') === looks + 2);
    sas = {};
    for (const socket of listeners) socket.write(event('ike-updown', {}));
    await eventually('it is down', () => status().state === 'down');
    assert.deepEqual(states, ['up: null', 'down: the peer does not answer']);
    assert.equal(reconciler.details(TUNNEL.name)!.rekeyings.child, 1);
  });

  it('ends SAs that another secret has authenticated', async () => {
    sas = isUp();
    reconciler.want([wanted('former')]);
    reconciler.start();
    await eventually('it is up', () => status().state === 'up');
    reconciler.want([wanted('former')]);
    await eventually('it has looked', () => count('list-sas') > 1);
    assert.equal(count('terminate'), 0, 'nothing has changed');
    reconciler.want([wanted('other')]);
    await eventually('it is not up any more', () => status().state === 'down');
    assert.equal(count('terminate'), 1);
    assert.match(status().reason!, /configured otherwise/);
    assert.equal(count('load-shared'), 2);
  });

  it('leaves no key in the daemon that nobody uses', async () => {
    const of = (key: string): WantedTunnel =>
      wanted('', {
        credentials: () => ({
          kind: 'certificate',
          certificates: [Buffer.from('certificate')],
          key: Buffer.from(key),
          authorities: [Buffer.from('authority')],
        }),
      });
    reconciler.want([of('former')]);
    reconciler.start();
    await eventually('it waits', () => status().reason !== null);
    reconciler.want([of('other')]);
    await eventually('the former key is unloaded', () => count('unload-key') === 1);
    reconciler.want([]);
    await eventually('so is the other', () => count('unload-key') === 2);
  });

  /** Certificates that are others with every look, so that each is sent. */
  function renewed(): WantedTunnel {
    let looks = 0;
    const credentials: WantedTunnel['credentials'] = () => ({
      kind: 'certificate',
      certificates: [Buffer.from(`certificate ${++looks}`)],
      key: Buffer.from(`key ${looks}`),
      authorities: [Buffer.from('authority')],
    });
    return wanted('', { credentials, tunnel: { ...TUNNEL, start: 'both' } });
  }

  it('begins nothing for a tunnel that is removed while it looks', async () => {
    sas = isUp();
    const tunnel = renewed();
    reconciler.want([tunnel]);
    reconciler.start();
    await eventually('it is up', () => status().state === 'up');
    // Made anew, it would be tried again at once.
    isHeld = (name, waits) => name === 'list-sas' && waits;
    reconciler.want([tunnel]);
    await eventually('it looks whether its SAs are gone', () => held.length > 0);
    const told = states.length;
    const before = commands.length;
    reconciler.want([]);
    release();
    await reconciler.settled();
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.deepEqual(states.slice(told), []);
    const sent = commands.slice(before).filter((name) => name.startsWith('load-') || name === 'initiate');
    assert.deepEqual(sent, []);
    assert.equal(count('unload-conn'), 1);
  });

  it('unloads a tunnel that is removed while it is loaded for another attempt', async () => {
    isHeld = (name) => name === 'load-key' && count('load-key') === 2;
    reconciler.want([renewed()]);
    reconciler.start();
    await eventually('the attempt loads its key', () => held.length > 0);
    const told = states.length;
    reconciler.want([]);
    // Time for what does not wait for its turn.
    await new Promise((resolve) => setTimeout(resolve, 50));
    release();
    await reconciler.settled();
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.ok(commands.lastIndexOf('load-conn') < commands.indexOf('unload-conn'), commands.join(' '));
    assert.equal(count('unload-key'), 2, 'the key before, and this one');
    assert.deepEqual(states.slice(told), []);
  });

  it('unloads a tunnel that is removed while all is loaded into a new daemon', async () => {
    isHeld = (name) => name === 'load-key';
    reconciler.want([renewed()]);
    reconciler.start();
    await eventually('its key is loaded', () => held.length > 0);
    reconciler.want([]);
    await new Promise((resolve) => setTimeout(resolve, 50));
    release();
    await reconciler.settled();
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.ok(commands.lastIndexOf('load-conn') < commands.lastIndexOf('unload-conn'), commands.join(' '));
    assert.equal(count('unload-key'), 1);
  });

  it('lets a tunnel that is up go on when its secret is gone', async () => {
    sas = isUp();
    reconciler.want([wanted('secret')]);
    reconciler.start();
    await eventually('it is up', () => status().state === 'up');
    const looks = count('list-sas');
    const credentials = (): never => {
      throw new Error('/etc/secret cannot be read: there is no such file');
    };
    reconciler.want([wanted('', { credentials, tunnel: { ...TUNNEL, start: 'both' } })]);
    await eventually('it has looked', () => count('list-sas') > looks);
    assert.deepEqual(states, ['up: null']);
    // Until it has to be authenticated anew.
    sas = {};
    for (const socket of listeners) socket.write(event('ike-updown', {}));
    await eventually('it says why', () => /cannot be read/.test(status().reason ?? ''));
    assert.equal(status().state, 'down');
  });

  it('says what is in the way rather than what comes of it', async () => {
    sas = isUp();
    reconciler.want([wanted('secret')]);
    reconciler.start();
    await eventually('it is up', () => status().state === 'up');
    reconciler.want([wanted('secret', { obstacle: '192.0.2.1 is not an address of this host' })]);
    assert.equal(status().state, 'up', 'the address may be back in a moment');
    sas = {};
    logs('giving up after 3 retransmits');
    for (const socket of listeners) socket.write(event('ike-updown', {}));
    await eventually('it is down', () => status().state === 'down');
    assert.equal(status().reason, '192.0.2.1 is not an address of this host');
  });
});

const CHILD: ViciInput = { name: 'site', uniqueid: '1', state: 'INSTALLED' };
