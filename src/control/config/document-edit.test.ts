/** Edits of the text: what changes, and above all what stays. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addTunnel, changeTunnel, enablePlugin, enableTunnel, removeTunnel } from './document-edit.ts';
import { parseConfig } from './load.ts';

const TEXT = `# the gateway of the north
version: 1      # the only one
sites:
  - name: paris
    prefixes: [10.0.1.0/24]           # as everywhere
    tunnels:
      # agreed with paris in March
      - name: paris-gre
        type: gre
        local: 192.0.2.1
        remote: 198.51.100.10
        key: 7                        # theirs
  - name: lyon
    tunnels:
      - { name: lyon-a, type: device, device: wg0 }   # the fast one
      - { name: lyon-b, type: device, device: wg1 }

# the way out
egress: []
`;

/** Lines that went and came. */
function changed(text: string, from = TEXT): { gone: string[]; come: string[] } {
  const [before, after] = [from.split('\n'), text.split('\n')];
  return {
    gone: before.filter((line) => !after.includes(line)),
    come: after.filter((line) => !before.includes(line)),
  };
}

function tunnels(text: string): string[] {
  return parseConfig(text, 'edited').sites.flatMap((site) =>
    site.tunnels.map(({ name, enabled }) => `${site.name}/${name}${enabled ? '' : ' off'}`),
  );
}

test('a tunnel is added behind the others of its site, and nothing else changes', () => {
  const text = addTunnel(TEXT, 'lyon', { name: 'lyon-c', type: 'device', device: 'wg2' });
  assert.deepEqual(changed(text), {
    gone: [],
    come: ['      - { name: lyon-c, type: device, device: wg2 }'],
  });
  assert.deepEqual(tunnels(text), ['paris/paris-gre', 'lyon/lyon-a', 'lyon/lyon-b', 'lyon/lyon-c']);
  assert.equal(removeTunnel(text, 'lyon-c', 'refuse'), TEXT);
});

test('a site that is not there is made with it', () => {
  const text = addTunnel(TEXT, 'nice', { name: 'nice-a', type: 'device', device: 'wg2' }, ['10.9.0.0/16']);
  assert.deepEqual(tunnels(text).at(-1), 'nice/nice-a');
  assert.deepEqual(changed(text).gone, []);
  const first = addTunnel('version: 1\nsites: []\n# end\n', 'nice', {
    name: 'nice-a',
    type: 'device',
    device: 'w',
  });
  assert.match(first, /^version: 1\nsites:\n {2}- name: nice\n(.*\n)*# end\n$/);
  assert.deepEqual(tunnels(first), ['nice/nice-a']);
});

test('a tunnel is changed, and its comment stays', () => {
  const text = changeTunnel(TEXT, 'paris-gre', { key: 8, mtu: 1400 });
  assert.deepEqual(changed(text).gone, ['        key: 7                        # theirs']);
  assert.deepEqual(changed(text).come, ['        key: 8 # theirs', '        mtu: 1400']);
  const without = changeTunnel(TEXT, 'paris-gre', { key: null });
  assert.deepEqual(changed(without), {
    gone: ['        key: 7                        # theirs'],
    come: [],
  });
});

test('a tunnel is disabled and enabled', () => {
  const disabled = enableTunnel(TEXT, 'lyon-b', false);
  assert.deepEqual(tunnels(disabled), ['paris/paris-gre', 'lyon/lyon-a', 'lyon/lyon-b off']);
  assert.deepEqual(changed(disabled).come, [
    '      - { name: lyon-b, type: device, device: wg1, enabled: false }',
  ]);
  const enabled = enableTunnel(disabled, 'lyon-b', true);
  assert.deepEqual(tunnels(enabled), ['paris/paris-gre', 'lyon/lyon-a', 'lyon/lyon-b']);
  assert.equal(enableTunnel(TEXT, 'lyon-b', true), TEXT);
});

test('a plugin is disabled and enabled', () => {
  const text = 'plugins:\n  - name: one   # the first\n    options: {}\n  - { name: two, enabled: true }\n';
  const disabled = enablePlugin(text, 'one', false);
  assert.equal(
    disabled,
    'plugins:\n  - name: one   # the first\n    options: {}\n    enabled: false\n  - { name: two, enabled: true }\n',
  );
  assert.equal(enablePlugin(disabled, 'one', true), disabled.replace('false', 'true'));
  assert.equal(enablePlugin(text, 'one', true), text);
  assert.match(enablePlugin(text, 'two', false), /\{ name: two, enabled: false \}/);
  assert.throws(() => enablePlugin(text, 'three', false), { code: 'no_such_plugin', message: /; there is / });
  const none = 'version: 1\n';
  assert.throws(() => enablePlugin(none, 'three', false), { message: /three stands in .*; write it there$/ });
  const shared = 'plugins: [ { name: one, options: &o { a: 1 } }, { name: two, options: *o } ]\n';
  assert.throws(() => enablePlugin(shared, 'one', false), { code: 'shared_by_alias' });
});

test('the last tunnel of a site takes the site along, or stays', () => {
  assert.throws(() => removeTunnel(TEXT, 'paris-gre', 'refuse'), { code: 'last_tunnel' });
  const text = removeTunnel(TEXT, 'paris-gre', 'remove_site');
  assert.deepEqual(tunnels(text), ['lyon/lyon-a', 'lyon/lyon-b']);
  assert.ok(text.includes('# the fast one') && text.includes('# the way out'));
});

test('what is not there or not alone is refused', () => {
  assert.throws(() => changeTunnel(TEXT, 'nobody', { mtu: 1400 }), { code: 'no_such_tunnel' });
  assert.throws(() => removeTunnel(TEXT, 'nobody', 'refuse'), { code: 'no_such_tunnel' });
  assert.throws(() => addTunnel(TEXT, 'lyon', { name: 'paris-gre' }), { code: 'tunnel_exists' });
  assert.throws(() => addTunnel(TEXT, 'lyon', { name: 'new' }, ['10.0.0.0/8']), { code: 'site_exists' });
  const shared = TEXT.replace('- { name: lyon-a', '- &a { name: lyon-a').replace(
    'egress: []',
    'plugins: [ { name: return-routing, options: { x: *a } } ]',
  );
  assert.throws(() => changeTunnel(shared, 'lyon-a', { mtu: 1400 }), { code: 'shared_by_alias' });
});
