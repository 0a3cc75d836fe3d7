// Counts the pixels of anomaly maps by score, for the pixel-level metrics of a whole data set: integers only, added with
// atomics, so that the counts do not depend on the order in which pixels, batches or machines come.
//
//   maps    [batch, height, width], scores
//   areas   [batch, height, width], u32: 0 for a normal pixel, 0xffffffff for one that does not count, and else the
//           number of pixels of the defect region that the pixel belongs to, at most 2^23
//   counts  [6 × 65536 + 1], u32, added to: normal pixels by bin; abnormal pixels by bin; for the per-region overlap
//           floor(2^40 / area) of each abnormal pixel by bin, as 64-bit integers, first all lower words, then all upper
//           words; the largest of each bin's scores, as bits, and the largest of their complements, which tells the
//           smallest score; the number of scores that are not numbers
//
// One invocation per column of ROWS pixels, 64 columns side by side. Neighbours in a map have close scores, so pixels of
// one bin often follow each other: they are counted together and added once. That keeps many invocations from queueing
// for one address where a map is flat. Histograms in workgroup memory would not fit: one has 256 KiB.
//
// A 64-bit addition takes two 32-bit ones: whoever makes the lower word run over adds 1 to the upper word. The sum is
// exact whatever the order, because each run over is seen exactly once.

import package::evaluation::score_key::{ NO_BIN, SCORE_BINS, score_key };

const IGNORED = 0xffffffffu;

struct Params {
  height: u32,
  width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> maps: array<f32>;
@group(0) @binding(2) var<storage, read> areas: array<u32>;
@group(0) @binding(3) var<storage, read_write> counts: array<atomic<u32>>;

override ROWS: u32 = 8;

// Most scores change nothing, and reading is cheaper than a maximum that everybody waits for.
fn widen(index: u32, bits: u32) {
  if (atomicLoad(&counts[index]) < bits) {
    atomicMax(&counts[index], bits);
  }
}

// `count` pixels of one bin and one region, with scores from `least` to `most`.
fn add(bin: u32, area: u32, count: u32, least: f32, most: f32) {
  if (area == IGNORED || count == 0) {
    return;
  }
  if (bin == NO_BIN) {
    atomicAdd(&counts[6 * SCORE_BINS], count);
    return;
  }
  widen(4 * SCORE_BINS + bin, bitcast<u32>(most));
  widen(5 * SCORE_BINS + bin, ~bitcast<u32>(least));
  if (area == 0) {
    atomicAdd(&counts[bin], count);
    return;
  }
  atomicAdd(&counts[SCORE_BINS + bin], count);
  // floor(2^40 / area) by long division, 31 bits and then 9: each step fits 32 bits because area is at most 2^23.
  let first = 0x80000000u / area;
  let weight_lower = (first << 9) | (((0x80000000u % area) << 9) / area);
  let weight_upper = first >> 23;
  var lower = 0u;
  var upper = 0u;
  for (var i = 0u; i < count; i++) {
    lower += weight_lower;
    upper += weight_upper + u32(lower < weight_lower);
  }
  let before = atomicAdd(&counts[2 * SCORE_BINS + bin], lower);
  upper += u32(before > 0xffffffffu - lower);
  if (upper > 0) {
    atomicAdd(&counts[3 * SCORE_BINS + bin], upper);
  }
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let x = id.x;
  if (x >= params.width) {
    return;
  }
  let first = id.y * ROWS;
  let last = min(first + ROWS, params.height);
  var bin = 0u;
  var area = IGNORED;
  var count = 0u;
  var least = 0.0;
  var most = 0.0;
  for (var y = first; y < last; y++) {
    let at = (id.z * params.height + y) * params.width + x;
    let score = maps[at];
    let next_bin = score_key(score);
    let next_area = areas[at];
    // Within [0, 1] and not -0, so that the bits are in the order of the scores.
    let clamped = select(0.0, min(score, 1.0), score > 0.0);
    if (next_bin != bin || next_area != area) {
      add(bin, area, count, least, most);
      bin = next_bin;
      area = next_area;
      count = 0;
      least = clamped;
      most = clamped;
    }
    count++;
    least = min(least, clamped);
    most = max(most, clamped);
  }
  add(bin, area, count, least, most);
}
