#!/usr/bin/env node
import { Command } from 'commander';
import { readFileSync } from 'node:fs';
import { UserError } from '../errors.ts';
import { ablateCommand } from './ablate.ts';
import { benchCommand } from './bench.ts';
import { benchFusionCommand } from './bench_fusion.ts';
import { checkCommand } from './check.ts';
import { detectCommand } from './detect.ts';
import { doctorCommand } from './doctor.ts';
import { evalCommand } from './eval.ts';
import { figuresCommand } from './figures.ts';
import { mergeCommand } from './merge.ts';
import { type DeviceFlags, checkForcedVariants } from './options.ts';
import { planCommand } from './plan.ts';
import { profileCommand } from './profile.ts';
import { trainCommand } from './train.ts';

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string };

const program = new Command('mfp-clip')
  .description('Zero-shot industrial anomaly detection with MFP-CLIP on WebGPU: a photo and the name of the object in it give a score and a map of the defect.')
  .version(version)
  // Here and in bench: what follows "bench fusion" is that command's, though bench has options of the same names.
  .enablePositionalOptions()
  .showHelpAfterError('(run with --help for all options)')
  .hook('preAction', async (_program, command) => {
    const { variant } = command.opts<Partial<DeviceFlags>>();
    if (variant) await checkForcedVariants(variant);
  })
  .addCommand(detectCommand())
  .addCommand(trainCommand())
  .addCommand(planCommand())
  .addCommand(evalCommand())
  .addCommand(mergeCommand())
  .addCommand(figuresCommand())
  .addCommand(ablateCommand())
  .addCommand(checkCommand())
  .addCommand(benchCommand().enablePositionalOptions().addCommand(benchFusionCommand()))
  .addCommand(profileCommand())
  .addCommand(doctorCommand());

// Whoever reads the results may leave early, as head does: then this ends too, with the exit code of a program that a closed pipe ended
// (128 + SIGPIPE). What is in files stays whole, for each is written before its line is printed.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') process.stderr.write(`mfp-clip: cannot write to standard output: ${error.message}\n`);
  process.exit(error.code === 'EPIPE' ? 141 : 1);
});
// Messages that nobody reads are no reason to end a training.
process.stderr.on('error', () => {});

try {
  await program.parseAsync();
} catch (error) {
  // A mistake of the person's gets one clear line; a mistake of ours gets the trace.
  process.stderr.write(error instanceof UserError ? `mfp-clip: ${error.message}\n` : `mfp-clip: ${(error as Error).stack}\n`);
  process.exitCode = 1;
}
