/** Whatever an answer holds, it is read, or refused by a typed error: nothing else comes of it. */
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { ViciError } from './errors.ts';
import type { ViciSection, ViciValue } from './message.ts';
import {
  readAlgorithms,
  readCertificate,
  readConnections,
  readIkeSas,
  readPools,
  readStatistics,
  readVersion,
} from './views.ts';

const SEED = 20_261_122;
const READERS = [
  readAlgorithms,
  readCertificate,
  readConnections,
  readIkeSas,
  readPools,
  readStatistics,
  readVersion,
];

/** Names that the readers ask for, so that they find something, of whatever kind it is. */
const name = fc.constantFrom(
  ...['uniqueid', 'state', 'version', 'daemon', 'child-sas', 'children', 'local-1', 'remote-1', 'local-host'],
  ...[
    'local-port',
    'initiator',
    'nat-any',
    'encr-alg',
    'encr-keysize',
    'established',
    'tasks-active',
    'name',
  ],
  ...['bytes-in', 'spi-in', 'if-id-in', 'local-ts', 'workers', 'total', 'uptime', 'plugins', 'type', 'data'],
  ...['size', 'base', 'rekey_time', 'dpd_delay', 'certs', '__proto__', 'constructor', 'paris'],
);
const bytes = fc.oneof(
  fc.constantFrom('1', '-1', 'yes', 'no', 'ESTABLISHED', 'c0ffee', '99999999999999999999', '').map(toBytes),
  fc.uint8Array({ maxLength: 12 }),
);
const { section } = fc.letrec<{ section: ViciSection; value: ViciValue }>((tie) => ({
  section: fc
    .array(fc.tuple(name, tie('value')), { maxLength: 12 })
    .map((members): ViciSection => new Map(members)),
  value: fc.oneof({ maxDepth: 4 }, bytes, fc.array(bytes, { maxLength: 3 }), tie('section')),
}));

describe('views of answers', () => {
  it('take everything, or say what is wrong', () => {
    fc.assert(
      fc.property(section, (answer) => {
        for (const read of READERS) {
          try {
            read(answer);
          } catch (error) {
            if (!(error instanceof ViciError) || error.code !== 'protocol') throw error;
          }
        }
      }),
      { seed: SEED, numRuns: 2000 },
    );
  });
});

function toBytes(text: string): Uint8Array {
  return Buffer.from(text);
}
