/**
 * An error that the person running the program can act on: a wrong file, flag, tensor or adapter.
 * Its message says what is wrong, where, and what to do. The command line prints it without a stack trace.
 */
export class UserError extends Error {
  override readonly name = 'UserError';
}
