import { randomBytes } from 'node:crypto';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { UserError } from '../errors.ts';

/**
 * Writes a file so that a reader, or a run that is killed, never meets half of it: the bytes go to a hidden
 * file in the same folder, are flushed to disk, and that file is renamed over the target.
 *
 * @param file target path; its folder is created when missing
 * @param data bytes or text (UTF-8); an async iterable of byte chunks is streamed
 * @throws UserError naming the file when the folder cannot be created or the file cannot be written
 */
export async function writeFileAtomic(
  file: string,
  data: Uint8Array | string | AsyncIterable<Uint8Array>,
): Promise<void> {
  const folder = dirname(file);
  const temporary = join(folder, `.${basename(file)}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`);
  try {
    await mkdir(folder, { recursive: true });
    const handle = await open(temporary, 'wx');
    try {
      if (typeof data === 'string' || data instanceof Uint8Array) await handle.writeFile(data);
      else for await (const chunk of data) await handle.writeFile(chunk);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw new UserError(`cannot write ${file}: ${(error as Error).message}. Check that the folder exists and is writable.`);
  }
}
