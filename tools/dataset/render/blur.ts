// Box blurs, repeated to come close to a Gaussian; the cost does not depend on the radius.
import { clamp } from './numbers.ts';

let line = new Float64Array(0);
let sums = new Float64Array(0);
let rows = new Float32Array(0);

/**
 * Mean over a (2r+1)² box of a square layer, borders repeated. A fractional radius weighs the outermost samples partly.
 *
 * @param radius in samples
 * @param to may be `from`
 */
export function boxBlur(from: Float32Array, side: number, radius: number, to: Float32Array): void {
  if (radius <= 0) {
    if (to !== from) to.set(from);
    return;
  }
  const whole = Math.floor(radius);
  const part = radius - whole;
  const scale = 1 / (2 * radius + 1);
  const pad = whole + 1;
  if (line.length < side + 2 * pad) line = new Float64Array(side + 2 * pad);
  if (sums.length < side) sums = new Float64Array(side);
  if (rows.length < side * side) rows = new Float32Array(side * side);
  const buffer = line;
  const means = rows;
  for (let y = 0; y < side; y++) {
    const start = y * side;
    for (let x = 0; x < side; x++) buffer[pad + x] = from[start + x];
    buffer.fill(buffer[pad], 0, pad);
    buffer.fill(buffer[pad + side - 1], pad + side, side + 2 * pad);
    let sum = 0;
    for (let x = 1; x <= 2 * whole + 1; x++) sum += buffer[x];
    for (let x = 0, enter = 2 * whole + 2; x < side; x++, enter++) {
      const leave = buffer[x + 1];
      means[start + x] = scale * (sum + part * (buffer[x] + buffer[enter]));
      sum += buffer[enter] - leave;
    }
  }
  // Columns, a row of running sums at a time so that memory is read in order.
  const column = sums.fill(0, 0, side);
  for (let y = -whole; y <= whole; y++) {
    const row = clamp(y, 0, side - 1) * side;
    for (let x = 0; x < side; x++) column[x] += means[row + x];
  }
  for (let y = 0; y < side; y++) {
    const above = Math.max(0, y - whole - 1) * side;
    const below = Math.min(side - 1, y + whole + 1) * side;
    const leaving = Math.max(0, y - whole) * side;
    const start = y * side;
    for (let x = 0; x < side; x++) {
      const enter = means[below + x];
      to[start + x] = scale * (column[x] + part * (means[above + x] + enter));
      column[x] += enter - means[leaving + x];
    }
  }
}
