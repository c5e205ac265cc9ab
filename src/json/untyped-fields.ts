// Reading parsed JSON and YAML of unknown form. Pure.

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The value, where it is an object; else one without members. */
export function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  return isRecord(value) ? value : {};
}

/** The member of an object, undefined of anything else. */
export function memberOf(value: unknown, name: string): unknown {
  return isRecord(value) ? value[name] : undefined;
}

/** The text, unless it is empty or none. */
export function textOf(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** The items of a list; none of anything else. */
export function itemsOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** The items of the member; none when it is missing or no list. */
export function listIn(value: unknown, name: string): readonly unknown[] {
  return itemsOf(memberOf(value, name));
}

/** The text of the member; "" when it is missing or no text. */
export function textIn(value: unknown, name: string): string {
  return textOf(memberOf(value, name)) ?? "";
}
