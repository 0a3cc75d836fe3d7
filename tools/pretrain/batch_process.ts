// A process that draws batches.
import { drawTask } from './batches.ts';
import { answerTasks } from '../dataset/pool.ts';

answerTasks(drawTask);
