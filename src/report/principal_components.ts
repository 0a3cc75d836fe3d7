/** Directions of the largest variance. */
export interface PrincipalComponents {
  /** [width]: subtracted before projecting. */
  readonly mean: Float64Array;
  /** Unit vectors [width], the largest variance first; all zeros where the rows have fewer directions. */
  readonly axes: readonly Float64Array[];
}

/** A fraction of a degree: colours made from the projections do not change any more. */
const tolerance = 1e-6;
const mostIterations = 200;

function norm(vector: Float64Array): number {
  let sum = 0;
  for (const value of vector) sum += value * value;
  return Math.sqrt(sum);
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** Takes out what lies along the axes. */
function deflate(vector: Float64Array, axes: readonly Float64Array[]): void {
  for (const axis of axes) {
    const along = dot(vector, axis);
    for (let i = 0; i < vector.length; i++) vector[i] -= along * axis[i];
  }
}

/**
 * The first principal components of the rows of a matrix, by power iteration with deflation. The same rows give the same
 * numbers: each iteration starts at the row that lies farthest from the axes found before, and an axis points to the side of its
 * largest coordinate.
 *
 * @param rows [count, width], row by row
 * @param count number of components
 */
export function principalComponents(rows: Float32Array, width: number, count: number): PrincipalComponents {
  const height = rows.length / width;
  const mean = new Float64Array(width);
  for (let i = 0; i < rows.length; i++) mean[i % width] += rows[i] / height;
  const centred = Float64Array.from(rows, (value, i) => value - mean[i % width]);
  const row = (y: number): Float64Array => centred.subarray(y * width, (y + 1) * width);
  const largest = Math.max(0, ...Array.from({ length: height }, (_, y) => norm(row(y))));
  const axes: Float64Array[] = [];
  for (let component = 0; component < count; component++) {
    let axis = new Float64Array(width);
    let farthest = 0;
    for (let y = 0; y < height; y++) {
      const candidate = row(y).slice();
      deflate(candidate, axes);
      const distance = norm(candidate);
      if (distance <= farthest) continue;
      farthest = distance;
      axis = candidate;
    }
    // What is left is the rounding of 32-bit numbers: the rows have no further direction.
    if (farthest <= 1e-5 * largest) {
      axes.push(new Float64Array(width));
      continue;
    }
    for (let i = 0; i < width; i++) axis[i] /= farthest;
    for (let iteration = 0; iteration < mostIterations; iteration++) {
      const next = new Float64Array(width);
      for (let y = 0; y < height; y++) {
        const values = row(y);
        const along = dot(values, axis);
        for (let i = 0; i < width; i++) next[i] += along * values[i];
      }
      deflate(next, axes);
      const length = norm(next);
      for (let i = 0; i < width; i++) next[i] /= length;
      const turned = 1 - Math.abs(dot(next, axis));
      axis = next;
      if (turned < tolerance) break;
    }
    const strongest = axis.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
    axes.push(strongest < 0 ? axis.map((value) => -value) : axis);
  }
  return { mean, axes };
}

/** Coordinates of the rows along the axes. @returns one array for each axis, with a value for each row */
export function project({ mean, axes }: PrincipalComponents, rows: Float32Array): Float64Array[] {
  const width = mean.length;
  return axes.map((axis) =>
    Float64Array.from({ length: rows.length / width }, (_, y) => {
      let sum = 0;
      for (let i = 0; i < width; i++) sum += (rows[y * width + i] - mean[i]) * axis[i];
      return sum;
    }),
  );
}
