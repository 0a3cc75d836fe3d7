import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Folder of the project or of the installed package, the same seen from `src/gpu` and from the built `dist/gpu`. */
const projectFolder = fileURLToPath(new URL('../../', import.meta.url));

/**
 * Where `npm run setup` puts a driver when it may not install one for the whole machine. MFP_CLIP_DRIVER names another
 * folder: an installed package can use the driver of a checkout.
 */
export const unpackedDriverFolder = process.env.MFP_CLIP_DRIVER ?? join(projectFolder, '.driver', 'vulkan');

/** What lies in the driver folder beside the libraries: `driver.json`. All names are relative to the folder. */
export interface UnpackedDriver {
  /** Name and version for people: "lavapipe of Mesa 25.0.7-2~bpo12+1". */
  readonly name: string;
  /** Manifest of the driver, for VK_ADD_DRIVER_FILES. */
  readonly manifest: string;
  /** The Vulkan loader, where the machine had none. */
  readonly loader?: string;
  /** Libraries that the driver needs and the machine may lack, each after those that it needs itself. */
  readonly libraries: readonly string[];
}

/** Mesa's lavapipe runs under Dawn from this version on: older ones lack dynamic indexing of uniform arrays. */
export const oldestMesa = 24;

let prepared = false;

/**
 * Makes the environment fit for Dawn; has to run before Dawn is loaded. Outside Linux there is nothing to do: Metal and
 * Direct3D 12 are part of the system.
 *
 * A driver that `npm run setup` unpacked is offered beside the machine's own ones, and Dawn picks the best that works.
 * Whoever names drivers with VK_DRIVER_FILES or VK_ICD_FILENAMES gets exactly these.
 */
export function prepareDriver(): void {
  if (prepared || process.platform !== 'linux') return;
  prepared = true;
  if (!process.env.XDG_RUNTIME_DIR) {
    // Mesa asks for this folder, and complains on stderr where there is no login session to provide it.
    const folder = mkdtempSync(join(tmpdir(), 'mfp-clip-'));
    process.env.XDG_RUNTIME_DIR = folder;
    process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  }
  if (process.env.VK_DRIVER_FILES || process.env.VK_ICD_FILENAMES) return;
  const driver = readUnpackedDriver();
  if (!driver) return;
  if (driver.loader && !keepLoaded('libvulkan.so.1')) keepLoaded(join(unpackedDriverFolder, driver.loader));
  for (const library of driver.libraries) keepLoaded(join(unpackedDriverFolder, library));
  process.env.VK_ADD_DRIVER_FILES = [process.env.VK_ADD_DRIVER_FILES, join(unpackedDriverFolder, driver.manifest)].filter(Boolean).join(':');
}

/** What `npm run setup` unpacked under the project; undefined when it did not, or when the folder is damaged. */
export function readUnpackedDriver(): UnpackedDriver | undefined {
  try {
    return JSON.parse(readFileSync(join(unpackedDriverFolder, 'driver.json'), 'utf8')) as UnpackedDriver;
  } catch {
    return undefined;
  }
}

/**
 * Loads a shared library for good; false when it or a library that it needs is not found.
 *
 * Dawn looks for `libvulkan.so.1`, and a driver for the libraries that it needs, where the system keeps libraries, or
 * under LD_LIBRARY_PATH as it was when the process started. But a library that is loaded already is found by its name
 * wherever it came from. Node has one way to load a library, meant for its addons: it unloads what turns out not to be
 * one, unless RTLD_NODELETE forbids it, and then throws.
 */
export function keepLoaded(library: string): boolean {
  const RTLD_NODELETE = 0x1000;
  try {
    process.dlopen({ exports: {} }, library, constants.dlopen.RTLD_LAZY | RTLD_NODELETE);
    return true;
  } catch (error) {
    return (error as Error).message.startsWith('Module did not self-register');
  }
}

