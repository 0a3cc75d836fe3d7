// Four rows of one head, spread over the lanes of a subgroup: of the 4 x HEAD4 vec4s, number f is held by lane f % LANES.
// Software adapters pay for a load lane by lane, even where all lanes read one address, and their workgroup memory is
// ordinary memory, read the same way. So each element is loaded by one lane and handed to the others by a shuffle, which
// is one vector instruction when the lane is a constant.

import package::attention::head_size::HEAD4;

@if(lanes_4) const LANES = 4u;
@elif(lanes_16) const LANES = 16u;
@else const LANES = 8u;

// Rows in a tile: one vec4 of scores for each row of the other side.
const TILE = 4u;

// vec4s of a tile that each lane holds.
const LOADS = (TILE * HEAD4 + LANES - 1) / LANES;

alias LaneTile = array<vec4f, LOADS>;

// Row of the tile that the lane's i-th vec4 belongs to.
fn tile_row(i: u32, lane: u32) -> u32 {
  return (i * LANES + lane) / HEAD4;
}

// Which vec4 of that row it is.
fn tile_column(i: u32, lane: u32) -> u32 {
  return (i * LANES + lane) % HEAD4;
}

fn from_tile(tile: ptr<private, LaneTile>, f: u32) -> vec4f {
  return subgroupShuffle((*tile)[f / LANES], f % LANES);
}

// vec4 `d` of the tile's four rows, in every lane. `d` must be a constant once everything is inlined.
fn tile_rows(tile: ptr<private, LaneTile>, d: u32) -> mat4x4f {
  return mat4x4f(from_tile(tile, d), from_tile(tile, HEAD4 + d), from_tile(tile, 2 * HEAD4 + d), from_tile(tile, 3 * HEAD4 + d));
}

// dots + (x · rows[0], x · rows[1], x · rows[2], x · rows[3])
fn add_dots(dots: vec4f, x: vec4f, rows: mat4x4f) -> vec4f {
  var s = dots;
  s = fma(vec4f(x.x), vec4f(rows[0].x, rows[1].x, rows[2].x, rows[3].x), s);
  s = fma(vec4f(x.y), vec4f(rows[0].y, rows[1].y, rows[2].y, rows[3].y), s);
  s = fma(vec4f(x.z), vec4f(rows[0].z, rows[1].z, rows[2].z, rows[3].z), s);
  return fma(vec4f(x.w), vec4f(rows[0].w, rows[1].w, rows[2].w, rows[3].w), s);
}

// sum + weights[0] * rows[0] + weights[1] * rows[1] + weights[2] * rows[2] + weights[3] * rows[3]
fn add_weighted(sum: vec4f, weights: vec4f, rows: mat4x4f) -> vec4f {
  var s = sum;
  s = fma(rows[0], vec4f(weights.x), s);
  s = fma(rows[1], vec4f(weights.y), s);
  s = fma(rows[2], vec4f(weights.z), s);
  return fma(rows[3], vec4f(weights.w), s);
}
