import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { startProgress } from '../../src/cli/progress.ts';
import { UserError } from '../../src/errors.ts';
import type { Gpu } from '../../src/gpu/device.ts';
import { writeFileAtomic } from '../../src/io/files.ts';
import { Program } from '../../src/tensor/program.ts';
import { RandomSource } from '../../src/tensor/random.ts';
import { type Tensor, emptyTensor, readTensor, writeTensor } from '../../src/tensor/tensor.ts';
import { gradients } from '../../src/ops/gradients.ts';
import { restoreCheckpoint, saveCheckpoint } from '../../src/train/checkpoint.ts';
import type { OptimizerConfig } from '../../src/train/config.ts';
import { RunLog, lossChart } from '../../src/train/log.ts';
import { Optimizer } from '../../src/train/optimizer.ts';
import { scheduleFactor } from '../../src/train/schedule.ts';

/** What is pretrained, as the loop sees it. */
export interface Pretraining {
  readonly name: string;
  /** Trained f32 tensors by name. */
  readonly parameters: ReadonlyMap<string, Tensor>;
  /** Records the loss [1], and what `measure` reads. */
  record(): { readonly loss: Tensor; readonly outputs: readonly Tensor[] };
  /** Writes the inputs of one step. */
  writeBatch(random: RandomSource): Promise<void> | void;
  /** Called after every update of the parameters. */
  afterUpdate?(): Promise<void>;
  /** Figures for the log, from the outputs of the last step. */
  measure?(outputs: readonly Float32Array[]): Readonly<Record<string, number>>;
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

interface LoopState {
  readonly step: number;
  readonly random: readonly number[];
  readonly settings: string;
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
  const seed = emptyTensor(gpu, [1], 'f32', 'gradient of the loss');
  writeTensor(gpu, seed, [1]);
  const program = await Program.record(
    gpu,
    () => {
      const { loss, outputs } = training.record();
      optimizer.accumulate(gradients([{ tensor: loss, gradient: seed }]));
      return [loss, ...outputs];
    },
    { label: training.name },
  );
  const tensors = new Map([...training.parameters, ...optimizer.moments]);
  const settings = JSON.stringify({ seed: options.seed, steps, config });
  let step = 0;
  let random = new RandomSource(options.seed);
  if (existsSync(file)) {
    const state = await restoreCheckpoint<LoopState>(gpu, file, () => tensors);
    if (state.settings !== settings) throw new UserError(`${file} was made with other settings (${state.settings}). Choose another --out, or remove it.`);
    step = state.step;
    random = new RandomSource(state.random);
    await log.truncate(step);
  }
  const save = (): Promise<void> => saveCheckpoint(gpu, file, tensors, { step, random: random.state, settings } satisfies LoopState);
  const progress = startProgress('step', steps, step);
  while (step < steps) {
    const start = performance.now();
    await training.writeBatch(random);
    const written = performance.now();
    await program.run();
    const learningRate = config.learningRate * scheduleFactor({ kind: 'cosine', warmupSteps: options.warmupSteps }, step, 0, steps);
    const { gradientNorm, applied } = await optimizer.update(step + 1, learningRate, 1);
    const [loss] = await readTensor(gpu, program.outputs[0]);
    if (!Number.isFinite(loss) || !applied) throw new UserError(`the loss of ${training.name} is not a number at step ${step + 1}. The last good checkpoint is ${file}.`);
    await training.afterUpdate?.();
    step++;
    const line = { step, loss, learningRate, gradientNorm, seconds: Number(((performance.now() - start) / 1000).toFixed(3)), dataSeconds: Number(((written - start) / 1000).toFixed(3)) };
    if (training.measure && (step % measureEvery === 0 || step === steps)) {
      const outputs = [];
      for (const output of program.outputs.slice(1)) outputs.push(await readTensor(gpu, output));
      log.append({ ...line, ...training.measure(outputs) });
    } else log.append(line);
    if (step % saveEvery === 0 || step === steps) await save();
    progress.step(`loss ${loss.toFixed(3)}`);
  }
  progress.stop();
  await writeFileAtomic(join(out, 'loss.svg'), lossChart(log.lines(), `${training.name} loss`));
  program.destroy();
  optimizer.destroy();
}
