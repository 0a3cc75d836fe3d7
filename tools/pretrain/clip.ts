import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../../src/errors.ts';
import { ascending, rankScores, rankingMetrics } from '../../src/eval/ranking.ts';
import type { Gpu } from '../../src/gpu/device.ts';
import { writeFileAtomic } from '../../src/io/files.ts';
import { openCheckpoint, writeSafetensors } from '../../src/io/safetensors.ts';
import { type ClipConfig, clipConfigJson, pretrainedGrid } from '../../src/models/clip/config.ts';
import { embedImage, imageTower, projectImage, runImageTower } from '../../src/models/clip/image_tower.ts';
import { imageTowerParameters, logitScaleParameter, textTowerParameters, tokenEmbeddingParameter } from '../../src/models/clip/parameters.ts';
import { runTextTower } from '../../src/models/clip/text_tower.ts';
import { type Tokenizer, clipTokenizerJson, loadTokenizer } from '../../src/models/clip/tokenizer.ts';
import { tapLayers } from '../../src/models/mfp/mfp.ts';
import { type ParameterSpec, checkParameters, loadParameters, parameterShape, storedTensors } from '../../src/nn/parameters.ts';
import { contrastiveLoss } from '../../src/ops/contrastive_loss.ts';
import { crossEntropy } from '../../src/ops/cross_entropy.ts';
import { embedding } from '../../src/ops/embedding.ts';
import { gemm } from '../../src/ops/gemm.ts';
import { l2Normalize } from '../../src/ops/l2_normalize.ts';
import { layerNorm } from '../../src/ops/layer_norm.ts';
import { slice } from '../../src/ops/slice.ts';
import { reshape } from '../../src/tensor/recording.ts';
import { RandomSource } from '../../src/tensor/random.ts';
import { type Tensor, asParameter, emptyTensor, readTensor, sizeOf, tensor, writeTensor } from '../../src/tensor/tensor.ts';
import { randomFor } from '../dataset/render/numbers.ts';
import { Batches } from './batches.ts';
import type { CaptionedImages, Cut } from './images.ts';
import type { Pretraining } from './loop.ts';
import { StartValues } from './start_values.ts';
import { learnVocabulary } from './vocabulary.ts';

/** Sizes of the embedded CLIP: small enough for two processor cores, with the same parts as ViT-L/14. */
export const smallClip = {
  vision: { width: 96, layers: 8, heads: 3, mlpWidth: 384, patchSize: 8, imageSize: 128 },
  text: { width: 96, layers: 3, heads: 3, mlpWidth: 384, context: 77 },
  jointWidth: 96,
} as const;

/**
 * Text positions that pretraining runs over: captions are short, attention is causal and only the end token is read, so
 * the positions after it change nothing.
 */
const trainedContext = 24;

/** CLIP starts at 1 / 0.07 and comes to 100 in the end; half of that is as far as a short run needs to come. */
const startingLogitScale = Math.log(50);

/** CLIP never scales logits by more than 100 (Radford et al. 2021, section 2.5). */
const largestLogitScale = Math.log(100);

/**
 * Contrast with captions teaches a tower where things are when it sees some hundred million pictures. Here there are some ten
 * thousand, so that other losses do it. What they read with is thrown away afterwards.
 *
 * - `locating`: from the patch tokens of each of these layers, which are those that MFP-CLIP taps, a Linear tells for each patch whether
 *   it shows a defect.
 * - `locatingByText`: the last of them tell the same by their products with the captions of pictures without and with a defect. It is
 *   the text tower that learns from this one: the others leave it alone, and MFP-CLIP reads the difference between its two texts.
 */
const locatingLayers = tapLayers(smallClip.vision.layers);
const lastLayer = locatingLayers.at(-1)!;
const locatingWeights: Readonly<Record<string, number>> = Object.fromEntries(locatingLayers.map((layer) => [`locating${layer}`, 1 / locatingLayers.length]));

