// How a backend describes its own keys of the Backend object, which only it knows. Pure data.

export interface BackendKey {
  readonly name: string;
  /** `strings`: one string, or a list of them. `list`: a JSON array, of what the backend says. */
  readonly type: "int" | "bool" | "string" | "strings" | "list";
  /** Stands for a missing key; `defaultText` says what it means. */
  readonly defaultValue: number | boolean | string | readonly unknown[];
  readonly defaultText: string;
  /** Inclusive range of an int; 0 to 2^31-1 when missing. */
  readonly minimum?: number;
  readonly maximum?: number;
  readonly description: string;
  /** Output and logs never show its value. */
  readonly isSecret?: true;
  /** May hold secrets by accident: messages do not show its value, output that is asked for does. */
  readonly isPrivate?: true;
  /** Applied to a running agent without restart. */
  readonly live: boolean;
}

/** The keys beside Type of a backend by its lower-case type; undefined for an unknown type. */
export type BackendKeysOf = (type: string) => readonly BackendKey[] | undefined;
