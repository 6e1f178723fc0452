import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findNamed, noSuchName } from './unknown-name.ts';

test('a slip of the hand is put right, few names are listed, many are not', () => {
  const many = Array.from({ length: 20 }, (_, at) => `office-${at + 10}`);
  const texts: [string, string[], string][] = [
    ['pariss', ['paris', 'lyon'], 'there is no site pariss; did you mean paris?'],
    ['berlin', ['paris', 'lyon'], 'there is no site berlin; there is paris, lyon'],
    ['berlin', [], 'there is no site berlin'],
    ['berlin', many, 'there is no site berlin'],
    ['ofice-17', many, 'there is no site ofice-17; did you mean office-17?'],
  ];
  for (const [name, known, text] of texts) {
    const { message, code, kind } = noSuchName('site', name, known);
    assert.deepEqual([message, code, kind], [text, 'no_such_site', 'not_found']);
  }
});

test('the one of a name is found, or it is said that there is none', () => {
  const plugins = [{ name: 'firewall' }, { name: 'limiter' }];
  assert.equal(findNamed('plugin', 'limiter', plugins), plugins[1]);
  assert.throws(() => findNamed('plugin', 'limmiter', plugins), {
    code: 'no_such_plugin',
    message: 'there is no plugin limmiter; did you mean limiter?',
  });
});
