// One row's part of the left operand in one segment of the sum: the element of k is at start + k * left_step() for
// low <= k < high, and zero outside, where `start` may lie outside the tensor.
struct Span {
  start: i32,
  low: i32,
  high: i32,
}

fn covers(span: Span, k: u32) -> bool {
  return i32(k) >= span.low && i32(k) < span.high;
}
