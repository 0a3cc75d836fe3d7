import type { Dataset } from '../data/dataset.ts';
import type { Gpu } from '../gpu/device.ts';
import type { LoadedMfp } from '../models/mfp/load.ts';
import { Detector } from './detector.ts';
import { evaluateModel } from './evaluate.ts';
import type { Metrics } from './results.ts';

/**
 * The mean metrics of a model that is in other hands: what training logs of its validation data. Nothing stays on the device.
 *
 * @param loaded its parameters may be in f32 whatever the rest is in
 * @returns the metrics that have a value, by the names of `Metrics`
 */
export async function validateModel(gpu: Gpu, loaded: LoadedMfp, dataset: Dataset): Promise<Partial<Record<keyof Metrics, number>>> {
  const detector = new Detector(gpu, loaded, { gpu: false, model: false });
  try {
    const { mean } = await evaluateModel(detector, dataset, { imageAurocs: false });
    return Object.fromEntries(Object.entries(mean).filter(([, value]) => value !== null));
  } finally {
    detector.close();
  }
}
