import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { UserError } from '../../src/errors.ts';
import { PipelineCache, type PipelineKey } from '../../src/gpu/pipelines.ts';
import { shaderFile } from '../../src/gpu/shader_dump.ts';
import { errorOf } from '../support/errors.ts';
import { testGpu } from '../support/gpu.ts';

let folder = '';
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'mfp-clip-shaders-'));
});
test.after.each(() => rmSync(folder, { recursive: true, force: true }));

const filesOf = (from: string): string[] => readdirSync(from, { recursive: true }).map(String).filter((file) => file.endsWith('.wgsl')).map((file) => file.replaceAll('\\', '/'));

test('each pipeline leaves one file that says what it binds, and that compiles as it is', async () => {
  const { device } = await testGpu();
  const pipelines = new PipelineCache(device, folder);
  const key = { kernel: 'gemm/tiled', conditions: { bias: true, aligned_b: true, residual: false }, constants: { STEP: 8, GROUP_ROWS: 8 } };
  await Promise.all([pipelines.get(key), pipelines.get(key), pipelines.get({ kernel: 'elementwise/add' })]);
  assert.equal(filesOf(folder).sort(), ['elementwise/add.wgsl', 'gemm/tiled+aligned_b+bias+GROUP_ROWS=8+STEP=8.wgsl']);
  const text = readFileSync(join(folder, shaderFile(key)), 'utf8');
  const head = text.slice(0, text.indexOf('\n\n')).split('\n');
  assert.ok(head.every((line) => line.startsWith('// ')));
  for (const line of [
    '// gemm/tiled [aligned_b,bias] {GROUP_ROWS:8,STEP:8}',
    '// from kernels/gemm/tiled.wgsl, with the conditions aligned_b, bias',
    '// workgroup size: 16 x 8',
    '// override STEP = 8, set by the op',
    '// override GROUP_COLUMNS = 16',
    '// binding 1: a, f32, read',
  ]) {
    assert.ok(head.includes(line), `${line} is not in\n${head.join('\n')}`);
  }
  assert.ok(head.some((line) => /^\/\/ binding 0: uniform Params \{ m: u32, /.test(line)));
  assert.ok(head.some((line) => /^\/\/ binding \d: bias, f32, read$/.test(line)));
  device.pushErrorScope('validation');
  const info = await device.createShaderModule({ code: text }).getCompilationInfo();
  assert.equal(info.messages.filter(({ type }) => type === 'error').map(({ message }) => message), []);
  assert.is(await device.popErrorScope(), null);
});

test('a workgroup size is a number, also where the WGSL names a constant of its own', async () => {
  const { device } = await testGpu();
  const key = { kernel: 'attention/subgroup', conditions: { head_16: true } };
  // Where the adapter has no subgroups it does not compile; the file is there either way.
  await new PipelineCache(device, folder).get(key).catch(() => {});
  assert.match(readFileSync(join(folder, shaderFile(key)), 'utf8'), /^\/\/ workgroup size: 8$/m);
});

test('a size that is computed from others is a number, wherever they are defined', async () => {
  const { device } = await testGpu();
  const headOf = async (key: PipelineKey): Promise<string[]> => {
    await new PipelineCache(device, folder).get(key).catch(() => {});
    return readFileSync(join(folder, shaderFile(key)), 'utf8').split('\n\n')[0].split('\n');
  };
  // 8 × 8 threads.
  assert.ok((await headOf({ kernel: 'attention/tiled', conditions: { head_64: true, rows_64: true } })).includes('// workgroup size: 64'));
  const gemm = await headOf({ kernel: 'gemm/tiled', constants: { GROUP_ROWS: 4 } });
  const overrides = new Map(gemm.flatMap((line) => { const match = /^\/\/ override (\w+) = (\d+)/.exec(line); return match ? [[match[1], Number(match[2])] as const] : []; }));
  assert.is(overrides.get('GROUP_ROWS'), 4);
  assert.is(overrides.get('TILE_ROWS'), 4 * overrides.get('ROW_VECTORS')! * 4);
});

test('a pipeline that does not compile leaves its file, too', async () => {
  const { device } = await testGpu();
  const key = { kernel: 'normalization/layer_norm', constants: { TREADS: 3 } };
  await errorOf(() => new PipelineCache(device, folder).get(key));
  assert.ok(existsSync(join(folder, 'normalization', 'layer_norm+TREADS=3.wgsl')));
});

test('names stay short enough for any file system, and apart', () => {
  const many = (last: number) => ({ kernel: 'gemm/tiled', constants: Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`SOME_CONSTANT_${i}`, i === 19 ? last : 1])) });
  const [first, second] = [shaderFile(many(1)), shaderFile(many(2))];
  assert.ok(first.length < 220 && first.endsWith('.wgsl'));
  assert.is.not(first, second);
});

test('a folder that cannot be written is named', async () => {
  const { device } = await testGpu();
  writeFileSync(join(folder, 'occupied'), '');
  const error = await errorOf(() => new PipelineCache(device, join(folder, 'occupied')).get({ kernel: 'elementwise/add' }));
  assert.instance(error, UserError);
  assert.match(error.message, /cannot write .*occupied.*add\.wgsl/);
});

test.run();
