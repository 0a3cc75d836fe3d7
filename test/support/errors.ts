/** The error that `work` throws, or rejects with; fails when it does not. */
export async function errorOf(work: () => unknown): Promise<Error> {
  try {
    await work();
  } catch (error) {
    return error as Error;
  }
  throw new Error('expected an error, but there was none');
}
