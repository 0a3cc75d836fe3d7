import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decode, encode, fromFloat16Bits, toFloat16Bits } from '../../src/tensor/dtype.ts';

test('every f16 bit pattern survives the way to a number and back', () => {
  for (let bits = 0; bits < 1 << 16; bits++) {
    const value = fromFloat16Bits(bits);
    const back = toFloat16Bits(value);
    // NaN has many patterns; one of them comes back.
    if (Number.isNaN(value) ? !Number.isNaN(fromFloat16Bits(back)) : back !== bits) throw new Error(`0x${bits.toString(16)} is ${value}, came back as 0x${back.toString(16)}`);
  }
});

test('f16 values are those of the format', () => {
  for (const [bits, value] of [[0x3c00, 1], [0xc000, -2], [0x3555, 0.333251953125], [0x7bff, 65504], [0x0400, 2 ** -14], [0x0001, 2 ** -24], [0x03ff, 1023 * 2 ** -24], [0x7c00, Infinity], [0xfc00, -Infinity]]) {
    assert.is(fromFloat16Bits(bits), value);
    assert.is(toFloat16Bits(value), bits);
  }
  assert.ok(Object.is(fromFloat16Bits(0x8000), -0));
  assert.is(toFloat16Bits(-0), 0x8000);
});

test('numbers between two f16 values go to the nearest, halfway to the even one', () => {
  for (let bits = 0; bits < 0x7bff; bits++) {
    const low = fromFloat16Bits(bits);
    const high = fromFloat16Bits(bits + 1);
    const middle = (low + high) / 2;
    const quarter = (high - low) / 4;
    const even = bits % 2 === 0 ? bits : bits + 1;
    // All four are exact in f32.
    const got = [middle - quarter, middle, middle + quarter, -middle].map(toFloat16Bits);
    const expected = [bits, even, bits + 1, 0x8000 | even];
    if (got.some((value, i) => value !== expected[i])) throw new Error(`around ${middle}: got ${got}, expected ${expected}`);
  }
});

test('f16 overflows to infinity from halfway beyond its largest value on', () => {
  assert.is(toFloat16Bits(65519.996), 0x7bff);
  assert.is(toFloat16Bits(65520), 0x7c00);
  assert.is(toFloat16Bits(1e30), 0x7c00);
  assert.is(toFloat16Bits(-1e30), 0xfc00);
  assert.is(toFloat16Bits(2 ** -25), 0);
  assert.is(toFloat16Bits(2 ** -25 * 1.001), 1);
  assert.ok(Number.isNaN(fromFloat16Bits(toFloat16Bits(NaN))));
});

test('values are encoded and decoded in each type', () => {
  const values = [0, 1, 2, 250, 7];
  for (const dtype of ['f32', 'f16', 'u32', 'u8'] as const) {
    const bytes = encode(values, dtype);
    assert.is(bytes.byteLength, values.length * { f32: 4, f16: 2, u32: 4, u8: 1 }[dtype]);
    assert.equal([...decode(bytes, dtype)], values);
  }
});

test('bytes from the middle of a larger array are read where they are', () => {
  const whole = new Uint8Array(24);
  whole.set(encode([1.5, -2.5], 'f32'), 8);
  assert.equal([...decode(whole.subarray(8, 16), 'f32')], [1.5, -2.5]);
  whole.set(encode([1.5, -2.5], 'f16'), 6);
  assert.equal([...decode(whole.subarray(6, 10), 'f16')], [1.5, -2.5]);
});

test.run();
