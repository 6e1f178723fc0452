/** Captures as tshark sees them: an implementation of every protocol that is not ours. */
import { spawnSync } from 'node:child_process';

/** Checksums are looked at only when asked for; nothing is put together from several packets. */
const OPTIONS = [
  ...['ip.check_checksum:TRUE', 'tcp.check_checksum:TRUE', 'udp.check_checksum:TRUE'],
  ...['ip.defragment:FALSE', 'ipv6.defragment:FALSE', 'tcp.desegment_tcp_streams:FALSE'],
].flatMap((option) => ['-o', option]);
const OUTPUT_LIMIT_BYTES = 256 << 20;

/** A packet: the values of each field that was asked for, from the outermost header inwards. */
export type Dissected<Field extends string> = Readonly<Record<Field, readonly string[]>>;

/**
 * The packets of a capture that a display filter selects, field by field.
 *
 * @throws Error with what tshark said
 */
export function dissect<Field extends string>(
  path: string,
  filter: string,
  fields: readonly Field[],
): Dissected<Field>[] {
  const wanted = fields.flatMap((field) => ['-e', field]);
  const { status, stdout, stderr, error } = spawnSync(
    'tshark',
    ['-n', '-r', path, ...OPTIONS, '-Y', filter, '-T', 'fields', '-E', 'occurrence=a', ...wanted],
    { encoding: 'utf8', maxBuffer: OUTPUT_LIMIT_BYTES },
  );
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`tshark: ${stderr.trim()}`);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const values = line.split('\t').map((value) => (value === '' ? [] : value.split(',')));
      const packet = {} as Record<Field, readonly string[]>;
      fields.forEach((field, at) => {
        packet[field] = values[at] ?? [];
      });
      return packet;
    });
}
