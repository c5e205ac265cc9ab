// Keys that requests to a provider are signed with: given in the configuration, in the environment, or temporary ones of the
// instance's role.
import { FlannelError } from "../errors.ts";

export interface AccessKey {
  readonly id: string;
  /** Never logged or shown. */
  readonly secret: string;
  /** Of a temporary key. */
  readonly token?: string;
  /** When a temporary one ends, by the wall clock. */
  readonly endsAtMs?: number;
}

export interface KeySources {
  readonly given: { readonly id: string; readonly secret: string } | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Names of variables with id, secret and token, in order of preference. */
  readonly variables: readonly (readonly [id: string, secret: string, token: string | undefined])[];
  /** That of the instance's role; rejects with `CLOUD_DENIED` where it has none. */
  readonly readRole: (signal: AbortSignal) => Promise<AccessKey>;
}

/** New ones are there some time before the old ones end. */
const BEFORE_END_MS = 300_000;

export class AccessKeys {
  readonly #sources: KeySources;
  #ofRole: AccessKey | undefined;

  constructor(sources: KeySources) {
    this.#sources = sources;
  }

  async current(signal: AbortSignal): Promise<AccessKey> {
    const { given, env, variables, readRole } = this.#sources;
    if (given !== undefined) return given;
    for (const [id, secret, token] of variables) {
      const [idText, secretText, tokenText] = [env[id], env[secret], token === undefined ? undefined : env[token]];
      if (idText && secretText) return { id: idText, secret: secretText, ...(tokenText && { token: tokenText }) };
    }
    const { endsAtMs } = this.#ofRole ?? {};
    if (this.#ofRole === undefined || (endsAtMs !== undefined && Date.now() > endsAtMs - BEFORE_END_MS))
      this.#ofRole = await readRole(signal);
    return this.#ofRole;
  }

  /** The provider did not accept it: the next one is read again. */
  reject(): void {
    this.#ofRole = undefined;
  }
}

export function noAccessKey(cure: string): FlannelError {
  return new FlannelError("CLOUD_DENIED", `there is no access key and the instance has no role: ${cure}`);
}
