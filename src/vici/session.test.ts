/** A session against daemons that do what daemons should not: each is a real socket with a server behind it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import * as fc from 'fast-check';
import { PATIENCE } from '../../test/support/patience.ts';
import {
  CONFIRM,
  type Daemon,
  event,
  packet,
  RESPONSE,
  response,
  ViciServer,
} from '../../test/support/vici-server.ts';
import { ViciError, type ViciErrorCode } from './errors.ts';
import { ViciSession } from './session.ts';

const directory = mkdtempSync(join(tmpdir(), 'homeward-vici-'));
after(() => rmSync(directory, { recursive: true, force: true }));
let sockets = 0;
const SEED = 20_261_122;

async function against(daemon: Daemon, use: (session: ViciSession) => Promise<void>): Promise<void> {
  const path = join(directory, `${sockets++}.vici`);
  const server = new ViciServer(daemon);
  await server.listen(path);
  const session = await ViciSession.open(path);
  try {
    await use(session);
  } finally {
    session.close();
    server.close();
  }
}

async function fails(what: Promise<unknown>, code: ViciErrorCode, message?: RegExp): Promise<void> {
  await assert.rejects(what, (error) => {
    assert.ok(error instanceof ViciError, String(error));
    assert.equal(error.code, code, error.message);
    if (message !== undefined) assert.match(error.message, message);
    return true;
  });
}

describe('a VICI session', () => {
  it('gives answers in the order of the requests', async () => {
    let answered = 0;
    await against(
      (socket, _, name) => socket.write(response({ name, number: answered++ })),
      async (session) => {
        const answers = await Promise.all(['a', 'b', 'c'].map((name) => session.request(name)));
        const names = answers.map((answer) => String(Buffer.from(answer.get('name') as Uint8Array)));
        assert.deepEqual(names, ['a', 'b', 'c']);
      },
    );
  });

  it('gives the words of a refusal', () =>
    against(
      (socket, _, name) =>
        socket.write(
          response(name === 'silent' ? { success: 'no' } : { success: 'no', errmsg: 'no such conn' }),
        ),
      async (session) => {
        await fails(session.request('load-conn'), 'refused', /^load-conn: no such conn$/);
        await fails(session.request('silent'), 'refused', /does not say why/);
        const answer = await session.ask('load-conn');
        assert.equal(String(Buffer.from(answer.get('success') as Uint8Array)), 'no');
      },
    ));

  it('tells unknown commands and events', () =>
    against(
      (socket, type) => socket.write(packet(type === 0 ? 2 : 6)),
      async (session) => {
        await fails(session.request('bogus'), 'unknown_command', /bogus/);
        await fails(
          session.subscribe('bogus', () => {}),
          'unknown_event',
          /bogus/,
        );
        // Neither harms the connection.
        await fails(session.request('again'), 'unknown_command');
      },
    ));

  it('silence is a time-out, of all that wait, and the end of the connection', () =>
    against(
      () => {},
      async (session) => {
        const behind = session.request('behind');
        const failed = fails(behind, 'closed', /no answer to silent within 50 ms/);
        await fails(
          session.request('silent', {}, { timeoutMs: 50 }),
          'timeout',
          /no answer to silent within 50 ms/,
        );
        await failed;
        assert.equal(session.isOpen, false);
        await fails(session.request('later'), 'closed');
      },
    ));

  it('is given up by a signal', () =>
    against(
      () => {},
      async (session) => {
        const controller = new AbortController();
        const request = fails(session.request('slow', {}, { signal: controller.signal }), 'aborted', /slow/);
        controller.abort();
        await request;
        assert.equal(session.isOpen, false);
      },
    ));

  const hostile: [what: string, daemon: Daemon, code: ViciErrorCode][] = [
    ['hangs up', (socket) => socket.destroy(), 'closed'],
    [
      'hangs up in the middle of an answer',
      (socket) => socket.end(Buffer.from([0, 0, 1, 0, 1, 3])),
      'closed',
    ],
    ['sends a packet that is too long', (socket) => socket.write(Buffer.from([0, 9, 0, 0, 1])), 'protocol'],
    ['sends an empty packet', (socket) => socket.write(Buffer.alloc(4)), 'protocol'],
    ['confirms what was a command', (socket) => socket.write(packet(CONFIRM)), 'protocol'],
    [
      'sends a key twice',
      (socket) => socket.write(packet(RESPONSE, Buffer.from('\x03\x01a\0\0\x03\x01a\0\0'))),
      'protocol',
    ],
    [
      'sends half a message',
      (socket) => socket.write(packet(RESPONSE, Buffer.from('\x01\x01a'))),
      'protocol',
    ],
    ['sends a request', (socket) => socket.write(packet(0, Buffer.from('\x01a'))), 'protocol'],
    ['speaks HTTP', (socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'), 'protocol'],
  ];
  for (const [what, daemon, code] of hostile) {
    it(`against a daemon that ${what}: ${code}`, () =>
      against(daemon, async (session) => {
        await fails(session.request('version', {}, { timeoutMs: 2000 }), code);
        assert.equal(session.isOpen, false);
      }));
  }

  it('an answer to nothing ends the connection', () =>
    against(
      (socket) => socket.write(Buffer.concat([response({}), response({})])),
      async (session) => {
        await session.request('version');
        assert.equal((await session.closed).code, 'protocol');
      },
    ));

  it('collects what a command streams, and registers for it', async () => {
    const registrations: [number, string][] = [];
    await against(
      (socket, type, name) => {
        if (type !== 0) {
          registrations.push([type, name]);
          socket.write(packet(CONFIRM));
          return;
        }
        const events = [1, 2, 3].map((number) => event('list-sa', { [`sa${number}`]: {} }));
        socket.write(Buffer.concat([...events, response({})]));
      },
      async (session) => {
        const results = await session.stream('list-sas', 'list-sa');
        assert.deepEqual(
          results.map((result) => [...result.keys()]),
          [['sa1'], ['sa2'], ['sa3']],
        );
      },
    );
    assert.deepEqual(registrations, [
      [3, 'list-sa'],
      [4, 'list-sa'],
    ]);
  });

  it('an endless stream ends', () =>
    against(
      (socket, type) => {
        if (type !== 0) return void socket.write(packet(CONFIRM));
        const part = event('list-sa', { a: {} });
        const send = (): void => {
          while (!socket.destroyed && socket.write(part));
          if (!socket.destroyed) socket.once('drain', send);
        };
        send();
      },
      (session) =>
        fails(session.stream('list-sas', 'list-sa', {}, { most: 1000 }), 'protocol', /more than 1000/),
    ));

  it('a stream that is never registered is a time-out as any other', () =>
    against(
      () => {},
      async (session) => {
        await fails(
          session.stream('list-sas', 'list-sa', {}, { timeoutMs: 50 }),
          'timeout',
          /no answer to list-sa within 50 ms/,
        );
      },
    ));

  it('a stream that drips for ever ends, too', () =>
    against(
      (socket, type) => {
        if (type !== 0) return void socket.write(packet(CONFIRM));
        const timer = setInterval(() => socket.write(event('list-sa', {})), 10);
        socket.once('close', () => clearInterval(timer));
      },
      async (session) => {
        await fails(session.stream('list-sas', 'list-sa', {}, { timeoutMs: 100 }), 'timeout', /list-sas/);
        assert.equal(session.isOpen, false);
      },
    ));

  it('streams of the same event at once get each their own', async () => {
    let answered = 0;
    await against(
      (socket, type) => {
        if (type !== 0) return void socket.write(packet(CONFIRM));
        const number = ++answered;
        // Not before both are asked for.
        const parts = [1, 2].map((part) => event('list-sa', { [`sa${number}-${part}`]: {} }));
        setTimeout(() => socket.write(Buffer.concat([...parts, response({})])), 50 * number);
      },
      async (session) => {
        const both = await Promise.all([
          session.stream('list-sas', 'list-sa'),
          session.stream('list-sas', 'list-sa', { ike: 'paris' }),
        ]);
        assert.deepEqual(
          both.map((results) => results.flatMap((result) => [...result.keys()])),
          [
            ['sa1-1', 'sa1-2'],
            ['sa2-1', 'sa2-2'],
          ],
        );
      },
    );
  });

  it('whatever a daemon sends, every request ends in time, by an answer or a typed error', async () => {
    const sane = Buffer.concat([
      packet(CONFIRM),
      event('list-sa', { paris: { uniqueid: '1', state: 'ESTABLISHED', 'child-sas': { net: {} } } }),
      response({ success: 'yes', list: ['a', 'b'] }),
    ]);
    const hostile = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      // What is nearly right goes furthest.
      fc
        .array(fc.tuple(fc.nat(sane.length - 1), fc.integer({ min: 0, max: 255 })), {
          minLength: 1,
          maxLength: 4,
        })
        .map((changes) => {
          const bytes = Buffer.from(sane);
          for (const [at, value] of changes) bytes[at] = value;
          return bytes;
        }),
      fc.nat(sane.length).map((length) => sane.subarray(0, length)),
    );
    await fc.assert(
      fc.asyncProperty(hostile, async (bytes) => {
        let sent = false;
        await against(
          (socket) => {
            if (!sent) socket.write(bytes);
            sent = true;
          },
          async (session) => {
            const options = { timeoutMs: 30 };
            const began = performance.now();
            const ends = await Promise.allSettled([
              session.stream('list-sas', 'list-sa', {}, options),
              session.request('version', {}, options),
            ]);
            session.close();
            for (const end of ends) {
              if (end.status === 'rejected') assert.ok(end.reason instanceof ViciError, String(end.reason));
            }
            assert.ok(performance.now() - began < 20_000 * PATIENCE);
          },
        );
      }),
      { seed: SEED, numRuns: 60 },
    );
  });

  it('a stream that goes on takes longer than one answer may', () =>
    against(
      (socket, type) => {
        if (type !== 0) return void socket.write(packet(CONFIRM));
        let left = 5;
        const timer = setInterval(() => {
          socket.write(left-- > 0 ? event('list-sa', {}) : response({}));
          if (left < 0) clearInterval(timer);
        }, 100);
      },
      async (session) => {
        assert.equal((await session.stream('list-sas', 'list-sa', {}, { timeoutMs: 400 })).length, 5);
      },
    ));

  it('registers once for any number of handlers', async () => {
    const registrations: number[] = [];
    const seen: string[] = [];
    await against(
      (socket, type) => {
        if (type === 0) {
          socket.write(Buffer.concat([event('log', {}), response({})]));
          return;
        }
        registrations.push(type);
        socket.write(packet(CONFIRM));
      },
      async (session) => {
        const handler = (): number => seen.push('same');
        const ends = await Promise.all([
          session.subscribe('log', handler),
          session.subscribe('log', handler),
          session.subscribe('log', () => seen.push('other')),
        ]);
        await session.request('go');
        assert.deepEqual(seen, ['same', 'same', 'other']);
        for (const end of ends) {
          await end();
          await end();
        }
        await session.request('go');
        assert.equal(seen.length, 3);
      },
    );
    assert.deepEqual(registrations, [3, 4]);
  });

  it('nothing is sent that cannot be', () =>
    against(
      (socket) => socket.write(response({})),
      async (session) => {
        await fails(
          session.request('load-cert', { data: 'x'.repeat(70_000) }),
          'unsendable',
          /data has 70000 bytes/,
        );
        await session.request('version');
      },
    ));

  it('nobody there', async () => {
    await fails(ViciSession.open(join(directory, 'nobody')), 'unreachable', /ENOENT/);
  });
});
