// Reads a backend's own keys out of the Backend object by its table of keys: types, ranges, defaults. Pure.

import { jsonTypeOf } from "../json/json-entries.ts";
import { foldKey } from "../json/nearest.ts";
import { invalid } from "./address-pool.ts";
import type { BackendKey } from "./backend-key.ts";

export type BackendValue = number | boolean | string | readonly unknown[];

/** Of a list in the Backend object: far more than anybody needs. */
const MAX_STRINGS = 50;

/** Every key of the table with its value from the configuration or its default. */
export type BackendOptions = ReadonlyMap<string, BackendValue>;

const jsonTypes = { int: "number", bool: "boolean", string: "string", list: "array" } as const;

/**
 * Keys compare case-insensitively, the last of equals wins, null means "not given" (Go's JSON rules).
 * Throws `CONFIG_INVALID` naming key, value and rule. Unknown keys are left to the caller.
 */
export function readBackendOptions(
  keys: readonly BackendKey[],
  backend: Readonly<Record<string, unknown>>,
): BackendOptions {
  const options = new Map<string, BackendValue>(keys.map((key) => [key.name, key.defaultValue]));
  const byName = new Map(keys.map((key) => [foldKey(key.name), key]));
  for (const [name, value] of Object.entries(backend)) {
    const key = byName.get(foldKey(name));
    if (key !== undefined && value !== null) options.set(key.name, checkValue(key, value));
  }
  return options;
}

export function intOption(options: BackendOptions, name: string): number {
  const value = options.get(name);
  if (typeof value !== "number") throw new TypeError(`backend key ${name} is not an int`);
  return value;
}

export function boolOption(options: BackendOptions, name: string): boolean {
  const value = options.get(name);
  if (typeof value !== "boolean") throw new TypeError(`backend key ${name} is not a bool`);
  return value;
}

export function stringOption(options: BackendOptions, name: string): string {
  const value = options.get(name);
  if (typeof value !== "string") throw new TypeError(`backend key ${name} is not a string`);
  return value;
}

/** What a key of type `strings` holds, each once; one string counts as a list of one, and an empty one as none. */
export function stringsOption(options: BackendOptions, name: string): readonly string[] {
  const value = options.get(name);
  const isStrings = Array.isArray(value) && value.every((item): item is string => typeof item === "string");
  if (!isStrings) throw new TypeError(`backend key ${name} is not a list of strings`);
  return value;
}

export function listOption(options: BackendOptions, name: string): readonly unknown[] {
  const value = options.get(name);
  if (!Array.isArray(value)) throw new TypeError(`backend key ${name} is not a list`);
  return value;
}

/** Whether two values of one key mean the same. */
export function isSameBackendValue(a: BackendValue | undefined, b: BackendValue | undefined): boolean {
  return typeof a === "object" && typeof b === "object" ? JSON.stringify(a) === JSON.stringify(b) : a === b;
}

function checkStrings(path: string, value: unknown): readonly string[] {
  const list = typeof value === "string" ? [value] : value;
  const isGood = Array.isArray(list) && list.every((item) => typeof item === "string");
  if (!isGood || list.length > MAX_STRINGS) {
    throw invalid(path, value, `must be a string or a list of at most ${MAX_STRINGS} strings`);
  }
  return Object.freeze([...new Set(list as readonly string[])].filter((item) => item !== ""));
}

function checkValue(key: BackendKey, value: unknown): BackendValue {
  const path = `Backend.${key.name}`;
  if (key.type === "strings") return checkStrings(path, value);
  const expected = jsonTypes[key.type];
  if (jsonTypeOf(value) !== expected || (key.type === "int" && !Number.isInteger(value))) {
    const wanted = { int: "an integer", bool: "true or false", string: "a string", list: "a list" }[key.type];
    throw invalid(
      path,
      key.isSecret === true || key.isPrivate === true ? "(hidden)" : value,
      `must be ${wanted}, not ${describeType(key, value)}`,
    );
  }
  if (typeof value === "number") {
    const { minimum = 0, maximum = 2 ** 31 - 1 } = key;
    if (value < minimum || value > maximum) throw invalid(path, value, `must be from ${minimum} to ${maximum}`);
    return value + 0; // turns -0 into 0
  }
  if (typeof value === "boolean" || typeof value === "string" || Array.isArray(value)) return value;
  throw new TypeError(`backend key ${key.name} has an unknown type`);
}

function describeType(key: BackendKey, value: unknown): string {
  const type = jsonTypeOf(value);
  if (type === "number" && key.type === "int") return "a fraction";
  return `${/^[ao]/.test(type) ? "an" : "a"} ${type}`;
}
