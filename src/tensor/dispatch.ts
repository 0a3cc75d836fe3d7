import type { DispatchRequest } from '../gpu/commands.ts';
import { dtypeBytes } from './dtype.ts';
import type { KernelCall } from './op.ts';
import { bufferOf, formatShape } from './tensor.ts';

/** A kernel call with its tensors resolved to buffer slices: what the GPU layer understands. */
export function dispatchRequest(call: KernelCall): DispatchRequest {
  return {
    kernel: call.kernel,
    conditions: call.conditions,
    constants: call.constants,
    params: call.params ?? {},
    workgroups: call.workgroups,
    slices: Object.fromEntries(
      Object.entries(call.bindings).map(([name, bound]) => [
        name,
        {
          buffer: bufferOf(bound),
          offset: bound.offset * dtypeBytes[bound.dtype],
          size: bound.bytes,
          dtype: bound.dtype,
          description: `${bound.dtype}${formatShape(bound.shape)}`,
        },
      ]),
    ),
  };
}
