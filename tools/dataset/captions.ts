// Captions as people write them under pictures, in the words that prompts for anomaly detection use.
import type { RandomSource } from '../../src/tensor/random.ts';
import type { DefectKind } from './category.ts';
import { chance, pick } from './render/numbers.ts';

/** `#` is the state and the thing: "scratched metal nut". */
const templates = [
  'a photo of a #',
  'A photo of a #',
  'a photo of the #',
  'a photo of one #',
  'a cropped photo of a #',
  'a close-up photo of a #',
  'a bright photo of a #',
  'a dark photo of the #',
  'a blurry photo of a #',
  'a good photo of the #',
  'a photo of a # for visual inspection',
  'a photo of the # for anomaly detection',
  'there is a # in the scene',
  'this is a #',
  'an image of a #',
];

/** `%` is the thing. */
const normalStates = ['normal %', 'normal %', 'normal %', 'flawless %', 'perfect %', 'unblemished %', 'intact %', 'good %', '% without flaw', '% without defect', '% without damage', '%'];

const abnormalStates = ['abnormal %', 'abnormal %', 'abnormal %', 'damaged %', 'defective %', 'faulty %', 'broken %', '% with flaw', '% with defect', '% with damage'];

const defectStates: Readonly<Record<DefectKind, readonly string[]>> = {
  scratch: ['scratched %', '% with a scratch', '% with scratches'],
  crack: ['cracked %', '% with a crack'],
  hole: ['% with a hole', 'pierced %'],
  stain: ['stained %', '% with a stain', 'dirty %'],
  dent: ['dented %', '% with a dent'],
  missing_part: ['incomplete %', '% with a missing part', '% with something missing'],
  misplaced_part: ['misassembled %', '% with a misplaced part', '% with a part in the wrong place'],
  foreign_fibre: ['contaminated %', '% with a fibre on it', '% with a hair on it'],
  broken_edge: ['chipped %', '% with a broken edge', '% with a chipped edge'],
  colour_change: ['discoloured %', '% with a wrong colour', '% with a colour change'],
};

/**
 * A caption.
 *
 * @param words what the thing is called
 */
export function captionOf(words: string, defect: DefectKind | 'good', random: RandomSource): string {
  const states = defect === 'good' ? normalStates : chance(random, 0.5) ? abnormalStates : defectStates[defect];
  const thing = pick(random, states).replace('%', words);
  const line = pick(random, templates).replace('#', thing);
  // The prompts of the method say "a abnormal"; people say "an abnormal".
  return chance(random, 0.5) ? line.replace(/\ba (?=[aeiou])/g, 'an ') : line;
}
