// What one memory access moves: with @if(vectors) four neighbouring elements, which takes an innermost axis that
// divides by four, else one element. `Wide` holds it for arithmetic, in f32 either way.

import package::common::element::Element;

@if(vectors) alias Item = vec4<Element>;
@else alias Item = Element;

@if(vectors) alias Wide = vec4f;
@else alias Wide = f32;

// The first element of one item.
fn item_first(value: Wide) -> f32 {
  @if(vectors) {
    return value.x;
  }
  @else {
    return value;
  }
}

// The sum of the elements of one item.
fn item_sum(value: Wide) -> f32 {
  @if(vectors) {
    return (value.x + value.y) + (value.z + value.w);
  }
  @else {
    return value;
  }
}
