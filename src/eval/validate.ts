import type { Dataset } from '../data/dataset.ts';
import type { Gpu } from '../gpu/device.ts';
import type { LoadedMfp } from '../models/mfp/load.ts';
import { Detector } from './detector.ts';
import { evaluateShard } from './evaluate.ts';
import { type Metrics, resultsOf } from './results.ts';

/**
 * The mean metrics of a model that is in other hands: what training logs of its validation data. Nothing stays on the device.
 *
 * @param loaded its parameters may be in f32 whatever the rest is in
 * @returns the metrics that have a value, by the names of `Metrics`; undefined when `signal` was aborted
 */
export async function validateModel(gpu: Gpu, loaded: LoadedMfp, dataset: Dataset, signal?: AbortSignal): Promise<Partial<Record<keyof Metrics, number>> | undefined> {
  const detector = new Detector(gpu, loaded, { gpu: false, model: false });
  try {
    const { state } = await evaluateShard(detector, dataset, { imageAurocs: false, signal });
    try {
      if (state.images.length < state.total) return undefined;
      const { mean } = await resultsOf([state]);
      return Object.fromEntries(Object.entries(mean).filter(([, value]) => value !== null));
    } finally {
      await state.close();
    }
  } finally {
    detector.close();
  }
}
