/**
 * The uplink's socket filter with what a stock kernel gives a socket for it (`net.core.optmem_max`). Runs in the guest of
 * `scripts/lab`.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { classify } from '../../src/control/host/classifier.ts';
import { socketFilter } from '../../src/control/host/socket-filter.ts';
import { NativeIo } from '../../src/device/native-io.ts';
import { UPLINK } from '../fixtures/classifier-cases.ts';
import { inOwnNamespace } from '../support/own-namespace.ts';

/** Debian 12's, up to Linux 6.6. */
const DEFAULT_BYTES = 20_480;
/** Of GRE tunnels: what docs/configuration.md promises. */
const TUNNELS = 100;

/** Read in the namespace that has the setting: older kernels show it in the first one only. */
const LIMIT = 'HOMEWARD_TEST_OPTMEM_MAX';
process.env[LIMIT] ??= readFileSync('/proc/sys/net/core/optmem_max', 'utf8').trim();

if (inOwnNamespace(import.meta.url)) {
  const filterOf = (tunnels: number) =>
    socketFilter(
      classify({
        ...UPLINK,
        gre: Array.from({ length: tunnels }, (_, at) => ({ local: '192.0.2.1', remote: `198.51.100.${at}` })),
      })!,
    );
  /** Whether the kernel takes it. */
  const attaches = (tunnels: number): boolean => {
    const io = new NativeIo();
    try {
      io.addPacket(0, 'up0', { kind: 'ethernet', filter: filterOf(tunnels) });
      return true;
    } catch (error) {
      assert.match(String(error), /net\.core\.optmem_max/);
      return false;
    } finally {
      io.close();
    }
  };

  test('an uplink with a hundred GRE tunnels needs no setting of the host', () => {
    execFileSync('ip', ['link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'up1']);
    execFileSync('ip', ['link', 'set', 'up0', 'up']);
    const limit = Number(process.env[LIMIT]);
    assert.equal(limit, DEFAULT_BYTES);
    assert.ok(attaches(1));
    assert.ok(attaches(TUNNELS));
  });
}
