// Keys that requests to a provider are signed with: given in the configuration, in the environment or in a file, or temporary
// ones of the instance's role.
import { FlannelError } from "../errors.ts";
import { RenewedKey } from "./renewed-key.ts";

export interface AccessKey {
  readonly id: string;
  /** Never logged or shown. */
  readonly secret: string;
  /** Of a temporary key. */
  readonly token?: string;
  /** When a temporary one ends, by the wall clock. */
  readonly endsAtMs?: number;
}

/** Names of variables of the environment. */
export interface KeyVariables {
  readonly id: string;
  readonly secret: string;
  /** The first that is set counts. */
  readonly tokens?: readonly string[];
}

export interface KeySources {
  readonly given: { readonly id: string; readonly secret: string } | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** In order of preference. */
  readonly variables: readonly KeyVariables[];
  /** Undefined where no file has one; throws `CLOUD_DENIED` for a file that cannot be understood. */
  readonly readFiles: () => AccessKey | undefined;
  /** That of the instance's role; rejects with `CLOUD_DENIED` where it has none, `CLOUD_UNAVAILABLE` where nobody answers. */
  readonly readRole: (signal: AbortSignal) => Promise<AccessKey>;
}

export class AccessKeys implements Disposable {
  readonly #sources: KeySources;
  readonly #ofRole: RenewedKey<AccessKey>;

  constructor(sources: KeySources) {
    this.#sources = sources;
    this.#ofRole = new RenewedKey(sources.readRole);
  }

  async current(signal: AbortSignal): Promise<AccessKey> {
    const { given, readFiles } = this.#sources;
    return given ?? this.#inEnvironment() ?? readFiles() ?? this.#ofRole.current(signal);
  }

  /** The provider did not accept it: the next one is read again. */
  reject(): void {
    this.#ofRole.reject();
  }

  [Symbol.dispose](): void {
    this.#ofRole[Symbol.dispose]();
  }

  #inEnvironment(): AccessKey | undefined {
    const { env, variables } = this.#sources;
    for (const names of variables) {
      const [id, secret] = [env[names.id], env[names.secret]];
      const token = names.tokens?.map((name) => env[name]).find((text) => text);
      if (id && secret) return { id, secret, ...(token && { token }) };
    }
    return undefined;
  }
}

export function noAccessKey(cure: string): FlannelError {
  return new FlannelError("CLOUD_DENIED", `there is no access key and the instance has no role: ${cure}`);
}
