/**
 * MFP-CLIP on WebGPU, as a library.
 *
 * `loadModel` and `Detector.detect` are all that it takes to find defects; the rest is the engine under them: a device,
 * tensors, recorded programs and ops, for who builds something else on it.
 *
 * @module
 */
export { UserError } from './errors.ts';
export { type Detection, Detector, type ModelOptions, loadModel } from './eval/detector.ts';
export { type Mask, type RgbImage, decodeImage, decodeMask, readImage, readMask } from './data/image.ts';
export { type Dataset, type DatasetProblem, type Sample, checkSamples, classWords, openDataset } from './data/dataset.ts';
export { type EvaluationOptions, type ShardOptions, evaluateModel, evaluateShard } from './eval/evaluate.ts';
export { type ClassResults, type EvaluationResults, type ImageResult, type Metrics, mergeStates, metricNames, resultsOf } from './eval/results.ts';
export { resultsCsv, resultsJson, resultsMarkdown, resultsTable, writeResults } from './eval/tables.ts';
export { type HeatmapOptions, heatmapOverlay } from './io/heatmap.ts';
export { writeNpy } from './io/npy.ts';
export { type MfpConfig, defaultMfpConfig, parseMfpConfig, plainClipConfig } from './models/mfp/config.ts';
export { type LoadedMfp, type MfpSource, loadMfp } from './models/mfp/load.ts';
export { type RunConfig, defaultRunConfig, parseRunConfig } from './train/config.ts';
export { type RunOptions, type RunResult, trainMfp } from './train/run.ts';
export { Gpu, type GpuOptions, listAdapters } from './gpu/device.ts';
export { type KernelTime, Program } from './tensor/program.ts';
export { type Shape, Tensor, asParameter, emptyTensor, freeTensor, readTensor, tensor, writeTensor } from './tensor/tensor.ts';
export { type DType } from './tensor/dtype.ts';
export { type VariantPolicy, configureVariants } from './tensor/variants.ts';
