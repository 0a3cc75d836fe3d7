// First of two stages of the embedding table's gradient: the positions ordered by token, equal tokens by position, so
// that the second stage finds each row's positions side by side and always adds them in the same order.
//
//   ids    [positions], u32
//   order  [positions, 2], u32: the token and the position, sorted
//
// One invocation per position counts those that come before it (sorting by counting comparisons). That takes
// positions² comparisons, but no atomics and no passes that wait for each other: at the few thousand positions of a
// training batch it costs less than one pass of a radix sort.

struct Params {
  positions: u32,
  rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> order: array<vec2u>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let position = id.x;
  if (position >= params.positions) {
    return;
  }
  let token = min(ids[position], params.rows - 1);
  var before = 0u;
  for (var other = 0u; other < params.positions; other++) {
    let other_token = min(ids[other], params.rows - 1);
    before += u32(other_token < token || (other_token == token && other < position));
  }
  order[before] = vec2u(token, position);
}
