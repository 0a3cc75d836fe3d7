// A process of a RenderPool: renders what it is sent until its parent closes the channel.
import { UserError } from '../../src/errors.ts';
import type { Answer } from './pool.ts';
import { renderSample, type SampleOptions } from './sample.ts';

process.on('message', (options: SampleOptions) => {
  let answer: Answer;
  try {
    answer = { sample: renderSample(options) };
  } catch (error) {
    answer = { message: (error as Error).message, forPerson: error instanceof UserError };
  }
  process.send!(answer);
});
