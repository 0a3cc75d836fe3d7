/** Element types of tensors: f32 and f16 numbers, u32 integers, and u8 bytes (packed four to a u32 in WGSL). */
export type DType = 'f32' | 'f16' | 'u32' | 'u8';

/** Bytes of one element. */
export const dtypeBytes: Readonly<Record<DType, number>> = { f32: 4, f16: 2, u32: 4, u8: 1 };

const scratch = new DataView(new ArrayBuffer(4));

/** The f16 bit pattern nearest to a number (round to nearest even, overflow to infinity, subnormals kept). */
export function toFloat16Bits(value: number): number {
  scratch.setFloat32(0, value);
  const bits = scratch.getUint32(0);
  const sign = (bits >>> 16) & 0x8000;
  const exponent = (bits >>> 23) & 0xff;
  const mantissa = bits & 0x7fffff;
  if (exponent === 0xff) return sign | 0x7c00 | (mantissa ? 0x200 : 0);
  const unbiased = exponent - 112;
  if (unbiased >= 31) return sign | 0x7c00;
  if (unbiased <= 0) {
    if (unbiased < -10) return sign;
    const full = mantissa | 0x800000;
    const shift = 14 - unbiased;
    const half = full >>> shift;
    const rest = full & ((1 << shift) - 1);
    const middle = 1 << (shift - 1);
    return sign | (half + (rest > middle || (rest === middle && half & 1) ? 1 : 0));
  }
  const half = (unbiased << 10) | (mantissa >>> 13);
  const rest = mantissa & 0x1fff;
  // The carry out of the mantissa runs into the exponent, which is what rounding up to a power of two needs.
  return sign | (half + (rest > 0x1000 || (rest === 0x1000 && half & 1) ? 1 : 0));
}

/** The number that an f16 bit pattern stands for. */
export function fromFloat16Bits(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const mantissa = bits & 0x3ff;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

/** Bytes of `values` as they lie in a buffer of that type. */
export function encode(values: ArrayLike<number>, dtype: DType): Uint8Array {
  switch (dtype) {
    case 'f32':
      return bytesOf(values instanceof Float32Array ? values : Float32Array.from(values));
    case 'u32':
      return bytesOf(values instanceof Uint32Array ? values : Uint32Array.from(values));
    case 'u8':
      return bytesOf(values instanceof Uint8Array ? values : Uint8Array.from(values));
    case 'f16': {
      const half = new Uint16Array(values.length);
      for (let i = 0; i < half.length; i++) half[i] = toFloat16Bits(values[i]);
      return bytesOf(half);
    }
  }
}

/** The numbers that lie in a buffer of that type, as f32. */
export function decode(bytes: Uint8Array, dtype: DType): Float32Array {
  const { buffer, byteOffset, byteLength } = bytes;
  switch (dtype) {
    case 'f32':
      return new Float32Array(buffer, byteOffset, byteLength / 4);
    case 'u32':
      return Float32Array.from(new Uint32Array(buffer, byteOffset, byteLength / 4));
    case 'u8':
      return Float32Array.from(bytes);
    case 'f16':
      return Float32Array.from(new Uint16Array(buffer, byteOffset, byteLength / 2), fromFloat16Bits);
  }
}

function bytesOf(array: Float32Array | Uint32Array | Uint16Array | Uint8Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
