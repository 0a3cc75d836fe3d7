/**
 * MFP-CLIP on WebGPU, as a library.
 *
 * `loadModel` and `Detector.detect` are all that it takes to find defects; the rest is the engine under them: a device,
 * tensors, recorded programs, ops with their gradients and an optimizer, for who builds something else on it.
 *
 * @module
 */
export { UserError } from './errors.ts';
export { type Detection, Detector, type ModelOptions, loadModel } from './eval/detector.ts';
export { type Mask, type RgbImage, decodeImage, decodeMask, readImage, readMask } from './data/image.ts';
export { type Dataset, type DatasetProblem, type Sample, checkSamples, classWords, openDataset } from './data/dataset.ts';
export { type EvaluationOptions, type ShardOptions, evaluateModel, evaluateShard } from './eval/evaluate.ts';
export { type ModelFiles, modelFiles } from './eval/identity.ts';
export { type ClassResults, type EvaluationResults, type ImageResult, type Metrics, mergeStates, metricNames, resultsOf } from './eval/results.ts';
export { resultsCsv, resultsJson, resultsMarkdown, resultsTable, writeResults } from './eval/tables.ts';
export { type HeatmapOptions, heatmapOverlay } from './io/heatmap.ts';
export { writeNpy } from './io/npy.ts';
export { type MfpConfig, defaultMfpConfig, parseMfpConfig, plainClipConfig } from './models/mfp/config.ts';
export { type LoadedMfp, type MfpSource, loadMfp } from './models/mfp/load.ts';
export { Gpu, type GpuOptions, listAdapters } from './gpu/device.ts';
export { type KernelTime, Program } from './tensor/program.ts';
export { type Shape, Tensor, asParameter, emptyTensor, freeTensor, readTensor, tensor, writeTensor } from './tensor/tensor.ts';
export { type DType } from './tensor/dtype.ts';
export { type VariantPolicy, configureVariants } from './tensor/variants.ts';
export { detach, recompute, reshape, scope } from './tensor/recording.ts';
export { activate } from './ops/activation.ts';
export { add } from './ops/add.ts';
export { attention } from './ops/attention.ts';
export { batchNorm } from './ops/batch_norm.ts';
export { binaryCrossEntropy } from './ops/binary_cross_entropy.ts';
export { cast } from './ops/cast.ts';
export { concatenate } from './ops/concatenate.ts';
export { contrastiveLoss } from './ops/contrastive_loss.ts';
export { convolution } from './ops/convolution.ts';
export { cosineSoftmax } from './ops/cosine_softmax.ts';
export { crossEntropy } from './ops/cross_entropy.ts';
export { diceLoss } from './ops/dice_loss.ts';
export { embedding } from './ops/embedding.ts';
export { exponentialScale } from './ops/exponential_scale.ts';
export { focalLoss } from './ops/focal_loss.ts';
export { gatherRows } from './ops/gather_rows.ts';
export { gemm } from './ops/gemm.ts';
export { globalAveragePool } from './ops/global_average_pool.ts';
export { gradients } from './ops/gradients.ts';
export { l2Normalize } from './ops/l2_normalize.ts';
export { layerNorm } from './ops/layer_norm.ts';
export { maskMultiply } from './ops/mask_multiply.ts';
export { maxPool } from './ops/max_pool.ts';
export { maximum } from './ops/maximum.ts';
export { neighbourhoodPool } from './ops/neighbourhood_pool.ts';
export { patchEmbedding } from './ops/patch_embedding.ts';
export { repeatRows } from './ops/repeat_rows.ts';
export { resizePosition } from './ops/resize_position.ts';
export { slice } from './ops/slice.ts';
export { sumRows } from './ops/sum_rows.ts';
export { transpose } from './ops/transpose.ts';
export { upsampleMean } from './ops/upsample_mean.ts';
export { type OptimizerConfig, type RunConfig, defaultRunConfig, parseRunConfig } from './train/config.ts';
export { Optimizer, type UpdateReport } from './train/optimizer.ts';
export { type RunOptions, type RunResult, trainMfp } from './train/run.ts';
