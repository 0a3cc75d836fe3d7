import { UserError } from '../errors.ts';
import type { Gpu } from '../gpu/device.ts';
import { openSafetensors, writeSafetensors } from '../io/safetensors.ts';
import { type Tensor, formatShape, readTensor, writeTensor } from '../tensor/tensor.ts';

/**
 * Writes everything that a run needs to go on with the same bits: tensors in f32 and a state as JSON. Atomic: a run that
 * is killed meanwhile leaves the checkpoint before.
 *
 * @param tensors by name, in device order
 * @param state goes into the file's metadata under "state"
 */
export async function saveCheckpoint(gpu: Gpu, file: string, tensors: ReadonlyMap<string, Tensor>, state: unknown): Promise<void> {
  const stored = [];
  for (const [name, tensor] of tensors) stored.push({ name, dtype: 'F32' as const, shape: tensor.shape, data: await readTensor(gpu, tensor) });
  await writeSafetensors(file, stored, { state: JSON.stringify(state) });
}

/**
 * Reads the state of a checkpoint and writes its tensors into those of the run.
 *
 * @param tensorsFor gives the run's tensors once the state is known
 * @throws UserError naming the file and the tensor that is missing or of another shape
 */
export async function restoreCheckpoint<State>(gpu: Gpu, file: string, tensorsFor: (state: State) => Promise<ReadonlyMap<string, Tensor>> | ReadonlyMap<string, Tensor>): Promise<State> {
  const checkpoint = await openSafetensors(file);
  try {
    const json = checkpoint.metadata.state;
    if (json === undefined) throw new UserError(`${file}: its metadata has no "state"; is this the checkpoint of a training run?`);
    let state: State;
    try {
      state = JSON.parse(json) as State;
    } catch (error) {
      throw new UserError(`${file}: the "state" in its metadata is not valid JSON: ${(error as Error).message}`);
    }
    const tensors = await tensorsFor(state);
    for (const [name, { shape }] of tensors) {
      const found = checkpoint.tensors.get(name);
      if (!found || formatShape(found.shape) !== formatShape(shape)) {
        throw new UserError(`${file}: the run needs a tensor "${name}" of the shape ${formatShape(shape)}, the checkpoint has ${found ? formatShape(found.shape) : 'none'}; was it made with another configuration?`);
      }
    }
    for (const [name, tensor] of tensors) writeTensor(gpu, tensor, await checkpoint.readFloat32(name));
    return state;
  } finally {
    await checkpoint.close();
  }
}
