// Which categories and defects are learned from, and which are kept for tests of what nothing has seen.
import { readFileSync } from 'node:fs';
import { categories } from './catalogue.ts';
import { type DefectKind, defectKinds } from './category.ts';

/** Categories and kinds of defect that belong together. */
export interface SplitPart {
  readonly categories: readonly string[];
  readonly defects: readonly DefectKind[];
}

export interface Split {
  /** For pretraining and for MFP-CLIP's own training. */
  readonly pretraining: SplitPart;
  /** Categories that no training sees, and kinds of defect that none sees on any category. */
  readonly zeroShot: SplitPart;
}

/** Reads and checks `split.json`: every category and every kind of defect is in exactly one part. */
export function readSplit(file: string | URL = new URL('./split.json', import.meta.url)): Split {
  const split = JSON.parse(readFileSync(file, 'utf8')) as Split;
  const check = (what: 'categories' | 'defects', all: readonly string[]): void => {
    const listed = [...split.pretraining[what], ...split.zeroShot[what]].sort();
    const expected = [...all].sort();
    if (listed.length !== expected.length || listed.some((name, i) => name !== expected[i])) {
      throw new Error(`split.json: ${what} must name each of ${expected.join(', ')} once, and names ${listed.join(', ')}`);
    }
  };
  check('categories', categories.map(({ name }) => name));
  check('defects', defectKinds);
  return split;
}
