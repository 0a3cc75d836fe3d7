// Defects that happen to a finished surface, by kind.
import type { DefectKind, faultKinds } from '../category.ts';
import { brokenEdge, colourChange, dent, hole, stain } from './patches.ts';
import type { Wound } from './site.ts';
import { crack, foreignFibre, scratch } from './strokes.ts';

export type SurfaceDefect = Exclude<DefectKind, (typeof faultKinds)[number]>;

/** What each kind does to a surface: heights and materials change, and light finds them changed. */
export const surfaceDefects: Readonly<Record<SurfaceDefect, (wound: Wound) => void>> = {
  scratch,
  crack,
  hole,
  stain,
  dent,
  foreign_fibre: foreignFibre,
  broken_edge: brokenEdge,
  colour_change: colourChange,
};
