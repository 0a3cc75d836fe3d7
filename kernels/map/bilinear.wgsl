// Places of bilinear interpolation with align_corners = false along one axis (torch.nn.functional.interpolate): cell i of
// `cells` output cells lies at ((2 i + 1) sources - cells) / (2 cells) source cells, held between the first and the last
// of them. Integers give it exactly.

// A place between two source cells: source[first] * (1 - fraction) + source[second] * fraction.
struct Between {
  first: u32,
  second: u32,
  fraction: f32,
}

// The place of cell `i` in units of 1 / (2 cells).
fn place(i: u32, cells: u32, sources: u32) -> u32 {
  return u32(clamp(i32((2 * i + 1) * sources) - i32(cells), 0, i32(2 * cells * (sources - 1))));
}

fn between(i: u32, cells: u32, sources: u32) -> Between {
  let exact = place(i, cells, sources);
  let first = exact / (2 * cells);
  return Between(first, min(first + 1, sources - 1), f32(exact % (2 * cells)) / f32(2 * cells));
}