/** The fields of /etc/os-release: ID, ID_LIKE, VERSION_CODENAME, ... Empty where there is no such file. */
export function readOsRelease(): Readonly<Record<string, string>> {
  const file = ['/etc/os-release', '/usr/lib/os-release'].find((path) => existsSync(path));
  if (!file) return {};
  const fields = [...readFileSync(file, 'utf8').matchAll(/^([A-Z_]+)=(.*)$/gm)];
  return Object.fromEntries(fields.map(([, name, value]) => [name, value.trim().replace(/^(["'])(.*)\1$/, '$2')]));
}

const aptAdvice = (release: Readonly<Record<string, string>>): string => {
  const packages = 'sudo apt-get update && sudo apt-get install libvulkan1 mesa-vulkan-drivers';
  if (release.ID === 'debian' && release.VERSION_CODENAME === 'bookworm') {
    return (
      `Debian 12's own Mesa (22.3) is too old for Dawn; its backports suite has a newer one:\n` +
      `  echo 'deb http://deb.debian.org/debian bookworm-backports main' | sudo tee /etc/apt/sources.list.d/backports.list\n` +
      `  sudo apt-get update && sudo apt-get install -t bookworm-backports libvulkan1 mesa-vulkan-drivers`
    );
  }
  return `Install Mesa's Vulkan drivers, version ${oldestMesa} or newer (Debian 13, Ubuntu 24.04 and later have it):\n  ${packages}`;
};

const linuxAdvice = (release: Readonly<Record<string, string>>): string => {
  const family = [release.ID ?? '', ...(release.ID_LIKE ?? '').split(' ')];
  if (family.includes('debian') || family.includes('ubuntu')) return aptAdvice(release);
  if (family.includes('fedora') || family.includes('rhel')) return 'Install the Vulkan loader and Mesa\'s drivers:\n  sudo dnf install vulkan-loader mesa-vulkan-drivers';
  if (family.includes('arch')) return 'Install the Vulkan loader and Mesa\'s software driver:\n  sudo pacman -S vulkan-icd-loader vulkan-swrast';
  if (family.some((name) => name.includes('suse'))) return 'Install the Vulkan loader and Mesa\'s software driver:\n  sudo zypper install libvulkan1 libvulkan_lvp';
  if (family.includes('alpine')) return 'Dawn\'s library needs glibc, which Alpine does not have: use a Debian, Ubuntu or Fedora machine or container.';
  return `Install the Vulkan loader (libvulkan.so.1) and Mesa's Vulkan drivers with lavapipe, version ${oldestMesa} or newer, with your distribution's package manager.`;
};

/** What to install on this machine by hand so that an adapter answers. */
export function installAdvice(): string {
  const named = ['VK_DRIVER_FILES', 'VK_ICD_FILENAMES'].find((name) => process.env[name]);
  switch (process.platform) {
    case 'linux':
      if (named) return `${named} is set to ${process.env[named]}, so only the drivers there are tried. Unset it, or name a Vulkan driver that works.`;
      return `${linuxAdvice(readOsRelease())}\nA GPU needs its vendor's Vulkan driver instead, and access to /dev/dri (group "render" or "video").`;
    case 'darwin':
      return 'Dawn needs Metal: macOS 11 or later, and on a virtual machine one that passes the GPU through.';
    case 'win32':
      return 'Dawn needs Direct3D 12: Windows 10 or later with all updates, and the current driver of the GPU\'s vendor.';
    default:
      return `Dawn has no adapter for ${process.platform}: use Linux, macOS or Windows.`;
  }
}

/** What somebody on this machine has to do when no adapter answers: for error messages and `doctor`. */
export function adviceWithoutAdapter(): string {
  // The set-up is part of the repository, not of the package, and has work to do where there is apt.
  const canSetUp = process.platform === 'linux' && existsSync('/usr/bin/apt-get') && existsSync(join(projectFolder, 'tools', 'setup.ts'));
  return canSetUp && !process.env.VK_DRIVER_FILES && !process.env.VK_ICD_FILENAMES
    ? `Run \`npm run setup\` in ${projectFolder} (as root it installs a driver, otherwise it unpacks one there), or do it by hand:\n${installAdvice()}`
    : installAdvice();
}
