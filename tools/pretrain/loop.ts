import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { startProgress } from '../../src/cli/progress.ts';
import { UserError } from '../../src/errors.ts';
import type { Gpu } from '../../src/gpu/device.ts';
import { writeFileAtomic } from '../../src/io/files.ts';
import { concatenate } from '../../src/ops/concatenate.ts';
import { gradients } from '../../src/ops/gradients.ts';
import { Program } from '../../src/tensor/program.ts';
import { type Tensor, freeTensor, readTensor, tensor } from '../../src/tensor/tensor.ts';
import { restoreCheckpoint, saveCheckpoint } from '../../src/train/checkpoint.ts';
import type { OptimizerConfig } from '../../src/train/config.ts';
import { RunLog, lossChart } from '../../src/train/log.ts';
import { Optimizer } from '../../src/train/optimizer.ts';
import { scheduleFactor } from '../../src/train/schedule.ts';

/** What is pretrained, as the loop sees it. */
export interface Pretraining {
  readonly name: string;
  /** What its numbers depend on besides the options of `pretrain`: a run goes on only with the same. */
  readonly settings: Readonly<Record<string, string | number>>;
  /** Trained f32 tensors by name. */
  readonly parameters: ReadonlyMap<string, Tensor>;
  /** What is minimised: the sum of the losses times these. */
  readonly lossWeights: Readonly<Record<string, number>>;
  /** Records the losses, [1] each, and what `measure` reads. */
  record(): { readonly losses: Readonly<Record<string, Tensor>>; readonly outputs: readonly Tensor[] };
  /** Writes the inputs of one step, from 0. */
  writeBatch(step: number): Promise<void>;
  /** Called after every update of the parameters. */
  afterUpdate?(): Promise<void>;
  /** Figures for the log, from the outputs of the last step. */
  measure?(outputs: readonly Float32Array[]): Readonly<Record<string, number>>;
  /** Ends what `writeBatch` has begun. */
  close(): void;
}

/** How long and how fast. */
export interface PretrainingOptions {
  readonly out: string;
  readonly steps: number;
  readonly seed: number;
  readonly optimizer: OptimizerConfig;
  readonly warmupSteps: number;
  readonly saveEvery: number;
  /** Steps between lines of the log with figures. */
  readonly measureEvery: number;
}

type Settings = Readonly<Record<string, unknown>>;

interface LoopState {
  readonly step: number;
  readonly settings: Settings;
}

/** Settings that are not the same: "batch 8 instead of 16". */
function differences(before: Settings, now: Settings): string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(now)])].flatMap((name) => {
    const [earlier, wanted] = [before, now].map((settings) => JSON.stringify(settings[name]) ?? 'none');
    return earlier === wanted ? [] : [`${name} ${earlier} instead of ${wanted}`];
  });
}

/**
 * Runs a pretraining and goes on where an earlier run in the same folder stopped. The log, the checkpoint and the loss
 * curve are in `out`.
 */
export async function pretrain(gpu: Gpu, training: Pretraining, options: PretrainingOptions): Promise<void> {
  const { out, steps, optimizer: config, saveEvery, measureEvery } = options;
  await mkdir(out, { recursive: true });
  const file = join(out, 'checkpoint.safetensors');
  const log = new RunLog(join(out, 'log.jsonl'));
  const optimizer = new Optimizer(gpu, training.parameters, config);
  const lossNames = Object.keys(training.lossWeights);
  const weights = lossNames.map((name) => tensor(gpu, [training.lossWeights[name]], [1], 'f32', `weight of ${name}`));
  const program = await Program.record(
    gpu,
    () => {
      const { losses, outputs } = training.record();
      optimizer.accumulate(gradients(lossNames.map((name, i) => ({ tensor: losses[name], gradient: weights[i] }))));
      return [lossNames.map((name) => losses[name]).reduce((joined, loss) => concatenate(joined, loss, 0)), ...outputs];
    },
    { label: training.name },
  );
  const tensors = new Map([...training.parameters, ...optimizer.moments]);
  const settings: Settings = { ...training.settings, seed: options.seed, steps, ...config, warmupSteps: options.warmupSteps };
  let step = 0;
  if (existsSync(file)) {
    const state = await restoreCheckpoint<LoopState>(gpu, file, () => tensors);
    const other = differences(state.settings, settings);
    if (other.length) throw new UserError(`${file} is of a run with ${other.join(', ')}. Choose another folder for the state of training (--work), or remove it.`);
    step = state.step;
    await log.truncate(step);
  }
  const save = (): Promise<void> => saveCheckpoint(gpu, file, tensors, { step, settings } satisfies LoopState);
  const progress = startProgress('step', steps, step);
  try {
    while (step < steps) {
      const start = performance.now();
      await training.writeBatch(step);
      const written = performance.now();
      await program.run();
      const learningRate = config.learningRate * scheduleFactor({ kind: 'cosine', warmupSteps: options.warmupSteps }, step, 0, steps);
      const { gradientNorm, applied } = await optimizer.update(step + 1, learningRate, 1);
      const losses: Record<string, number> = {};
      (await readTensor(gpu, program.outputs[0])).forEach((value, i) => (losses[lossNames[i]] = value));
      const loss = lossNames.reduce((sum, name) => sum + training.lossWeights[name] * losses[name], 0);
      if (!Number.isFinite(loss) || !applied) throw new UserError(`the loss of ${training.name} is not a number at step ${step + 1}. The last good checkpoint is ${file}.`);
      await training.afterUpdate?.();
      step++;
      const line = { step, loss, ...(lossNames.length > 1 ? losses : {}), learningRate, gradientNorm, seconds: Number(((performance.now() - start) / 1000).toFixed(3)), dataSeconds: Number(((written - start) / 1000).toFixed(3)) };
      if (training.measure && (step % measureEvery === 0 || step === steps)) {
        const outputs = [];
        for (const output of program.outputs.slice(1)) outputs.push(await readTensor(gpu, output));
        log.append({ ...line, ...training.measure(outputs) });
      } else log.append(line);
      if (step % saveEvery === 0 || step === steps) await save();
      progress.step(`loss ${loss.toFixed(3)}`);
    }
  } finally {
    progress.stop();
    training.close();
  }
  await writeFileAtomic(join(out, 'loss.svg'), lossChart(log.lines(), `${training.name} loss`));
  program.destroy();
  optimizer.destroy();
  for (const weight of weights) freeTensor(gpu, weight);
}
