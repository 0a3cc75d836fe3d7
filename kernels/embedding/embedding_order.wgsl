// First of two stages of the embedding table's gradient: the positions ordered by token, equal tokens by position, so
// that the second stage finds each row's positions side by side and always adds them in the same order.
//
//   ids    [positions], u32
//   order  [positions, 2], u32: the token and the position, sorted
//
// One invocation per position counts those that come before it (sorting by counting comparisons). That takes
// positions² comparisons, but no atomics and no passes that wait for each other: right for the few thousand positions
// of a training batch.

struct Params {
  positions: u32,
  rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> order: array<vec2u>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let position = (group.y * groups.x + group.x) * THREADS + thread;
  if (position >= params.positions) {
    return;
  }
  let token = ids[position];
  var before = 0u;
  for (var i = 0u; i < position; i++) {
    before += u32(ids[i] <= token);
  }
  for (var i = position + 1; i < params.positions; i++) {
    before += u32(ids[i] < token);
  }
  // Tokens beyond the table read its last row; as the largest they stand at the end of the order either way.
  order[before] = vec2u(min(token, params.rows - 1), position);
}
