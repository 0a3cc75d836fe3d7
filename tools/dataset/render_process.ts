// A process of a render pool.
import { answerTasks } from './pool.ts';
import { renderSample } from './sample.ts';

answerTasks(renderSample);