/** Weights of the losses on whole pictures and on close-ups: what a caption names need not be in a close-up, so that there is no text there. */
const lossWeights: Readonly<Record<Cut, Readonly<Record<string, number>>>> = { whole: { contrastive: 0.1, locatingByText: 0.1, ...locatingWeights }, 'close-up': locatingWeights };

/** Parameters that only products with texts depend on. Close-ups leave them as they are. */
const ofTexts = /^(text\/|token$|logit_scale$|image\/(norm_post\.|projection$)|locate \d+\/joint\.)/;

/**
 * Side of a close-up in pixels. A defect is small and most of a picture is background: a close-up costs a quarter of the whole picture and
 * teaches nearly as much. Its patches take the positions of a square of the whole picture's.
 */
const closeUpSize = 64;

/** Share of a patch that a defect must cover to be looked for there. */
const leastCovered = 0.1;

/** OpenAI's normalisation of images. */
const mean = [0.48145466, 0.4578275, 0.40821073];
const std = [0.26862954, 0.26130258, 0.27577711];
/** What each byte of each colour becomes. */
const normalized = mean.map((of, c) => Float32Array.from({ length: 256 }, (_, byte) => (byte / 255 - of) / std[c]));

/** Which part of the model a parameter's name belongs to. */
const towers = ['image', 'text'] as const;

/** The whole model's parameters by "image/..." and "text/...", with the specs that store them under Hugging Face's names. */
export function clipSpecs(config: ClipConfig): Map<string, ParameterSpec> {
  const specs = new Map<string, ParameterSpec>();
  for (const spec of imageTowerParameters(config, 'hugging face', true)) specs.set(`image/${spec.name}`, spec);
  for (const spec of textTowerParameters(config, 'hugging face')) specs.set(`text/${spec.name}`, spec);
  specs.set('token', tokenEmbeddingParameter(config, 'hugging face'));
  specs.set('logit_scale', logitScaleParameter);
  return specs;
}

/** Start values as OpenAI's code has them (Radford et al. 2021; CLIP.initialize_parameters). */
function startValues(config: ClipConfig, name: string, spec: ParameterSpec, random: RandomSource): Float32Array {
  const values = new Float32Array(sizeOf(parameterShape(spec)));
  const fill = (deviation: number): Float32Array => {
    for (let i = 0; i < values.length; i++) values[i] = random.normal(0, deviation);
    return values;
  };
  const tower = name.startsWith('image/') ? config.vision : config.text;
  const ofBlock = tower.width ** -0.5 * (2 * tower.layers) ** -0.5;
  if (name === 'logit_scale') return values.fill(startingLogitScale);
  if (name === 'token') return fill(0.02);
  if (/norm\w*\.weight$/.test(name)) return values.fill(1);
  if (/bias$/.test(name)) return values;
  if (name.endsWith('qkv.weight') || name.endsWith('projection') || name === 'image/class' || name === 'image/position') return fill(tower.width ** -0.5);
  if (name === 'text/position') return fill(0.01);
  if (name.endsWith('out.weight') || name.endsWith('fc2.weight')) return fill(ofBlock);
  if (name.endsWith('fc1.weight')) return fill((2 * tower.width) ** -0.5);
  if (name === 'image/patch.weight') return fill((3 * config.vision.patchSize ** 2) ** -0.5);
  throw new Error(`no start value for ${name}`);
}

function freshParameters(gpu: Gpu, config: ClipConfig, specs: ReadonlyMap<string, ParameterSpec>, random: RandomSource): Map<string, Tensor> {
  const parameters = new Map<string, Tensor>();
  const structured = new StartValues(config);
  for (const [name, spec] of specs) {
    const values = startValues(config, name, spec, random);
    if (name.startsWith('image/')) structured.apply(name.slice('image/'.length), values, random);
    parameters.set(name, asParameter(tensor(gpu, values, parameterShape(spec), 'f32', name)));
  }
  return parameters;
}

function newTokenizer(images: CaptionedImages): string {
  const { vocabulary, merges } = learnVocabulary(images.allCaptions(), 1500);
  return `${JSON.stringify(clipTokenizerJson(vocabulary, merges), null, 1)}\n`;
}

