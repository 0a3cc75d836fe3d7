// One step of a reduction of each row to a number: its largest element, with @if(ties) how many elements are as large as
// a given one, with @if(total) the sum of its elements (of the counts that @if(ties) left).
//
//   input    [rows, width]
//   maximum  [rows], f32, only with @if(ties)
//   output   [rows, chunks], f32     one number per chunk of `chunk` items of the row; counts are exact up to 2^24
//
// One team per chunk. A first dispatch with many chunks has enough teams to fill a GPU from a single image; a second one
// over its output, with one chunk, ends the reduction.

import package::common::item::{ Item, Wide, item_sum };
import package::common::team::{ Place, THREADS, team_max, team_of, team_sum };

@if(f16) enable f16;
@if(subgroups) enable subgroups;

struct Params {
  rows: u32,
  // Of one row.
  items: u32,
  chunk: u32,
  chunks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Item>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;
@if(ties) @group(0) @binding(3) var<storage, read> maximum: array<f32>;

fn item_max(value: Wide) -> f32 {
  @if(vectors) { return max(max(value.x, value.y), max(value.z, value.w)); }
  @else { return value; }
}

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  let task = min(team.index, params.rows * params.chunks - 1);
  let row = task / params.chunks;
  let first = task % params.chunks * params.chunk;
  let last = min(first + params.chunk, params.items);
  let start = row * params.items;

  @if(ties || total) {
    var own = Wide();
    for (var i = first + team.lane; i < last; i += team.lanes) {
      @if(ties) { own += select(Wide(), Wide(1.0), Wide(input[start + i]) == Wide(maximum[row])); }
      @else { own += Wide(input[start + i]); }
    }
    let result = team_sum(item_sum(own), team);
    if (team.lane == 0 && team.index == task) {
      output[task] = result;
    }
  }
  @else {
    // Every chunk has a first item, also for lanes that have none of their own.
    var own = Wide(input[start + first]);
    for (var i = first + team.lane; i < last; i += team.lanes) {
      own = max(own, Wide(input[start + i]));
    }
    let result = team_max(item_max(own), team);
    if (team.lane == 0 && team.index == task) {
      output[task] = result;
    }
  }
}
