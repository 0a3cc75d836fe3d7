import { UserError } from './errors.ts';

/** What a field of a configuration may be. */
export interface Rule {
  check(value: unknown): boolean;
  /** Ends the sentence "it must be". */
  readonly want: string;
}

/** Rules by section and field. */
export type Rules = Readonly<Record<string, Readonly<Record<string, Rule>>>>;

export const flag: Rule = { check: (value) => typeof value === 'boolean', want: 'true or false' };
export const positiveInteger: Rule = { check: (value) => Number.isSafeInteger(value) && (value as number) >= 1, want: 'a whole number of at least 1' };
export const wholeNumber: Rule = { check: (value) => Number.isSafeInteger(value) && (value as number) >= 0, want: 'a whole number of at least 0' };
/** What a `RandomSource` tells apart from all others. */
export const seed: Rule = { check: (value) => Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 32, want: `a whole number from 0 to ${2 ** 32 - 1}` };
export const nonNegative: Rule = { check: (value) => Number.isFinite(value) && (value as number) >= 0, want: 'a number of at least 0' };
export const positive: Rule = { check: (value) => Number.isFinite(value) && (value as number) > 0, want: 'a number above 0' };
export const belowOne: Rule = { check: (value) => Number.isFinite(value) && (value as number) >= 0 && (value as number) < 1, want: 'a number from 0 to below 1' };

/** One of a few values. */
export function oneOf(...values: readonly (string | number)[]): Rule {
  return { check: (value) => values.includes(value as never), want: values.map((value) => JSON.stringify(value)).join(' or ') };
}

/** The same, or null. */
export function orNull({ check, want }: Rule): Rule {
  return { check: (value) => value === null || check(value), want: `${want}, or null` };
}

/**
 * A full configuration from a partial one.
 *
 * @param partial an object with some of the sections and fields; others take their defaults
 * @param source where it comes from, for errors
 * @throws UserError naming the section or field that is unknown or has a value of the wrong kind
 */
export function parseSettings<Settings extends object>(partial: unknown, defaults: Settings, rules: Rules, source: string): Settings {
  if (typeof partial !== 'object' || partial === null || Array.isArray(partial)) throw new UserError(`${source}: the configuration must be a JSON object`);
  const result = structuredClone(defaults) as Record<string, Record<string, unknown>>;
  for (const [section, fields] of Object.entries(partial)) {
    if (!Object.hasOwn(rules, section)) throw new UserError(`${source}: unknown section "${section}"; there are ${Object.keys(rules).join(', ')}`);
    if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) throw new UserError(`${source}: "${section}" must be an object`);
    for (const [field, value] of Object.entries(fields as Record<string, unknown>)) {
      if (!Object.hasOwn(rules[section], field)) {
        throw new UserError(`${source}: unknown field "${section}.${field}"; "${section}" has ${Object.keys(rules[section]).join(', ')}`);
      }
      const rule = rules[section][field];
      if (!rule.check(value)) throw new UserError(`${source}: ${section}.${field} must be ${rule.want}, not ${JSON.stringify(value)}`);
      result[section][field] = value;
    }
  }
  return result as Settings;
}
