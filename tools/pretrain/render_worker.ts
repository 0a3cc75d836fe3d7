// Renders pictures for the pool in a thread of its own.
import { parentPort } from 'node:worker_threads';
import { type SampleOptions, renderSample } from '../dataset/sample.ts';

parentPort!.on('message', (jobs: readonly SampleOptions[]) => {
  parentPort!.postMessage(
    jobs.map((job) => {
      try {
        return renderSample(job).image;
      } catch {
        // A defect that no draw made visible: the pool takes another seed.
        return undefined;
      }
    }),
  );
});