async function earlierTokenizer(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new UserError(`--from: ${file} cannot be read (${(error as Error).message}). It must be a folder that an earlier run of pretraining wrote.`);
  }
}

async function earlierParameters(gpu: Gpu, file: string, specs: ReadonlyMap<string, ParameterSpec>): Promise<Map<string, Tensor>> {
  const named = [...specs].map(([name, spec]) => ({ ...spec, name }));
  const checkpoint = await openCheckpoint(file);
  try {
    checkParameters(checkpoint, named, 'pretraining');
    return new Map([...(await loadParameters(gpu, checkpoint, named, 'f32'))].map(([name, values]) => [name, asParameter(values)]));
  } finally {
    await checkpoint.close();
  }
}

function cosine(a: Float32Array, b: Float32Array): number {
  const product = (x: Float32Array, y: Float32Array): number => x.reduce((sum, value, i) => sum + value * y[i], 0);
  return product(a, b) / Math.sqrt(product(a, a) * product(b, b));
}

/** A CLIP being pretrained, with what it takes to store it. */
export interface ClipPretraining extends Pretraining {
  /** Writes a Hugging Face folder with weights in f16. */
  save(folder: string, metadata: Readonly<Record<string, string>>): Promise<void>;
}

/** How a pretraining of the CLIP differs from the usual one. */
export interface ClipPretrainingOptions {
  /** What is seen of the pictures: most of them (the default), or close-ups of defects, which are smaller. */
  readonly cut?: Cut;
  /** Folder of a CLIP of the same sizes to go on from, with its tokenizer, instead of start values. */
  readonly from?: string;
}

/**
 * Sets up contrastive pretraining on captioned images.
 *
 * @param work folder for the tokenizer while training
 * @param batch pictures per step, even: each category's captions are two, and all of them differ in what they say
 */
