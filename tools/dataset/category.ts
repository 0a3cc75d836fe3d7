// What a category of the data set is.
import type { LightingWishes } from './render/lighting.ts';
import type { Stage } from './render/stage.ts';

/** Every kind of defect. */
export const defectKinds = ['scratch', 'crack', 'hole', 'stain', 'dent', 'missing_part', 'misplaced_part', 'foreign_fibre', 'broken_edge', 'colour_change'] as const;
export type DefectKind = (typeof defectKinds)[number];

/** Faults of construction, which categories build in themselves; all other kinds happen to any finished surface. */
export const faultKinds = ['missing_part', 'misplaced_part'] as const satisfies readonly DefectKind[];

export interface Category {
  /** Folder name; with spaces for underscores it is what a person calls the thing: "metal_nut". */
  readonly name: string;
  readonly kind: 'texture' | 'object';
  /** Whether its things have nothing but the outline in common. */
  readonly varied?: boolean;
  /** Kinds of defect that occur on it. */
  readonly defects: readonly DefectKind[];
  readonly light?: LightingWishes;
  /** Builds the scene: fills every layer of the stage's surface. */
  build(stage: Stage): void;
}
