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

try {
  await program.parseAsync();
} catch (error) {
  // A mistake of the person's gets one clear line; a mistake of ours gets the trace.
  process.stderr.write(error instanceof UserError ? `mfp-clip: ${error.message}\n` : `mfp-clip: ${(error as Error).stack}\n`);
  process.exitCode = 1;
}
