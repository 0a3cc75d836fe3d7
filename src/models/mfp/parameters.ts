import { UserError } from '../../errors.ts';
import type { Gpu } from '../../gpu/device.ts';
import { openSafetensors, writeSafetensors } from '../../io/safetensors.ts';
import { type ParameterSpec, type ParameterValues, checkParameters, parameterShape, readParameter, storedTensors, toDeviceOrder } from '../../nn/parameters.ts';
import { RandomSource } from '../../tensor/random.ts';
import { type Shape, type Tensor, sizeOf, tensor } from '../../tensor/tensor.ts';
import type { ClipConfig } from '../clip/config.ts';
import { type MfpConfig, parseMfpConfig } from './config.ts';

/** Widths that MFP's parameters depend on (the symbols of the paper). */
export interface MfpSizes {
  /** Dv */
  readonly visionWidth: number;
  /** Dt */
  readonly textWidth: number;
  /** De */
  readonly jointWidth: number;
  /** Dc */
  readonly cnnWidth: number;
  /** n, text positions */
  readonly context: number;
}

/** The sizes of MFP-CLIP on top of a CLIP and a CNN. */
export function mfpSizes(clip: ClipConfig, cnnWidth: number): MfpSizes {
  return { visionWidth: clip.vision.width, textWidth: clip.text.width, jointWidth: clip.jointWidth, cnnWidth, context: clip.text.context };
}

/** Number of taps and adapters: after each quarter of the image tower. */
export const stageCount = 4;

/** How an untrained tensor starts. */
type Start = 'linear' | 'identity first' | 'prompt tokens';

interface TrainedSpec extends ParameterSpec {
  readonly start: Start;
  /** Inputs of the Linear that it belongs to: the bound of its uniform start. */
  readonly inputs: number;
}

/**
 * The trained tensors of a configuration, in the order of the file. Parts that an option switches off have none.
 * The K Linears of self prompting are one GEMM on the device and K tensors in the file.
 */
export function mfpParameters(config: MfpConfig, sizes: MfpSizes): TrainedSpec[] {
  const { visionWidth, textWidth, jointWidth, cnnWidth, context } = sizes;
  const linear = (prefix: string, out: number, input: number, start: Start = 'linear'): TrainedSpec[] => [
    { name: `${prefix}.weight`, parts: [{ name: `${prefix}.weight`, shape: [out, input] }], layout: 'transposed', start, inputs: input },
    { name: `${prefix}.bias`, parts: [{ name: `${prefix}.bias`, shape: [out] }], layout: 'as stored', start, inputs: input },
  ];
  const specs: TrainedSpec[] = [];
  if (config.i2tp.enabled) {
    specs.push(...linear('i2tp.image_proj', textWidth, cnnWidth));
    specs.push(...(config.i2tp.concat === 'feature' ? linear('i2tp.fuse', textWidth, 2 * textWidth, 'identity first') : linear('i2tp.fuse', context, context + 1, 'identity first')));
  }
  if (config.sp.enabled) {
    const prompts = Array.from({ length: config.sp.count }, (_, k) => `sp.proj.${k}`);
    specs.push(
      { name: 'sp.proj.weight', parts: prompts.map((name) => ({ name: `${name}.weight`, shape: [visionWidth, cnnWidth] })), layout: 'transposed', start: 'linear', inputs: cnnWidth },
      { name: 'sp.proj.bias', parts: prompts.map((name) => ({ name: `${name}.bias`, shape: [visionWidth] })), layout: 'as stored', start: 'linear', inputs: cnnWidth },
      { name: 'sp.tokens', parts: [{ name: 'sp.tokens', shape: [config.sp.count, visionWidth] }], layout: 'as stored', start: 'prompt tokens', inputs: 0 },
    );
  }
  const hidden = config.adapter.hidden ?? jointWidth;
  for (let stage = 0; config.adapter.enabled && stage < stageCount; stage++) {
    specs.push(...linear(`adapter.${stage}.fc1`, hidden, visionWidth), ...linear(`adapter.${stage}.fc2`, jointWidth, hidden));
  }
  if (config.mp.enabled) specs.push(...linear('mp.fuse', visionWidth, 2 * visionWidth, 'identity first'));
  return specs;
}

