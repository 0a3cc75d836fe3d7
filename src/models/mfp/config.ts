import { type Rule, type Rules, flag, nonNegative, oneOf, orNull, parseSettings, positive, positiveInteger } from '../../settings.ts';

/**
 * Everything that the paper leaves open or ablates, with this project's reading as the default
 * (docs/method.md gives the reasons). Stored as JSON in the metadata of `mfp.safetensors`.
 */
export interface MfpConfig {
  readonly image: {
    /** Side of the square image that the CLIP image tower sees, in pixels; a multiple of the patch size. */
    readonly size: number;
  };
  readonly cnn: {
    /** Side of the square image that the CNN sees, in pixels. */
    readonly size: number;
  };
  /** Image-to-text prompting, eq. 1-2. */
  readonly i2tp: {
    readonly enabled: boolean;
    /** "feature": concatenated on the feature dimension of every token; "token": as a 78th token. */
    readonly concat: 'feature' | 'token';
  };
  /** Self prompting, eq. 3-6. */
  readonly sp: {
    readonly enabled: boolean;
    /** K: prompts from the image, and as many learned ones. */
    readonly count: number;
    /** Quarters of the image tower (1 to 4) whose layers get fresh prompts; layer 1 never does. */
    readonly stages: readonly number[];
    /** Whether the last prompts stay in the sequence after a prompted stage. */
    readonly keepPrompts: boolean;
  };
  /** Adapters, eq. 7. */
  readonly adapter: {
    /** False: CLIP's own final LayerNorm and projection stand in for the adapters, as in plain zero-shot CLIP. */
    readonly enabled: boolean;
    /** Width between the two Linears; null: the joint width. */
    readonly hidden: number | null;
    /** Whether the taps pass the image tower's final LayerNorm first. */
    readonly lnPost: boolean;
  };
  /** Multi-patch feature aggregation, eq. 8-10. */
  readonly mpfa: {
    readonly enabled: boolean;
    /** N of the N×N neighbourhood: 1, 3 or 5. */
    readonly size: number;
  };
  readonly map: {
    /** Factor on the cosine similarities; null: CLIP's own exp(logit_scale). */
    readonly temperature: number | null;
    /** Quarters of the image tower (1 to 4) whose maps are averaged. */
    readonly stages: readonly number[];
  };
  /** Mask prompting, eq. 14-18. */
  readonly mp: {
    readonly enabled: boolean;
    /** Whether the gradient stops at the mask. */
    readonly detach: boolean;
  };
  readonly loss: {
    /** γ of the focal loss. */
    readonly gamma: number;
    /** Weights of the three losses. */
    readonly focal: number;
    readonly dice: number;
    readonly bce: number;
  };
}

/** The configuration of the paper, in this project's reading. */
export const defaultMfpConfig: MfpConfig = {
  image: { size: 518 },
  cnn: { size: 224 },
  i2tp: { enabled: true, concat: 'feature' },
  sp: { enabled: true, count: 5, stages: [1], keepPrompts: true },
  adapter: { enabled: true, hidden: null, lnPost: false },
  mpfa: { enabled: true, size: 3 },
  map: { temperature: null, stages: [1, 2, 3, 4] },
  mp: { enabled: true, detach: true },
  loss: { gamma: 2, focal: 1, dice: 1, bce: 1 },
};

/**
 * Zero-shot CLIP without anything of MFP-CLIP, in the same frame: the last layer's patch tokens through CLIP's own final
 * LayerNorm and projection against the two prompts. What `detect` runs without a trained model, and the baseline of
 * evaluations.
 */
export const plainClipConfig: MfpConfig = {
  ...defaultMfpConfig,
  i2tp: { ...defaultMfpConfig.i2tp, enabled: false },
  sp: { ...defaultMfpConfig.sp, enabled: false },
  adapter: { ...defaultMfpConfig.adapter, enabled: false },
  mpfa: { ...defaultMfpConfig.mpfa, enabled: false },
  map: { ...defaultMfpConfig.map, stages: [4] },
  mp: { ...defaultMfpConfig.mp, enabled: false },
};

/** Whether a configuration looks at the CNN's features at all. */
export function needsCnn({ i2tp, sp }: MfpConfig): boolean {
  return i2tp.enabled || sp.enabled;
}

const stages: Rule = {
  check: (value) => Array.isArray(value) && value.length > 0 && value.every((stage) => [1, 2, 3, 4].includes(stage)) && new Set(value).size === value.length,
  want: 'a list of different stages from 1 to 4',
};

/** Far more than are of use, and few enough to plan their memory. */
const promptCount: Rule = { check: (value) => positiveInteger.check(value) && (value as number) <= 1024, want: 'a whole number from 1 to 1024' };

/** What each field may be. */
export const mfpRules: Rules = {
  image: { size: positiveInteger },
  cnn: { size: positiveInteger },
  i2tp: { enabled: flag, concat: oneOf('feature', 'token') },
  sp: { enabled: flag, count: promptCount, stages, keepPrompts: flag },
  adapter: { enabled: flag, hidden: orNull(positiveInteger), lnPost: flag },
  mpfa: { enabled: flag, size: oneOf(1, 3, 5) },
  map: { temperature: orNull(positive), stages },
  mp: { enabled: flag, detach: flag },
  loss: { gamma: nonNegative, focal: nonNegative, dice: nonNegative, bce: nonNegative },
};

/**
 * A full configuration from a partial one, such as the JSON of a checkpoint.
 *
 * @param partial an object with some of the sections and fields; others take their defaults
 * @param source where it comes from, for errors
 * @throws UserError naming the field that is unknown or has a value of the wrong kind
 */
export function parseMfpConfig(partial: unknown, source: string): MfpConfig {
  return parseSettings(partial, defaultMfpConfig, mfpRules, source);
}
