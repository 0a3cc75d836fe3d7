import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Tensor, bufferOf, clearTensors, copyOf, copyTensor, emptyTensor, freeTensor, readTensor, tensor, writeTensor } from '../../src/tensor/tensor.ts';
import { errorOf } from '../support/errors.ts';
import { testGpu } from '../support/gpu.ts';

for (const dtype of ['f32', 'f16', 'u32', 'u8'] as const) {
  test(`${dtype} values come back as they were written, in odd counts too`, async () => {
    const gpu = await testGpu();
    const written = tensor(gpu, [1, 2, 3, 250, 5], [5], dtype);
    assert.equal([...(await readTensor(gpu, written))], [1, 2, 3, 250, 5]);
    writeTensor(gpu, written, [9, 8, 7, 6, 5]);
    assert.equal([...(await readTensor(gpu, written))], [9, 8, 7, 6, 5]);
  });
}

test('too few or too many values are refused with the tensor\'s name', async () => {
  const gpu = await testGpu();
  const target = emptyTensor(gpu, [2, 3], 'f32', 'text projection');
  assert.match((await errorOf(() => writeTensor(gpu, target, [1, 2, 3]))).message, /text projection f32\[2, 3\] takes 6 values, got 3/);
});

test('a tensor that was freed has no memory, and freeing it again does nothing', async () => {
  const gpu = await testGpu();
  const gone = tensor(gpu, [1], [1], 'f32', 'logit scale');
  freeTensor(gpu, gone);
  freeTensor(gpu, gone);
  assert.match((await errorOf(() => bufferOf(gone))).message, /logit scale f32\[1\] has no memory/);
  const [a, b] = [emptyTensor(gpu, [1]), emptyTensor(gpu, [1])];
  assert.is.not(bufferOf(a), bufferOf(b));
});

test('copies are independent, and go to their place in a batch', async () => {
  const gpu = await testGpu();
  const source = tensor(gpu, [1, 2], [2]);
  const copy = copyOf(gpu, source, 'copy');
  writeTensor(gpu, source, [3, 4]);
  const batch = tensor(gpu, [0, 0, 0, 0, 0, 0], [3, 2]);
  copyTensor(gpu, copy, batch, 2);
  copyTensor(gpu, source, batch, 4);
  assert.equal([...(await readTensor(gpu, batch))], [0, 0, 1, 2, 3, 4]);
  clearTensors(gpu, [batch]);
  assert.equal([...(await readTensor(gpu, batch))], [0, 0, 0, 0, 0, 0]);
});

test('a copy to where WebGPU cannot copy is refused at once', async () => {
  const gpu = await testGpu();
  const source = tensor(gpu, [1, 2, 3], [3], 'f16');
  const batch = emptyTensor(gpu, [2, 3], 'f16', 'images');
  assert.match((await errorOf(() => copyTensor(gpu, source, batch, 3))).message, /to element 3 of images f16\[2, 3\]: .*multiples of 4 bytes/);
});

test('what would be lost behind an odd number of 16-bit elements is not written over', async () => {
  const gpu = await testGpu();
  const batch = tensor(gpu, [1, 2, 3, 4, 5, 6], [2, 3], 'f16', 'images');
  const first = new Tensor([3], 'f16', batch.storage);
  const source = tensor(gpu, [7, 8, 9], [3], 'f16');
  const lost = /3 elements of images f16\[\d(, 3)?\] from element 0 of its storage: .*the element after them would be lost/;
  for (const attempt of [() => copyTensor(gpu, source, batch), () => writeTensor(gpu, first, [7, 8, 9]), () => clearTensors(gpu, [first])]) assert.match((await errorOf(attempt)).message, lost);
  assert.equal([...(await readTensor(gpu, batch))], [1, 2, 3, 4, 5, 6]);
  // Where nothing follows, nothing is lost.
  copyTensor(gpu, source, emptyTensor(gpu, [3], 'f16'));
});

test.run();
