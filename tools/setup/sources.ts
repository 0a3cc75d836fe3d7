import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** One package source of apt: fields by lower-case deb822 name ("uris", "suites", "signed-by"), values as written. */
export type AptSource = ReadonlyMap<string, string>;

/** Options of one-line sources whose deb822 field has another name. */
const optionFields: Readonly<Record<string, string>> = { arch: 'architectures', lang: 'languages', target: 'targets' };

/** Reads the one-line format: `deb [signed-by=/a.gpg arch=amd64] http://deb.debian.org/debian bookworm main`. */
export function parseOneLineSources(text: string): AptSource[] {
  const sources: AptSource[] = [];
  for (const line of text.split('\n')) {
    const match = /^\s*(deb|deb-src)\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)((?:\s+[^#\s]+)*)\s*(?:#.*)?$/.exec(line);
    if (!match) continue;
    const [, type, options = '', uri, suite, components] = match;
    const source = new Map([
      ['types', type],
      ['uris', uri],
      ['suites', suite],
      ['components', components.trim().replace(/\s+/g, ' ')],
    ]);
    for (const [, name, change, value] of options.matchAll(/([\w-]+?)([+-]?)=("[^"]*"|\S+)/g)) {
      const field = (optionFields[name] ?? name) + { '+': '-add', '-': '-remove', '': '' }[change]!;
      source.set(field.toLowerCase(), value.replace(/^"|"$/g, '').replaceAll(',', ' '));
    }
    sources.push(source);
  }
  return sources;
}

/** Reads the deb822 format: stanzas of `Field: value`, continued on lines that begin with a space. */
export function parseDeb822Sources(text: string): AptSource[] {
  return text
    .split(/\n\s*\n/)
    .map((stanza) => {
      const source = new Map<string, string>();
      let field: string | undefined;
      for (const line of stanza.split('\n')) {
        if (line.startsWith('#')) continue;
        const match = /^([\w-]+)\s*:\s*(.*)$/.exec(line);
        if (match) source.set((field = match[1].toLowerCase()), match[2].trimEnd());
        else if (field && /^\s/.test(line)) source.set(field, `${source.get(field)}\n${line.trimEnd()}`);
      }
      return source;
    })
    .filter((source) => source.has('uris') && source.has('suites'));
}

/** The machine's package sources: `sources.list` and all files of `sources.list.d` that can be read. */
export function readSources(folder = '/etc/apt'): AptSource[] {
  const sources: AptSource[] = [];
  const read = (file: string, parse: (text: string) => AptSource[]): void => {
    try {
      sources.push(...parse(readFileSync(file, 'utf8')));
    } catch (error) {
      // Sources with a password in them may be closed to everyone but root.
      if ((error as NodeJS.ErrnoException).code !== 'EACCES') throw error;
    }
  };
  const list = join(folder, 'sources.list');
  if (existsSync(list)) read(list, parseOneLineSources);
  const parts = join(folder, 'sources.list.d');
  if (existsSync(parts)) {
    for (const name of readdirSync(parts).sort()) {
      if (name.endsWith('.list')) read(join(parts, name), parseOneLineSources);
      else if (name.endsWith('.sources')) read(join(parts, name), parseDeb822Sources);
    }
  }
  return sources;
}

const words = (value: string | undefined): string[] => (value ?? '').split(/\s+/).filter(Boolean);

/**
 * The backports suite of a release, from the same mirror and with the same key as the release itself.
 *
 * @param codename the release: "bookworm"
 * @returns a deb822 source, or undefined when no source of the release is found
 */
export function backportsSource(sources: readonly AptSource[], codename: string): string | undefined {
  const own = sources.find(
    (source) =>
      words(source.get('types')).includes('deb') &&
      words(source.get('suites')).includes(codename) &&
      words(source.get('components')).includes('main') &&
      !/^(no|false|off|0)$/i.test(source.get('enabled') ?? 'yes'),
  );
  if (!own) return undefined;
  const fields = new Map([...own, ['types', 'deb'], ['suites', `${codename}-backports`], ['components', 'main']]);
  return [
    '# Written by `npm run setup` of mfp-clip, for Mesa\'s Vulkan drivers. To undo: delete this file and run apt-get update.',
    ...[...fields].map(([name, value]) => `${name.replace(/^uris$|(^|-)[a-z]/g, (letter) => letter.toUpperCase()).replace('URIS', 'URIs')}: ${value}`),
    '',
  ].join('\n');
}
