/**
 * Connections to the API on the network, shared: who has no token yet can hold one open, and must not hold all.
 *
 * Neighbour: `server.ts`.
 */
import type { Server, Socket } from 'node:net';
import { parseAddress } from '../wire/address.ts';
import { IPV6 } from '../wire/packet.ts';

/** Has connections of one source beyond `most` closed at once. A source is an IPv4 address, or 64 bits of an IPv6 one. */
export function shareConnections(server: Server, most: number): void {
  const open = new Map<string, number>();
  server.on('connection', (socket: Socket) => {
    const source = sourceOf(socket.remoteAddress ?? '');
    const count = open.get(source) ?? 0;
    if (count >= most) {
      socket.destroy();
      return;
    }
    open.set(source, count + 1);
    socket.once('close', () => {
      const left = (open.get(source) ?? 1) - 1;
      if (left > 0) open.set(source, left);
      else open.delete(source);
    });
  });
}

function sourceOf(text: string): string {
  const address = parseAddress(text.replace(/^::ffff:(?=[\d.]+$)/, '').replace(/%.*$/, ''));
  return address?.family === IPV6 ? `${address.words[0]}:${address.words[1]}` : text;
}
