import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../../src/errors.ts';
import { oldestMesa } from '../../src/gpu/driver.ts';

/** One version of a package that apt could fetch. */
export interface AptVersion {
  readonly version: string;
  /** "bookworm-backports". */
  readonly suite: string;
}

/** Major version of a Debian version text: 25 for "1:25.0.7-2~bpo12+1". */
export function majorVersion(version: string): number {
  return Number.parseInt(version.replace(/^\d+:/, ''), 10);
}

/** Runs a program to its end and returns its output; throws with all that it printed when it fails. */
export function runProgram(program: string, options: readonly string[], settings: { readonly cwd?: string; readonly environment?: Record<string, string> } = {}): string {
  const result = spawnSync(program, options, {
    cwd: settings.cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 1 << 28,
    env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive', ...settings.environment },
  });
  if (result.error) throw new UserError(`cannot run ${program}: ${result.error.message}`);
  if (result.status !== 0) throw new UserError(`${[program, ...options].join(' ')} failed:\n${result.stdout}${result.stderr}`.trimEnd());
  return result.stdout;
}

/**
 * Debian's package manager, for the whole machine as root, or for one folder without being root: package lists, sources
 * and downloads then lie in that folder, while the machine's own list of installed packages is read.
 */
export class Apt {
  /** Folder for files of our own that name sources. */
  readonly sourcesFolder: string;
  readonly #options: readonly string[];
  readonly #archives: string;
  #updateProblem = '';

  /** @param folder where everything is kept, for use without root */
  constructor(folder?: string) {
    if (folder === undefined) {
      this.sourcesFolder = '/etc/apt/sources.list.d';
      this.#options = ['-o', 'DPkg::Lock::Timeout=300'];
      this.#archives = '/var/cache/apt/archives';
      return;
    }
    this.sourcesFolder = join(folder, 'sources');
    this.#archives = join(folder, 'cache', 'archives');
    mkdirSync(join(folder, 'state', 'lists', 'partial'), { recursive: true });
    mkdirSync(join(this.#archives, 'partial'), { recursive: true });
    mkdirSync(this.sourcesFolder);
    const parts = '/etc/apt/sources.list.d';
    for (const name of existsSync(parts) ? readdirSync(parts) : []) {
      if (!/\.(list|sources)$/.test(name)) continue;
      try {
        copyFileSync(join(parts, name), join(this.sourcesFolder, name));
      } catch {
        // Closed to everyone but root: the other sources have to do.
      }
    }
    const configuration = join(folder, 'apt.conf');
    writeFileSync(
      configuration,
      [
        // The machine's own hooks would touch what belongs to root.
        '#clear APT::Update::Pre-Invoke;',
        '#clear APT::Update::Post-Invoke;',
        '#clear APT::Update::Post-Invoke-Success;',
        '#clear DPkg::Post-Invoke;',
        `Dir::State "${join(folder, 'state')}";`,
        'Dir::State::status "/var/lib/dpkg/status";',
        `Dir::Cache "${join(folder, 'cache')}";`,
        `Dir::Etc::SourceParts "${this.sourcesFolder}";`,
        'Debug::NoLocking "true";',
        'APT::Sandbox::User "root";',
        '',
      ].join('\n'),
    );
    this.#options = ['-c', configuration];
  }

  #run(program: string, options: readonly string[], cwd?: string): string {
    return runProgram(program, [...this.#options, ...options], { cwd });
  }

  /** Fetches the package lists. One broken source does not stop the others: what counts is what is found afterwards. */
  update(): void {
    try {
      this.#run('apt-get', ['update', '-o', 'Acquire::Retries=2', '-o', 'APT::Update::Error-Mode=any']);
      this.#updateProblem = '';
    } catch (error) {
      const lines = (error as Error).message.split('\n').filter((line) => line.startsWith('E:'));
      this.#updateProblem = lines.slice(0, 4).join('\n') || (error as Error).message;
    }
  }

  /** What apt-get said when the last `update` failed; empty when it did not. */
  get updateProblem(): string {
    return this.#updateProblem;
  }

  /** Versions of a package in the lists, newest first. */
  versions(name: string): AptVersion[] {
    return this.#run('apt-cache', ['madison', name])
      .split('\n')
      .map((line) => line.split('|').map((part) => part.trim()))
      .filter((parts) => parts.length === 3 && parts[2].endsWith(' Packages'))
      .map(([, version, source]) => ({ version, suite: source.split(/\s+/)[1].split('/')[0] }));
  }

  /** The version that a plain install would take. */
  candidate(name: string): string | undefined {
    const version = /^\s*Candidate:\s*(\S+)/m.exec(this.#run('apt-cache', ['policy', name]))?.[1];
    return version === '(none)' ? undefined : version;
  }

  /** Installs packages for the whole machine, taking them from `suite` where it is given. */
  install(names: readonly string[], suite?: string): void {
    this.#run('apt-get', ['install', '-y', '--no-install-recommends', ...(suite ? ['-t', suite] : []), ...names]);
  }

  /** Downloads packages and everything that they need beyond what is installed; returns the files. */
  download(names: readonly string[], suite?: string): string[] {
    this.#run('apt-get', ['install', '-y', '--download-only', '--no-install-recommends', ...(suite ? ['-t', suite] : []), ...names]);
    return readdirSync(this.#archives).filter((name) => name.endsWith('.deb')).map((name) => join(this.#archives, name));
  }

  /** Downloads one package alone into a folder; returns the file. */
  downloadAlone(name: string, folder: string): string {
    this.#run('apt-get', ['download', name], folder);
    return join(folder, readdirSync(folder).find((file) => file.endsWith('.deb'))!);
  }
}

/** A Mesa that Dawn accepts: the plain candidate if it is new enough, else the newest version of another suite. */
export function usableMesa(apt: Apt): { version: string; suite?: string } | undefined {
  const candidate = apt.candidate('mesa-vulkan-drivers');
  if (candidate !== undefined && majorVersion(candidate) >= oldestMesa) return { version: candidate };
  return apt.versions('mesa-vulkan-drivers').find(({ version }) => majorVersion(version) >= oldestMesa);
}

/** Whether packages of Debian's kind can be fetched and unpacked here. */
export function hasApt(): boolean {
  return ['/usr/bin/apt-get', '/usr/bin/dpkg-deb'].every((file) => existsSync(file));
}
