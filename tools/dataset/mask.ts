// The mask of a defect: where a photo with it differs from the same photo without it.
import { createPicture, type Picture } from '../../src/io/picture.ts';

/** Differences that a person sees, in display levels (0 to 255). */
const seen = 11;
/** Differences that belong to a defect where they touch a seen one. */
const noticed = 5;

/** Largest difference of the three channels at each pixel. */
export function differenceOf(a: Float32Array, b: Float32Array): Float32Array {
  const result = new Float32Array(a.length / 3);
  for (let i = 0; i < result.length; i++) {
    const at = i * 3;
    result[i] = Math.max(Math.abs(a[at] - b[at]), Math.abs(a[at + 1] - b[at + 1]), Math.abs(a[at + 2] - b[at + 2]));
  }
  return result;
}

/** Groups of touching pixels of a picture (8 neighbours, or 4), as lists of indices. */
function groups(size: number, belongs: (i: number) => boolean, corners: boolean): number[][] {
  const visited = new Uint8Array(size * size);
  const result: number[][] = [];
  for (let start = 0; start < visited.length; start++) {
    if (visited[start] || !belongs(start)) continue;
    const group = [start];
    visited[start] = 1;
    for (let k = 0; k < group.length; k++) {
      const i = group[k];
      const x = i % size;
      const y = (i - x) / size;
      for (let dy = -1; dy <= 1; dy++) {
        for (let dx = -1; dx <= 1; dx++) {
          if ((!corners && dx !== 0 && dy !== 0) || x + dx < 0 || y + dy < 0 || x + dx >= size || y + dy >= size) continue;
          const j = i + dy * size + dx;
          if (visited[j] || !belongs(j)) continue;
          visited[j] = 1;
          group.push(j);
        }
      }
    }
    result.push(group);
  }
  return result;
}

/** Dilation and then erosion with a 3 × 3 square: closes gaps of a pixel. The border counts as empty for neither. */
function close(mask: Uint8Array, size: number): Uint8Array {
  const pass = (from: Uint8Array, wanted: number): Uint8Array => {
    const to = from.slice();
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        if (from[y * size + x] === wanted) continue;
        search: for (let dy = -1; dy <= 1; dy++) {
          for (let dx = -1; dx <= 1; dx++) {
            if (x + dx < 0 || y + dy < 0 || x + dx >= size || y + dy >= size || from[(y + dy) * size + x + dx] !== wanted) continue;
            to[y * size + x] = wanted;
            break search;
          }
        }
      }
    }
    return to;
  };
  return pass(pass(mask, 1), 0);
}

/**
 * The pixels of a defect, from the difference between a photo with it and one without.
 *
 * A pixel belongs to it when it differs by at least 5 levels and is joined to one that differs by 11. Gaps of a pixel are
 * closed, areas that it encloses are filled when they are at most half as large as it is (a print or a weave that looks
 * the same there by chance), and specks that are smaller than 1/30 of its largest piece, or than 3 pixels, are left out.
 *
 * @param difference size × size display levels
 * @returns size × size, 1 for the defect
 */
export function maskOf(difference: Float32Array, size: number): Uint8Array {
  let mask: Uint8Array = new Uint8Array(size * size);
  for (const group of groups(size, (i) => difference[i] >= noticed, true)) {
    if (group.some((i) => difference[i] >= seen)) for (const i of group) mask[i] = 1;
  }
  mask = close(mask, size);
  const pieces = groups(size, (i) => mask[i] === 1, true);
  const largest = Math.max(0, ...pieces.map((piece) => piece.length));
  let area = 0;
  for (const piece of pieces) {
    if (piece.length < Math.max(3, largest / 30)) for (const i of piece) mask[i] = 0;
    else area += piece.length;
  }
  for (const gap of groups(size, (i) => mask[i] === 0, false)) {
    if (gap.length > area * 0.5) continue;
    const touchesBorder = gap.some((i) => i % size === 0 || i % size === size - 1 || i < size || i >= size * (size - 1));
    if (!touchesBorder) for (const i of gap) mask[i] = 1;
  }
  return mask;
}

/** A mask in black and white. */
export function maskPicture(mask: Uint8Array, size: number): Picture {
  const picture = createPicture(size, size, [0, 0, 0]);
  for (let i = 0; i < mask.length; i++) if (mask[i]) picture.pixels.fill(255, i * 3, i * 3 + 3);
  return picture;
}
