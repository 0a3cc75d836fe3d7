// Memory for layers of samples. A picture takes some forty of them and drops them all at its end; they are kept and
// handed out again, because allocating and clearing them would take longer than much of the drawing.

const kept = new Map<number, Float32Array[]>();
const used = new Map<number, number>();

/** A layer of `count` samples with any content, valid until `releaseLayers`. */
export function layer(count: number): Float32Array {
  let layers = kept.get(count);
  if (!layers) {
    // Sizes that are no longer rendered do not stay in memory.
    if (kept.size > 8) {
      kept.clear();
      used.clear();
    }
    kept.set(count, (layers = []));
  }
  const next = used.get(count) ?? 0;
  used.set(count, next + 1);
  return (layers[next] ??= new Float32Array(count));
}

/** A layer of zeros. */
export function clearLayer(count: number): Float32Array {
  return layer(count).fill(0);
}

/** Takes back every layer that was handed out. */
export function releaseLayers(): void {
  used.clear();
}
