import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { UserError } from '../../src/errors.ts';
import { conditionList, kernelSources, linkKernel } from '../../src/gpu/kernels.ts';
import { PipelineCache, pipelineName } from '../../src/gpu/pipelines.ts';
import { errorOf } from '../support/errors.ts';
import { testGpu } from '../support/gpu.ts';

test('linking resolves imports and reads what the kernel binds', async () => {
  const kernel = await linkKernel('movement/transpose', {});
  assert.not.match(kernel.code, /^\s*(import|@if)/m);
  assert.equal(kernel.params.map(({ type }) => type), kernel.params.map(() => 'u32'));
  assert.equal(
    kernel.bindings.map(({ name, binding, access }) => ({ name, binding, access })),
    [
      { name: 'input', binding: 1, access: 'read' },
      { name: 'output', binding: 2, access: 'read_write' },
    ],
  );
});

test('a condition changes the element type that the tensors must have', async () => {
  const [single, half] = await Promise.all([linkKernel('elementwise/add', {}), linkKernel('elementwise/add', { f16: true })]);
  assert.ok(single.bindings.every(({ element }) => element === 'f32'));
  assert.ok(half.bindings.every(({ element }) => element === 'f16'));
  assert.not.match(single.code, /enable f16/);
  assert.match(half.code, /enable f16/);
});

test('the same kernel under the same conditions is linked once', async () => {
  assert.is(linkKernel('elementwise/add', { f16: false }), linkKernel('elementwise/add', {}));
  assert.is.not(linkKernel('elementwise/add', { f16: true }), linkKernel('elementwise/add', {}));
});

test('conditions that are off are not named, the others in a fixed order', () => {
  assert.equal(conditionList({ z: true, f16: true, a: false }), ['f16', 'z']);
  assert.is(pipelineName({ kernel: 'gemm/tiled', conditions: { f16: true, bias: true, x: false }, constants: { ROWS: 64, COLUMNS: 32 } }), 'gemm/tiled [bias,f16] {COLUMNS:32,ROWS:64}');
});

test('a kernel that is not there is named with its file', async () => {
  assert.match((await errorOf(() => linkKernel('gemm/imaginary', {}))).message, /gemm\/imaginary: there is no file kernels\/gemm\/imaginary\.wgsl/);
});

test('a condition that no WGSL file has is named', async () => {
  assert.match((await errorOf(() => linkKernel('elementwise/add', { f61: true }))).message, /elementwise\/add: no WGSL file has the condition @if\(f61\)/);
});

test('every entry point in kernels/ links in f32 and declares Params and bindings in the readable form', async () => {
  const entries = Object.entries(kernelSources()).filter(([, text]) => /@compute\b/.test(text));
  assert.ok(entries.length >= 8);
  for (const [path] of entries) {
    const kernel = await linkKernel(path.replace(/\.wgsl$/, ''), {});
    assert.ok(kernel.bindings.some(({ access }) => access === 'read_write'), `${path} writes nothing`);
    assert.is(new Set(kernel.bindings.map(({ binding }) => binding)).size, kernel.bindings.length, path);
    assert.ok(!kernel.bindings.some(({ binding }) => binding === 0), `${path}: binding 0 is for Params`);
  }
});

test('pipelines are compiled once, side by side', async () => {
  const { pipelines } = await testGpu();
  const key = { kernel: 'elementwise/add' };
  const [first, second, other] = await Promise.all([pipelines.get(key), pipelines.get({ ...key }), pipelines.get({ kernel: 'movement/slice' })]);
  assert.is(first, second);
  assert.is.not(first, other);
  assert.ok((await pipelines.all()).has('movement/slice'));
});

test('a kernel that Dawn refuses is named with the compiler\'s message', async () => {
  const { pipelines } = await testGpu();
  // A module without an entry point, and an override that the kernel does not have.
  assert.match((await errorOf(() => pipelines.get({ kernel: 'common/element' }))).message, /kernel common\/element does not compile: .*main/s);
  const error = await errorOf(() => pipelines.get({ kernel: 'normalization/layer_norm', constants: { TREADS: 3 } }));
  assert.match(error.message, /kernel normalization\/layer_norm \{TREADS:3\} does not compile: .*TREADS/s);
});

test('a 16-bit kernel on an adapter without 16-bit numbers says what to change', async () => {
  // Every adapter at hand has them, so a device without the feature is acted; it is asked for nothing else.
  const pipelines = new PipelineCache({ features: new Set<string>() } as unknown as GPUDevice);
  const error = await errorOf(() => pipelines.get({ kernel: 'elementwise/add', conditions: { f16: true } }));
  assert.instance(error, UserError);
  assert.match(error.message, /^elementwise\/add \[f16\] works on 16-bit numbers.*--precision f32/);
});

// Dawn 0.6.2 does not set such a variable to zero again in the next round: on an H100 the matrix units' kernels summed over rounds.
// An array whose elements are all written before they are read does not care.
test('no variable in a loop counts on being zero in every round', () => {
  let loops = 0;
  for (const [name, text] of Object.entries(kernelSources())) {
    const blocks: ('loop' | 'other')[] = [];
    let statement = '';
    for (const line of text.replace(/\/\/.*/g, '').split('\n')) {
      const variable = /^\s*var (\w+): ([^=;]+);/.exec(line);
      if (variable && blocks.includes('loop')) assert.match(variable[2], /^array</, `${name}: give ${variable[1]} a value where it is declared`);
      for (const letter of line) {
        if (letter === '{') {
          const isLoop = /\b(for|while|loop)\b[^{}]*$/.test(statement);
          if (isLoop) loops++;
          blocks.push(isLoop ? 'loop' : 'other');
        }
        if (letter === '}') blocks.pop();
        // The head of a for loop has semicolons of its own.
        statement = letter === '{' || letter === '}' || (letter === ';' && !/\bfor\b/.test(statement)) ? '' : statement + letter;
      }
    }
    assert.is(blocks.length, 0, name);
  }
  assert.ok(loops > 100, `${loops} loops`);
});

test.run();