/**
 * Start values of an untrained model, in device order: as torch.nn.Linear (Kaiming uniform with a = √5, which is
 * uniform within ±1/√inputs for weights and biases), [I 0] where two things are fused, so that an untrained model is
 * plain CLIP, and N(0, 0.02²) for learned prompt tokens.
 */
export function initialMfpValues(config: MfpConfig, sizes: MfpSizes, seed: number): ParameterValues {
  const random = new RandomSource(seed);
  const result: ParameterValues = new Map();
  for (const spec of mfpParameters(config, sizes)) {
    const shape = parameterShape(spec);
    const values = new Float32Array(sizeOf(shape));
    if (spec.start === 'prompt tokens') for (let i = 0; i < values.length; i++) values[i] = random.normal(0, 0.02);
    else if (spec.start === 'linear') for (let i = 0; i < values.length; i++) values[i] = random.uniform(-1, 1) / Math.sqrt(spec.inputs);
    // On the device a weight is [in, out]: its first rows are the identity.
    else if (shape.length === 2) for (let i = 0; i < shape[1]; i++) values[i * shape[1] + i] = 1;
    result.set(spec.name, { shape, values });
  }
  return result;
}

/** Puts values on the device. */
export function uploadMfp(gpu: Gpu, values: ParameterValues, dtype: 'f32' | 'f16'): Map<string, Tensor> {
  return new Map([...values].map(([name, { shape, values: numbers }]) => [name, tensor(gpu, numbers, shape, dtype, name)]));
}

/** A trained model as read from its file. */
export interface MfpCheckpoint {
  readonly config: MfpConfig;
  /** In device order. */
  readonly values: ParameterValues;
  /** Everything else in the file's metadata. */
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Reads `mfp.safetensors`.
 *
 * @param sizesFor gives the sizes of the CLIP and CNN that it is to be used with; throws when its configuration needs more
 * @throws UserError naming the file and the tensor or field that is wrong or belongs to another CLIP or CNN
 */
export async function readMfp(file: string, sizesFor: (config: MfpConfig) => MfpSizes): Promise<MfpCheckpoint> {
  const checkpoint = await openSafetensors(file);
  try {
    const { config: json, ...metadata } = checkpoint.metadata;
    if (json === undefined) throw new UserError(`${file}: its metadata has no "config"; is this an mfp.safetensors of this project?`);
    let parsed: unknown;
    try {
      parsed = JSON.parse(json);
    } catch (error) {
      throw new UserError(`${file}: the "config" in its metadata is not valid JSON: ${(error as Error).message}`);
    }
    const config = parseMfpConfig(parsed, file);
    const specs = mfpParameters(config, sizesFor(config));
    checkParameters(checkpoint, specs, 'its configuration with this CLIP and CNN');
    const values: ParameterValues = new Map();
    for (const spec of specs) values.set(spec.name, { shape: parameterShape(spec), values: toDeviceOrder(spec, await readParameter(checkpoint, spec)) });
    return { config, values, metadata };
  } finally {
    await checkpoint.close();
  }
}

/** Trained tensors in the file's names and layout (PyTorch's). */
export function storedMfp(config: MfpConfig, sizes: MfpSizes, values: (name: string) => Float32Array): { name: string; shape: Shape; data: Float32Array }[] {
  return storedTensors(mfpParameters(config, sizes), values);
}

/** Writes `mfp.safetensors`; atomic. */
export async function writeMfp(file: string, config: MfpConfig, sizes: MfpSizes, values: (name: string) => Float32Array, metadata: Readonly<Record<string, string>> = {}): Promise<void> {
  const tensors = storedMfp(config, sizes, values).map(({ name, shape, data }) => ({ name, shape, dtype: 'F32' as const, data }));
  await writeSafetensors(file, tensors, { ...metadata, config: JSON.stringify(config) });
}
