/** The connected regions of a defect mask. */
export interface Regions {
  /** [height × width]: 0 outside defects, else the number of the region, from 1. */
  readonly labels: Uint32Array;
  /** Pixels of each region; the first entry belongs to region 1. */
  readonly sizes: readonly number[];
}

/**
 * Labels the 8-connected regions of a mask (scipy.ndimage.label with a full 3×3 structure), in two passes with
 * union-find; regions are numbered in the order of their first pixel.
 *
 * @param mask [height × width], non-zero for a defect
 */
export function labelRegions(mask: ArrayLike<number>, width: number, height: number): Regions {
  const labels = new Uint32Array(width * height);
  const parents = [0];
  const find = (label: number): number => {
    while (parents[label] !== label) label = parents[label] = parents[parents[label]];
    return label;
  };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = y * width + x;
      if (!mask[at]) continue;
      let label = 0;
      const join = (neighbour: number): void => {
        if (neighbour === 0) return;
        const root = find(neighbour);
        if (label === 0 || label === root) label = root;
        else {
          const [low, high] = root < label ? [root, label] : [label, root];
          parents[high] = low;
          label = low;
        }
      };
      if (x > 0) join(labels[at - 1]);
      if (y > 0) {
        if (x > 0) join(labels[at - width - 1]);
        join(labels[at - width]);
        if (x + 1 < width) join(labels[at - width + 1]);
      }
      if (label === 0) {
        label = parents.length;
        parents.push(label);
      }
      labels[at] = label;
    }
  }
  const numbers = new Map<number, number>();
  const sizes: number[] = [];
  for (let at = 0; at < labels.length; at++) {
    if (labels[at] === 0) continue;
    const root = find(labels[at]);
    let number = numbers.get(root);
    if (number === undefined) {
      number = sizes.push(0);
      numbers.set(root, number);
    }
    labels[at] = number;
    sizes[number - 1]++;
  }
  return { labels, sizes };
}

/** For each pixel the size of the region that it belongs to: what the per-region overlap needs of a mask. */
export interface RegionAreas {
  /** [height × width]: 0 outside of defects. */
  readonly areas: Uint32Array;
  /** Number of regions. */
  readonly regions: number;
}

/** @param mask [height × width], non-zero for a defect */
export function regionAreas(mask: ArrayLike<number>, width: number, height: number): RegionAreas {
  const { labels, sizes } = labelRegions(mask, width, height);
  const areas = labels.map((label) => (label === 0 ? 0 : sizes[label - 1]));
  return { areas, regions: sizes.length };
}
