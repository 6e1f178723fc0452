/** What the kernel has is found out by reading, from any of the places that tell it. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { kernelLinkFacts, type ModulePaths } from './kernel-modules.ts';

function withPaths(check: (paths: ModulePaths) => void): void {
  const directory = mkdtempSync(join(tmpdir(), 'homeward-modules-'));
  try {
    const paths = {
      loaded: join(directory, 'loaded'),
      installed: join(directory, 'installed'),
      disabled: join(directory, 'disabled'),
    };
    mkdirSync(paths.loaded);
    mkdirSync(paths.installed);
    writeFileSync(paths.disabled, '0\n');
    check(paths);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function available(paths: ModulePaths): [gre: boolean, ip6gre: boolean] {
  const { gre, ip6gre } = kernelLinkFacts(paths);
  return [gre.available, ip6gre.available];
}

test('a kernel without modules has none', () => {
  withPaths((paths) => {
    assert.deepEqual(available(paths), [false, false]);
    assert.equal(kernelLinkFacts(paths).gre.why, 'this kernel has no GRE interfaces (module ip_gre)');
  });
});

test('a module that is loaded, or built in with parameters', () => {
  withPaths((paths) => {
    mkdirSync(join(paths.loaded, 'ip_gre'));
    assert.deepEqual(available(paths), [true, false]);
    assert.equal(kernelLinkFacts(paths).gre.why, 'the kernel has GRE interfaces (module ip_gre)');
  });
});

test('a module that is built in', () => {
  withPaths((paths) => {
    writeFileSync(
      join(paths.installed, 'modules.builtin'),
      'kernel/net/ipv4/gre.ko\nkernel/net/ipv6/ip6_gre.ko\n',
    );
    assert.deepEqual(available(paths), [false, true]);
  });
});

test('a module that is installed can be loaded, unless no module can', () => {
  withPaths((paths) => {
    writeFileSync(
      join(paths.installed, 'modules.dep'),
      'kernel/net/ipv4/ip_gre.ko.xz: kernel/net/ipv4/gre.ko.xz\nkernel/net/x.ko: kernel/net/ipv6/ip6_gre.ko\n',
    );
    assert.deepEqual(available(paths), [true, false]);
    writeFileSync(paths.disabled, '1\n');
    assert.deepEqual(available(paths), [false, false]);
    assert.equal(
      kernelLinkFacts(paths).gre.why,
      'module ip_gre is not loaded, and this kernel loads no more modules',
    );
  });
});

test('IPsec needs all of its modules', () => {
  withPaths((paths) => {
    const xfrm = () => kernelLinkFacts(paths).xfrm;
    assert.equal(xfrm().why, 'this kernel has no XFRM interfaces (module xfrm_interface)');
    for (const module of ['xfrm_interface', 'xfrm_user', 'esp4']) mkdirSync(join(paths.loaded, module));
    assert.deepEqual(xfrm(), { available: false, why: 'this kernel has no ESP over IPv6 (module esp6)' });
    mkdirSync(join(paths.loaded, 'esp6'));
    assert.equal(xfrm().why, 'this kernel has no firewall rules about ESP (module nft_xfrm)');
    mkdirSync(join(paths.loaded, 'nft_xfrm'));
    assert.deepEqual(xfrm(), {
      available: true,
      why: 'the kernel has XFRM interfaces (module xfrm_interface)',
    });
  });
});
