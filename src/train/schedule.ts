import type { ScheduleConfig } from './config.ts';

/**
 * Factor on the learning rate.
 *
 * @param step updates made so far
 * @param epoch passes over the data finished so far
 * @param totalSteps updates of the whole run
 */
export function scheduleFactor({ kind, warmupSteps }: ScheduleConfig, step: number, epoch: number, totalSteps: number): number {
  const warm = Math.min(1, (step + 1) / (warmupSteps + 1));
  switch (kind) {
    case 'constant':
      return warm;
    case 'inverse epoch':
      return warm / (epoch + 1);
    case 'cosine': {
      const progress = Math.min(1, Math.max(0, step - warmupSteps) / Math.max(1, totalSteps - warmupSteps));
      return warm * 0.5 * (1 + Math.cos(Math.PI * progress));
    }
  }
}
