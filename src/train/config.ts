import { type MfpConfig, defaultMfpConfig, mfpRules } from '../models/mfp/config.ts';
import { type Rules, belowOne, flag, nonNegative, oneOf, orNull, parseSettings, positive, positiveInteger, seed, wholeNumber } from '../settings.ts';

/** How parameters are updated. */
export interface OptimizerConfig {
  /** "adamw": weight decay apart from the gradient (torch.optim.AdamW). */
  readonly kind: 'adam' | 'adamw';
  /** Before the schedule's factor. */
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** Largest norm of the whole gradient; null: not clipped. */
  readonly clipNorm: number | null;
}

/** The optimizer's part of a training run. */
interface RunOptimizerConfig extends OptimizerConfig {
  /**
   * Factor of the learning rate for mask prompting's Linear (mp.fuse): it stands before the whole tower, whose frozen weights expect the
   * embeddings that they were trained on.
   */
  readonly maskPromptFactor: number;
}

/** How the learning rate changes. */
export interface ScheduleConfig {
  /** "inverse epoch": 1/(epoch+1), the paper's. "cosine": to 0 at the last step. */
  readonly kind: 'inverse epoch' | 'constant' | 'cosine';
  /** Steps over which the rate rises linearly from 0. */
  readonly warmupSteps: number;
}

/** A whole training run: the model's configuration and how it is trained. */
export interface RunConfig extends MfpConfig {
  readonly optimizer: RunOptimizerConfig;
  readonly schedule: ScheduleConfig;
  readonly training: {
    readonly epochs: number;
    /** Images per forward pass. */
    readonly batch: number;
    /** Forward passes per update. */
    readonly accumulation: number;
    /** Storage of weights and activations; trained tensors and moments are always f32. */
    readonly precision: 'f32' | 'f16';
    /** Compute each block again in the backward pass instead of keeping its intermediates. */
    readonly recompute: boolean;
    /** Seed of the start values and of the order of images. */
    readonly seed: number;
  };
}

/** The paper's training. */
export const defaultRunConfig: RunConfig = {
  ...defaultMfpConfig,
  optimizer: { kind: 'adam', learningRate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, clipNorm: null, maskPromptFactor: 1 },
  schedule: { kind: 'inverse epoch', warmupSteps: 0 },
  training: { epochs: 100, batch: 1, accumulation: 1, precision: 'f32', recompute: false, seed: 0 },
};

const runRules: Rules = {
  ...mfpRules,
  optimizer: { kind: oneOf('adam', 'adamw'), learningRate: positive, beta1: belowOne, beta2: belowOne, epsilon: positive, weightDecay: nonNegative, clipNorm: orNull(positive), maskPromptFactor: positive },
  schedule: { kind: oneOf('inverse epoch', 'constant', 'cosine'), warmupSteps: wholeNumber },
  training: { epochs: positiveInteger, batch: positiveInteger, accumulation: positiveInteger, precision: oneOf('f32', 'f16'), recompute: flag, seed },
};

/**
 * A full run configuration from a partial one: the JSON of a configuration file.
 *
 * @param defaults what the other fields are
 * @throws UserError naming the field that is unknown or has a value of the wrong kind
 */
export function parseRunConfig(partial: unknown, source: string, defaults = defaultRunConfig): RunConfig {
  return parseSettings(partial, defaults, runRules, source);
}

/** Factor of the learning rate for a trained tensor, by its name. */
export function rateFactorOf({ maskPromptFactor }: RunConfig['optimizer'], name: string): number {
  return name.startsWith('mp.') ? maskPromptFactor : 1;
}

/** The model's part of a run configuration. */
export function mfpConfigOf(run: RunConfig): MfpConfig {
  const { optimizer: _optimizer, schedule: _schedule, training: _training, ...model } = run;
  return model;
}
