// The stages' maps at the image's size and their mean (MFP-CLIP, equations 12 and 13): bilinear interpolation with
// align_corners = false, then the mean over the stages.
//
//   maps    [batch, stages, rows, columns]
//   output  [batch, height, width], f32
//
// One invocation per column of a strip of STRIP output rows, columns along x of the dispatch, strips along y, images
// along z. An enlarged map changes its source rows only now and then, so each invocation keeps the two rows between
// which it interpolates, already interpolated along the row and averaged over the stages: close to one read per output
// where the plain way has four per stage.

import package::common::element::Element;
import package::map::bilinear::{ Between, between };

@if(f16) enable f16;

struct Params {
  stages: u32,
  rows: u32,
  columns: u32,
  height: u32,
  width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> maps: array<Element>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

override THREADS: u32 = 64;

const STRIP = 8u;

// The mean over the stages of one source row of an image, at a place between two columns.
fn across(image: u32, row: u32, columns: Between) -> f32 {
  var sum = 0.0;
  for (var stage = 0u; stage < params.stages; stage++) {
    let start = ((image * params.stages + stage) * params.rows + row) * params.columns;
    sum += mix(f32(maps[start + columns.first]), f32(maps[start + columns.second]), columns.fraction);
  }
  return sum / f32(params.stages);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let x = group.x * THREADS + thread;
  if (x >= params.width) {
    return;
  }
  let image = group.z;
  let columns = between(x, params.width, params.columns);
  let first = group.y * STRIP;
  let last = min(first + STRIP, params.height);

  var rows = between(first, params.height, params.rows);
  var upper = across(image, rows.first, columns);
  var lower = across(image, rows.second, columns);
  for (var y = first; y < last; y++) {
    let next = between(y, params.height, params.rows);
    if (next.first != rows.first) {
      if (next.first == rows.second) {
        upper = lower;
      } else {
        upper = across(image, next.first, columns);
      }
      lower = across(image, next.second, columns);
    }
    rows = next;
    output[(image * params.height + y) * params.width + x] = mix(upper, lower, rows.fraction);
  }
}
