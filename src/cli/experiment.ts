import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Dataset } from '../data/dataset.ts';
import { type ModelOptions, loadModel } from '../eval/detector.ts';
import { evaluateShard } from '../eval/evaluate.ts';
import { modelFiles } from '../eval/identity.ts';
import { type EvaluationResults, resultsOf } from '../eval/results.ts';
import { writeResults } from '../eval/tables.ts';
import type { Gpu } from '../gpu/device.ts';
import { writeReport } from '../report/html.ts';
import { makePanels, mapsOfModel } from '../report/panels.ts';
import { type VariantPolicy, configureVariants } from '../tensor/variants.ts';
import type { RunConfig } from '../train/config.ts';
import { trainMfp } from '../train/run.ts';
import { type Progress, startProgress } from './progress.ts';

/** What the runs of an experiment share. */
export interface Experiment {
  readonly gpu: Gpu;
  readonly clip: string;
  readonly cnn: string;
  readonly variants: VariantPolicy;
  /** Finishes the step under way, saves and returns when it is aborted. */
  readonly signal: AbortSignal;
}

/**
 * Trains a model in a folder of its own, from the start or from where an earlier call stopped.
 *
 * @returns its file; undefined when it was stopped before the end
 */
export async function trainInFolder({ gpu, clip, cnn, variants, signal }: Experiment, dataset: Dataset, config: RunConfig, folder: string, saveEvery: number): Promise<string | undefined> {
  const resume = existsSync(join(folder, 'checkpoint.safetensors'));
  // A run that is resumed pins its variants: they are not those of the next one.
  configureVariants(gpu, variants);
  let progress: Progress | undefined;
  try {
    const { finished, file } = await trainMfp({
      gpu,
      source: { clip, cnn },
      dataset,
      out: folder,
      config,
      resume,
      saveEvery,
      signal,
      onStart: ({ updates, done }) => void (progress = startProgress('update', updates, done)),
      onUpdate: ({ epoch, losses }) => progress?.step(`epoch ${epoch + 1}, loss ${losses.total.toFixed(4)}`),
    });
    return finished ? file : undefined;
  } finally {
    progress?.stop();
  }
}

/**
 * Evaluates a model and leaves `results.json`, `.csv` and `.md` in a folder; goes on where an earlier call stopped.
 *
 * @param model what to evaluate, beside what the experiment says
 * @param report whether to write `report.html` too
 * @returns undefined when it was stopped before the end
 */
export async function evaluateInFolder({ gpu, clip, cnn, variants, signal }: Experiment, dataset: Dataset, model: Pick<ModelOptions, 'mfp' | 'size' | 'precision'>, folder: string, report = false): Promise<EvaluationResults | undefined> {
  const detector = await loadModel({ gpu, clip, cnn, ...model, variants });
  let progress: Progress | undefined;
  try {
    const { state } = await evaluateShard(detector, dataset, {
      files: await modelFiles({ clip, cnn, mfp: model.mfp }),
      state: join(folder, 'evaluation.safetensors'),
      signal,
      onStart: ({ total, done }) => void (progress = startProgress('image', total, done)),
      onImage: ({ class: className }) => progress?.step(className),
    });
    try {
      if (state.images.length < state.total) return undefined;
      const results = await resultsOf([state]);
      if (report) await writeReport(folder, results, { panels: await makePanels(results, dataset.root, mapsOfModel(detector, dataset.root, 1)) });
      await writeResults(folder, results);
      return results;
    } finally {
      await state.close();
    }
  } finally {
    progress?.stop();
    detector.close();
  }
}
