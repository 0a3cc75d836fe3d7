import { copyFileSync, mkdirSync, readFileSync, readdirSync, realpathSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { UserError } from '../../src/errors.ts';
import { type UnpackedDriver, keepLoaded, unpackedDriverFolder } from '../../src/gpu/driver.ts';
import { type Apt, runProgram } from './apt.ts';

/** All files under a folder whose name is given or matches. */
function findFiles(folder: string, wanted: string | RegExp): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory() && (typeof wanted === 'string' ? entry.name === wanted : wanted.test(entry.name)))
    .map((entry) => join(entry.parentPath, entry.name));
}

function findFile(folder: string, wanted: string | RegExp): string {
  const [file] = findFiles(folder, wanted);
  if (!file) throw new UserError(`the downloaded packages hold no ${wanted}`);
  return file;
}

/** The libraries under `tree` that `library` needs, directly or not, in an order in which each can be loaded. */
function neededLibraries(library: string, tree: string): string[] {
  const folders = [...new Set(findFiles(tree, /\.so(\.|$)/).map((file) => dirname(file)))];
  const listing = runProgram('ldd', [library], { environment: { LD_LIBRARY_PATH: folders.join(':') } });
  const missing = [...listing.matchAll(/^\s*(\S+) => not found/gm)].map((match) => match[1]);
  if (missing.length) throw new UserError(`${basename(library)} needs libraries that neither the machine nor the downloaded packages have: ${missing.join(', ')}`);
  let waiting = [...listing.matchAll(/=> (\/\S+) \(/g)].map((match) => match[1]).filter((file) => file.startsWith(`${tree}/`));
  const ordered: string[] = [];
  while (waiting.length) {
    const loaded = waiting.filter((file) => keepLoaded(file));
    if (!loaded.length) throw new UserError(`these libraries cannot be loaded on this machine: ${waiting.map((file) => basename(file)).join(', ')}`);
    ordered.push(...loaded);
    waiting = waiting.filter((file) => !loaded.includes(file));
  }
  return ordered;
}

/**
 * Puts a driver where the run-time looks for it, in one step: a reader sees all of it or nothing.
 *
 * @param manifest the driver's own manifest among the unpacked files; its library is looked for there too
 * @param libraries gives what the driver needs, in the order of loading
 */
function place(name: string, tree: string, manifest: string, libraries: (driver: string) => string[], work: string): void {
  const content = JSON.parse(readFileSync(manifest, 'utf8')) as { ICD: { library_path: string } };
  const driver = findFile(tree, basename(content.ICD.library_path));
  const loader = findFiles(tree, 'libvulkan.so.1')[0];
  const needed = libraries(driver);
  const folder = join(work, 'vulkan');
  mkdirSync(folder);
  for (const file of [driver, ...(loader ? [loader] : []), ...needed]) copyFileSync(realpathSync(file), join(folder, basename(file)));
  // The loader takes a path with a slash as relative to the manifest, so the project can be moved.
  content.ICD.library_path = `./${basename(driver)}`;
  writeFileSync(join(folder, 'manifest.json'), `${JSON.stringify(content, null, 2)}\n`);
  const description: UnpackedDriver = {
    name,
    manifest: 'manifest.json',
    ...(loader ? { loader: basename(loader) } : {}),
    libraries: needed.map((file) => basename(file)),
  };
  writeFileSync(join(folder, 'driver.json'), `${JSON.stringify(description, null, 2)}\n`);
  rmSync(unpackedDriverFolder, { recursive: true, force: true });
  renameSync(folder, unpackedDriverFolder);
}

function extract(archives: readonly string[], tree: string): string {
  mkdirSync(tree);
  for (const archive of archives) runProgram('dpkg-deb', ['-x', archive, tree]);
  return tree;
}

/** Unpacks Mesa's lavapipe, with all libraries that it needs and the machine lacks, under the project. */
export function unpackLavapipe(apt: Apt, mesa: { readonly version: string; readonly suite?: string }, work: string): void {
  const tree = extract(apt.download(['mesa-vulkan-drivers', 'libvulkan1'], mesa.suite), join(work, 'lavapipe'));
  place(`lavapipe of Mesa ${mesa.version}`, tree, findFile(tree, /^lvp_icd.*\.json$/), (driver) => neededLibraries(driver, tree), work);
}

/** Unpacks SwiftShader and its Vulkan loader out of Debian's Chromium under the project: they need nothing but libc. */
export function unpackSwiftShader(apt: Apt, work: string): void {
  const archive = apt.downloadAlone('chromium-common', work);
  const tree = extract([archive], join(work, 'swiftshader'));
  const version = basename(archive).split('_')[1];
  place(`SwiftShader of Chromium ${version}`, tree, findFile(tree, 'vk_swiftshader_icd.json'), () => [], work);
}
