import { readdir, realpath, stat } from 'node:fs/promises';
import { isAbsolute, join, sep } from 'node:path';
import { glob, isDynamicPattern } from 'tinyglobby';
import { UserError } from '../errors.ts';
import { imageName, otherPhotos } from './image.ts';

/** The photos among files: PNG, JPEG, and formats that are not read, so that who reads them hears of it. Files that are named one by one may be called anything. */
function photosOf(files: readonly string[]): string[] {
  const others = otherPhotos(files);
  return files.filter((file) => imageName.test(file) || others.has(file));
}

/**
 * The image files that a person means by a list of files, folders (searched through, all levels, for .png, .jpg and
 * .jpeg in any case) and glob patterns. Photos in other formats that folders and patterns hold come, too: their content is an error to
 * who reads them. Hidden files are left out of folders. Each file comes once, in the order of the list, sorted by name within a folder
 * or a pattern. Links are followed, circles of links too.
 *
 * @throws UserError naming each item that matches nothing
 */
export async function listImages(patterns: readonly string[]): Promise<string[]> {
  const files: string[] = [];
  const problems: string[] = [];
  for (const pattern of patterns) {
    // A file may have glob characters in its name: what exists is meant literally.
    const status = await stat(pattern).catch(() => undefined);
    if (status?.isDirectory()) {
      const found = photosOf(await filesBelow(pattern, new Set()));
      if (found.length === 0) problems.push(`${pattern} has no PNG or JPEG files`);
      files.push(...found);
    } else if (status) {
      files.push(pattern);
    } else if (isDynamicPattern(pattern)) {
      const found = photosOf(await globFiles(pattern));
      if (found.length === 0) problems.push(`no PNG or JPEG file matches ${pattern}`);
      files.push(...found.sort());
    } else {
      problems.push(`there is no file or folder ${pattern}`);
    }
  }
  if (problems.length > 0) throw new UserError(`${problems.join('; ')}.`);
  if (files.length === 0) throw new UserError('no images were named: give files, folders or patterns.');

  const seen = new Set<string>();
  const unique: string[] = [];
  for (const file of files) {
    const real = await realpath(file);
    if (!seen.has(real)) unique.push(file);
    seen.add(real);
  }
  return unique;
}

async function globFiles(pattern: string): Promise<string[]> {
  try {
    // On Windows people write the folders of a pattern with backslashes.
    return await glob(sep === '\\' ? pattern.replaceAll('\\', '/') : pattern, { absolute: isAbsolute(pattern), caseSensitiveMatch: sep === '/', expandDirectories: false, onlyFiles: true });
  } catch (error) {
    throw new UserError(`cannot search for ${pattern}: ${(error as Error).message}.`);
  }
}

/** The files in a folder and all folders below it, sorted, without hidden ones. `visited` holds the real paths on the way here. */
async function filesBelow(folder: string, visited: Set<string>): Promise<string[]> {
  const real = await realpath(folder);
  if (visited.has(real)) return [];
  visited.add(real);
  const entries = await readdir(folder).catch((error: Error) => {
    throw new UserError(`cannot read the folder ${folder}: ${error.message}.`);
  });
  const files: string[] = [];
  for (const name of entries.sort()) {
    if (name.startsWith('.')) continue;
    const path = join(folder, name);
    // A link that leads nowhere is not an image.
    const status = await stat(path).catch(() => undefined);
    if (status?.isDirectory()) files.push(...(await filesBelow(path, visited)));
    else if (status?.isFile()) files.push(path);
  }
  return files;
}
