// A process that draws the batches of one run.
import { answerTasks } from '../dataset/pool.ts';
import { categoryOf } from '../dataset/sample.ts';
import { type BatchTask, drawBatch } from './batches.ts';
import { CaptionedImages } from './images.ts';

let images: CaptionedImages | undefined;

answerTasks(({ pool, subjects, step, ...options }: BatchTask) => {
  images ??= new CaptionedImages(subjects.map(({ category, defects }) => ({ category: categoryOf(category), defects })), pool);
  return drawBatch(images, options, step);
});
