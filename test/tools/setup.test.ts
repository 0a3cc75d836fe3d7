import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { majorVersion } from '../../tools/setup/apt.ts';
import { backportsSource, parseDeb822Sources, parseOneLineSources, readSources } from '../../tools/setup/sources.ts';

const plain = (text: string | undefined): string[] => (text ?? '').split('\n').filter((line) => line && !line.startsWith('#'));

test('one-line sources are read with their options', () => {
  const sources = parseOneLineSources(`
# deb http://old.example/debian bookworm main
deb http://deb.example/debian bookworm main contrib # the usual
  deb-src http://deb.example/debian bookworm main
deb [ arch=amd64,i386 signed-by=/usr/share/keyrings/a.gpg check-valid-until=no ] https://mirror.example/debian/ bookworm-updates main
deb [arch+=arm64] http://flat.example/ ./
`);
  assert.equal(
    sources.map((source) => Object.fromEntries(source)),
    [
      { types: 'deb', uris: 'http://deb.example/debian', suites: 'bookworm', components: 'main contrib' },
      { types: 'deb-src', uris: 'http://deb.example/debian', suites: 'bookworm', components: 'main' },
      {
        types: 'deb',
        uris: 'https://mirror.example/debian/',
        suites: 'bookworm-updates',
        components: 'main',
        architectures: 'amd64 i386',
        'signed-by': '/usr/share/keyrings/a.gpg',
        'check-valid-until': 'no',
      },
      { types: 'deb', uris: 'http://flat.example/', suites: './', components: '', 'architectures-add': 'arm64' },
    ],
  );
});

test('deb822 sources are read stanza by stanza, keys in the file included', () => {
  const sources = parseDeb822Sources(`# Debian
Types: deb deb-src
URIs: http://deb.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF

# comment

types: deb
uris: http://security.example/debian
suites: bookworm-security
`);
  assert.is(sources.length, 2);
  assert.is(sources[0].get('signed-by'), '\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF');
  assert.is(sources[1].get('suites'), 'bookworm-security');
});

test('the backports suite comes from the same mirror with the same key, whatever the format', () => {
  const fromLine = backportsSource(parseOneLineSources('deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main non-free'), 'bookworm');
  assert.equal(plain(fromLine), ['Types: deb', 'URIs: http://mirror.example/debian', 'Suites: bookworm-backports', 'Components: main', 'Architectures: amd64', 'Signed-By: /k.gpg']);
  const fromStanza = backportsSource(parseDeb822Sources('Types: deb deb-src\nURIs: mirror+file:/etc/apt/mirrors.list\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By:\n KEY\n'), 'bookworm');
  assert.equal(plain(fromStanza), ['Types: deb', 'URIs: mirror+file:/etc/apt/mirrors.list', 'Suites: bookworm-backports', 'Components: main', 'Signed-By: ', ' KEY']);
  // What is written can be read again.
  assert.is(parseDeb822Sources(fromStanza!)[0].get('suites'), 'bookworm-backports');
});

test('no backports suite is made up from sources of something else', () => {
  const others = [
    'deb-src http://deb.example/debian bookworm main',
    'deb http://deb.example/debian trixie main',
    'deb http://deb.example/debian bookworm contrib',
    'deb http://security.example/debian-security bookworm-security main',
  ];
  for (const line of others) assert.is(backportsSource(parseOneLineSources(line), 'bookworm'), undefined, line);
  const disabled = 'Enabled: no\nTypes: deb\nURIs: http://deb.example/debian\nSuites: bookworm\nComponents: main\n';
  assert.is(backportsSource(parseDeb822Sources(disabled), 'bookworm'), undefined);
});

test('all sources of a machine are found', () => {
  const folder = mkdtempSync(join(tmpdir(), 'mfp-clip-apt-'));
  try {
    assert.equal(readSources(folder), []);
    writeFileSync(join(folder, 'sources.list'), 'deb http://a.example/ bookworm main\n');
    const parts = join(folder, 'sources.list.d');
    mkdirSync(parts);
    writeFileSync(join(parts, 'b.list'), 'deb http://b.example/ bookworm main\n');
    writeFileSync(join(parts, 'c.sources'), 'Types: deb\nURIs: http://c.example/\nSuites: bookworm\nComponents: main\n');
    writeFileSync(join(parts, 'd.list.disabled'), 'deb http://d.example/ bookworm main\n');
    assert.equal(readSources(folder).map((source) => source.get('uris')), ['http://a.example/', 'http://b.example/', 'http://c.example/']);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('Debian version texts give Mesa\'s major version', () => {
  assert.equal(['22.3.6-1+deb12u2', '25.0.7-2~bpo12+1', '1:24.2.8-1ubuntu1~24.04.1'].map(majorVersion), [22, 25, 24]);
});

test.run();
