// The gradient of cross_entropy: (softmax(logits)[r, c] - [c is the target of r]) * loss_gradient / rows.
//
//   logits, logits_gradient  [rows, classes], f32
//   log_sum                  [rows], f32, from the forward pass
//   label                    [rows], u32: the targets; with @if(diagonal) absent: the target of row r is r % classes
//   loss_gradient            [1], f32
//
// One invocation per element.

struct Params {
  size: u32,
  rows: u32,
  classes: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> log_sum: array<f32>;
@group(0) @binding(3) var<storage, read> loss_gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> logits_gradient: array<f32>;
@if(!diagonal) @group(0) @binding(5) var<storage, read> label: array<u32>;

override THREADS: u32 = 64;

fn target_of(row: u32) -> u32 {
  @if(diagonal) {
    return row % params.classes;
  }
  @else {
    return min(label[row], params.classes - 1);
  }
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * THREADS + thread;
  if (i >= params.size) {
    return;
  }
  let row = i / params.classes;
  let hit = f32(i % params.classes == target_of(row));
  logits_gradient[i] = (exp(logits[i] - log_sum[row]) - hit) * loss_gradient[0] / f32(params.rows);
}
