import type { Gpu } from '../gpu/device.ts';
import { bufferSize } from '../gpu/memory.ts';
import { gridOf } from '../models/clip/clip.ts';
import type { ClipConfig } from '../models/clip/config.ts';
import { needsCnn } from '../models/mfp/config.ts';
import { mfpFromSizes } from '../models/mfp/from_sizes.ts';
import { mfpText } from '../models/mfp/mfp.ts';
import type { ResnetConfig } from '../models/resnet/config.ts';
import { Program } from '../tensor/program.ts';
import { type Tensor, asParameter, declaredTensor } from '../tensor/tensor.ts';
import { type RunConfig, mfpConfigOf, rateFactorOf } from './config.ts';
import { cnnFeatures } from './examples.ts';
import { stepInputs, trainingStep } from './mfp_trainer.ts';
import { accumulateGradients, optimizerTensors, recordUpdate } from './optimizer.ts';

/** Device memory of a training run, in bytes, and its parts. */
export interface TrainingPlan {
  /** Frozen: CLIP's towers and the CNN. */
  readonly weights: number;
  /** Trained tensors, their gradients and Adam's moments. */
  readonly trained: number;
  /** What is written before each pass: images, masks, texts. */
  readonly inputs: number;
  /** Intermediates of one forward and backward pass. */
  readonly intermediates: number;
  /** Intermediates of the programs beside it: CNN features, the update, and texts where no image takes part in them. */
  readonly others: number;
  readonly total: number;
  /** Dispatches of one forward and backward pass. */
  readonly dispatches: number;
}

/** Sizes of the frozen networks. */
export interface FrozenSizes {
  readonly clip: ClipConfig;
  /** undefined where the run loads none. */
  readonly cnn: ResnetConfig | undefined;
  /** What the CLIP is called in messages: its path. */
  readonly clipName: string;
}

const bytesOf = (tensors: Iterable<Tensor | undefined>): number => [...tensors].reduce((sum, tensor) => sum + (tensor ? bufferSize(tensor.bytes) : 0), 0);

/**
 * The device memory that a training run needs, from the plans of its programs: nothing is loaded, allocated or run. The
 * intermediates of resizing photos come on top while a run loads them, three bytes per pixel and some more, and those of a forward pass
 * of one image while it is measured on validation data.
 *
 * @param gpu the adapter decides which kernel variants run, and so which scratch memory they need
 * @throws UserError when the configuration does not fit the CLIP
 */
export async function planTraining(gpu: Gpu, { clip, cnn: resnet, clipName }: FrozenSizes, run: RunConfig): Promise<TrainingPlan> {
  const config = mfpConfigOf(run);
  const { batch, precision, recompute } = run.training;
  const declared = mfpFromSizes(clip, resnet, config, gridOf(clip, config.image.size, clipName), precision, declaredTensor);
  const { model, sizes, cnn, weights } = declared;
  for (const parameter of model.parameters.values()) asParameter(parameter);
  const optimizer = optimizerTensors(model.parameters, declaredTensor, (name) => rateFactorOf(run.optimizer, name));
  const { seeds, ...inputs } = stepInputs(declared, batch, declaredTensor);
  const step = await Program.plan(gpu, () => trainingStep(declared, recompute, { seeds, ...inputs }, (gradientOf) => accumulateGradients(model.parameters, optimizer, gradientOf)));
  const loaded = [declaredTensor([1, 3, config.image.size, config.image.size], 'f32', 'image')];
  const others = [await Program.plan(gpu, () => recordUpdate(model.parameters, optimizer, run.optimizer))];
  if (cnn && needsCnn(config)) {
    const image = declaredTensor([1, 3, config.cnn.size, config.cnn.size], 'f32', 'CNN image');
    loaded.push(image);
    others.push(await Program.plan(gpu, () => cnnFeatures(cnn, image, precision)));
  }
  if (!config.i2tp.enabled) {
    const tokens = declaredTensor([2, sizes.context, sizes.textWidth], precision, 'token embeddings');
    const ends = declaredTensor([2], 'u32', 'end of text');
    loaded.push(tokens, ends);
    others.push(await Program.plan(gpu, () => mfpText(model, tokens, ends, undefined)));
  }
  const { gradients, firstMoments, secondMoments, hyper, norms, limits } = optimizer;
  const parts = {
    weights: bytesOf(weights),
    trained: [model.parameters, gradients, firstMoments, secondMoments].reduce((sum, tensors) => sum + bytesOf(tensors.values()), 0) + bytesOf([...hyper.values(), norms, limits]),
    inputs: bytesOf([...Object.values(inputs), ...seeds.values(), ...loaded]),
    intermediates: step.memory.slots.reduce((sum, bytes) => sum + bufferSize(bytes), 0),
    others: others.flatMap(({ memory }) => memory.slots).reduce((sum, bytes) => sum + bufferSize(bytes), 0),
  };
  return { ...parts, total: Object.values(parts).reduce((sum, bytes) => sum + bytes, 0), dispatches: step.dispatches };
}
