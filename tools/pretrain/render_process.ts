// Renders pictures for the pool in a process of its own (threads would need a TypeScript loader that Node 20 gives them not).
import { type SampleOptions, renderSample } from '../dataset/sample.ts';

process.on('message', (jobs: readonly SampleOptions[]) => {
  process.send!(
    jobs.map((job) => {
      try {
        return Buffer.from(renderSample(job).image).toString('base64');
      } catch {
        // A defect that no draw made visible: the pool takes another seed.
        return undefined;
      }
    }),
  );
});