export async function clipPretraining(gpu: Gpu, images: CaptionedImages, work: string, batch: number, seed: number, { cut = 'whole', from }: ClipPretrainingOptions = {}): Promise<ClipPretraining> {
  const tokenizerJson = from === undefined ? newTokenizer(images) : await earlierTokenizer(join(from, 'tokenizer.json'));
  await writeFileAtomic(join(work, 'tokenizer.json'), tokenizerJson);
  const tokenizer: Tokenizer = await loadTokenizer(work);
  const config: ClipConfig = { ...smallClip, text: { ...smallClip.text, vocabulary: tokenizer.vocabularySize, endOfText: tokenizer.endId } };
  if (batch % 2) throw new UserError(`--batch ${batch}: it must be even`);
  if (cut === 'whole' && batch > 2 * images.subjects.length) throw new UserError(`--batch ${batch}: it can be at most ${2 * images.subjects.length} for whole pictures: two for each category`);
  const size = cut === 'whole' ? config.vision.imageSize : closeUpSize;
  const random = new RandomSource(seed);
  const batches = new Batches(images, { kind: 'pairs', count: batch, size, cut, seed });
  const specs = clipSpecs(config);
  const parameters = from === undefined ? freshParameters(gpu, config, specs, random) : await earlierParameters(gpu, join(from, 'model.safetensors'), specs);
  const { width, patchSize, imageSize } = config.vision;
  const locating = new Map<string, Tensor>();
  for (const layer of locatingLayers) {
    const put = (name: string, shape: readonly number[], value: () => number): void =>
      void locating.set(`locate ${layer}/${name}`, asParameter(tensor(gpu, Array.from({ length: sizeOf(shape) }, value), shape, 'f32', `locate ${layer}/${name}`)));
    put('norm.weight', [width], () => 1);
    put('norm.bias', [width], () => 0);
    put('weight', [width, 2], () => random.normal(0, width ** -0.5));
    put('bias', [2], () => 0);
    if (layer !== lastLayer) continue;
    put('joint.weight', [width, config.jointWidth], () => random.normal(0, width ** -0.5));
    put('joint.bias', [2], () => 0);
  }
  const [image, text] = towers.map((tower) => new Map([...parameters].filter(([name]) => name.startsWith(`${tower}/`)).map(([name, value]) => [name.slice(tower.length + 1), value])));
  const pixels = emptyTensor(gpu, [batch, 3, size, size], 'f32', 'images');
  const ids = emptyTensor(gpu, [batch, trainedContext], 'u32', 'token ids');
  const ends = emptyTensor(gpu, [batch], 'u32', 'end of text');
  const [grid, wholeGrid] = [size / patchSize, pretrainedGrid(config)];
  const places = emptyTensor(gpu, [1 + grid * grid], 'u32', 'rows of the position embedding');
  const patches = batch * grid * grid;
  const target = emptyTensor(gpu, [patches], 'u32', 'patches with a defect');
  let isHurt = new Uint32Array(patches);
  // Rows that take the mean over the captions of the pictures without defect, which are the even ones, and over the others.
  const meanOfStates = tensor(gpu, Array.from({ length: 2 * batch }, (_, i) => (i % 2 === Math.floor(i / batch) ? 2 / batch : 0)), [2, batch], 'f32', 'mean of states');
  return {
    name: 'CLIP pretraining',
    settings: { pictures: images.key, batch, cut, from: from ?? 'start values' },
    parameters: new Map([...parameters, ...locating].filter(([name]) => cut === 'whole' || !ofTexts.test(name))),
    lossWeights: lossWeights[cut],
    record() {
      const tower = imageTower(config, new Map([...image, ['position', embedding(places, image.get('position')!)]]));
      const { taps, tokens } = runImageTower(tower, embedImage(tower, pixels), locatingLayers);
      const parameter = (layer: number, name: string): Tensor => locating.get(`locate ${layer}/${name}`)!;
      const normed = locatingLayers.map((layer, i) => layerNorm(reshape(taps[i], [patches, width]), parameter(layer, 'norm.weight'), parameter(layer, 'norm.bias')));
      const logits = locatingLayers.map((layer, i) => gemm(normed[i], parameter(layer, 'weight'), { bias: parameter(layer, 'bias') }));
      const located = Object.fromEntries(locatingLayers.map((layer, i) => [`locating${layer}`, crossEntropy(logits[i], target)]));
      if (cut === 'close-up') return { losses: located, outputs: logits };
      const shortText = new Map(text);
      shortText.set('position', slice(text.get('position')!, 0, 0, trainedContext));
      const texts = runTextTower({ config, parameters: shortText }, embedding(ids, parameters.get('token')!), ends);
      const [images, words] = [l2Normalize(projectImage(tower, tokens)), l2Normalize(texts)];
      const states = gemm(meanOfStates, words);
      const byText = gemm(normed.at(-1)!, gemm(parameter(lastLayer, 'joint.weight'), states, { transposeB: true }), { bias: parameter(lastLayer, 'joint.bias') });
      const contrastive = contrastiveLoss(images, words, reshape(parameters.get('logit_scale')!, [1]));
      return { losses: { contrastive, locatingByText: crossEntropy(byText, target), ...located }, outputs: [...logits, images, words, states] };
    },
    async writeBatch(step) {
      const pairs = await batches.batch(step);
      const place = randomFor(seed, 'place', step);
      const [left, top] = [0, 1].map(() => place.integer(0, wholeGrid - grid));
      const rows = Array.from({ length: grid * grid }, (_, i) => 1 + (top + Math.floor(i / grid)) * wholeGrid + left + (i % grid));
      writeTensor(gpu, places, Uint32Array.from([0, ...rows]));
      const values = new Float32Array(batch * 3 * size * size);
      isHurt = new Uint32Array(patches);
      pairs.forEach(({ pixels: rgb, mask }, i) => {
        const covered = new Float32Array(grid * grid);
        for (let y = 0; y < size; y++) for (let x = 0; x < size; x++) covered[Math.floor(y / patchSize) * grid + Math.floor(x / patchSize)] += mask[y * size + x] / patchSize ** 2;
        covered.forEach((share, patch) => (isHurt[i * grid * grid + patch] = Number(share > leastCovered)));
        const area = size * size;
        for (let c = 0; c < 3; c++) for (let p = 0; p < area; p++) values[(i * 3 + c) * area + p] = normalized[c][rgb[3 * p + c]];
      });
      writeTensor(gpu, pixels, values);
      writeTensor(gpu, target, isHurt);
      if (cut === 'close-up') return;
      const texts = pairs.map(({ caption }) => tokenizer.encode(caption, trainedContext, { truncate: true }));
      writeTensor(gpu, ids, Uint32Array.from(texts.flatMap((text) => [...text.ids])));
      writeTensor(gpu, ends, texts.map((text) => text.endOfText));
    },
    close: () => batches.close(),
    async afterUpdate() {
      if (cut === 'close-up') return;
      const logitScale = parameters.get('logit_scale')!;
      if ((await readTensor(gpu, logitScale))[0] > largestLogitScale) writeTensor(gpu, logitScale, [largestLogitScale]);
    },
    measure(outputs): Readonly<Record<string, number>> {
      const logits = outputs.slice(0, locatingLayers.length);
      // Score of a patch: how much likelier a defect is than none, over all layers.
      const scores: readonly number[][] = [[], []];
      isHurt.forEach((hurt, patch) => scores[hurt].push(logits.reduce((sum, all) => sum + all[2 * patch + 1] - all[2 * patch], 0)));
      const ranking = rankScores(ascending(Float32Array.from(scores[1])), ascending(Float32Array.from(scores[0])));
      const patchAuroc = rankingMetrics(ranking)?.auroc ?? Number.NaN;
      if (cut === 'close-up') return { patchAuroc };
      const [imageRows, textRows, states] = outputs.slice(locatingLayers.length);
      let hits = 0;
      let defectHits = 0;
      for (let i = 0; i < batch; i++) {
        const row = (rows: Float32Array, of: number): Float32Array => rows.subarray(of * config.jointWidth, (of + 1) * config.jointWidth);
        const similarities = Array.from({ length: batch }, (_, j) => cosine(row(imageRows, i), row(textRows, j)));
        if (similarities.indexOf(Math.max(...similarities)) === i) hits++;
        // The other of the pair shows the same category, with a defect where this one has none.
        if (similarities[i] > similarities[i ^ 1]) defectHits++;
      }
      return {
        imageToTextAccuracy: hits / batch,
        normalOrAbnormalAccuracy: defectHits / batch,
        stateCosine: cosine(states.subarray(0, config.jointWidth), states.subarray(config.jointWidth)),
        patchAuroc,
      };
    },
    async save(folder, metadata) {
      const values = new Map<string, Float32Array>();
      for (const [name, parameter] of parameters) values.set(name, await readTensor(gpu, parameter));
      const stored = [...specs].flatMap(([name, spec]) => storedTensors([{ ...spec, name }], (of) => values.get(of)!));
      // The logit scale stays exact; everything else fits f16.
      await writeSafetensors(join(folder, 'model.safetensors'), stored.map(({ name, shape, data }) => ({ name, shape, data, dtype: name === 'logit_scale' ? ('F32' as const) : ('F16' as const) })), { format: 'pt', ...metadata });
      await writeFileAtomic(join(folder, 'config.json'), `${JSON.stringify(clipConfigJson(config), null, 2)}\n`);
      await writeFileAtomic(join(folder, 'tokenizer.json'), tokenizerJson);
      await writeFileAtomic(join(folder, 'preprocessor_config.json'), `${JSON.stringify({ image_processor_type: 'CLIPImageProcessor', image_mean: mean, image_std: std, size: { shortest_edge: imageSize }, crop_size: { height: imageSize, width: imageSize }, resample: 3, do_resize: true, do_center_crop: true, do_normalize: true, do_rescale: true, do_convert_rgb: true, rescale_factor: 1 / 255 }, null, 2)}\n`);
    },
  };
}
