import { createHash } from 'node:crypto';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const test = suite('weights');
const folder = fileURLToPath(new URL('../weights/', import.meta.url));
const sums = new Map(readFileSync(join(folder, 'SHA256SUMS'), 'utf8').trim().split('\n').map((line) => [line.slice(66), line.slice(0, 64)] as const));

/** Every file below a folder. */
function filesIn(root: string): string[] {
  return readdirSync(root, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? filesIn(join(root, entry.name)) : [join(root, entry.name)]));
}

test('the shipped files are those that SHA256SUMS names (sha256sum -c)', () => {
  const files = filesIn(folder).map((file) => relative(folder, file).split(sep).join('/'));
  assert.equal(files.filter((file) => file !== 'README.md' && file !== 'SHA256SUMS').sort(), [...sums.keys()].sort());
  for (const [file, sum] of sums) assert.is(createHash('sha256').update(readFileSync(join(folder, file))).digest('hex'), sum, file);
});

test('they are a few megabytes, and say how they were made', () => {
  assert.ok(filesIn(folder).reduce((total, file) => total + statSync(file).size, 0) < 8e6);
  for (const file of ['clip/model.safetensors', 'cnn/model.safetensors', 'mfp.safetensors']) {
    const bytes = readFileSync(join(folder, file));
    const header = JSON.parse(bytes.toString('utf8', 8, 8 + Number(bytes.readBigUInt64LE(0)))) as { __metadata__: Record<string, string> };
    // The updates, and what they began with.
    const made = header.__metadata__.training ? (JSON.parse(header.__metadata__.training) as { training: { seed: number } }).training.seed : header.__metadata__.seed;
    assert.ok(Number(header.__metadata__.steps ?? header.__metadata__.step) > 0, file);
    assert.ok(Number.isInteger(Number(made)), file);
  }
});

test.run();
