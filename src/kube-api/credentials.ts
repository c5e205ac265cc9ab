// Where credentials come from: fixed ones, files that are replaced while we run (the token in a pod lives an hour), a
// program that issues them. Values never reach a message.
import { readFile } from "node:fs/promises";
import { FlannelError } from "../errors.ts";
import type { CredentialSource, Credentials, PemSource } from "./api-access.ts";

/** The kubelet replaces a token when a fifth of its life is left: a minute is soon enough. */
const TOKEN_KEPT_MS = 60_000;

/** Throws `STORE_UNAUTHORIZED`: a file of credentials that cannot be read now may be readable later. */
export async function readPem(source: PemSource, what: string): Promise<string> {
  if ("pem" in source) return source.pem;
  return await readCredentialFile(source.file, what);
}

async function readCredentialFile(file: string, what: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new FlannelError("STORE_UNAUTHORIZED", `cannot read ${what} for the Kubernetes API`, { cause });
  }
}

export interface FixedCredentials {
  readonly token?: string;
  readonly basic?: { readonly username: string; readonly password: string };
  readonly certificate?: { readonly cert: PemSource; readonly key: PemSource };
}

/** Credentials that stand in a kubeconfig file, or in files that it names. */
export class StaticCredentials implements CredentialSource {
  readonly #fixed: FixedCredentials;

  constructor(fixed: FixedCredentials) {
    this.#fixed = fixed;
  }

  async current(): Promise<Credentials> {
    const { token, basic, certificate } = this.#fixed;
    const authorization =
      token !== undefined
        ? `Bearer ${token}`
        : basic && `Basic ${Buffer.from(`${basic.username}:${basic.password}`).toString("base64")}`;
    return {
      headers: authorization === undefined ? {} : { authorization },
      ...(certificate !== undefined && {
        clientCertificate: {
          cert: await readPem(certificate.cert, "the client certificate"),
          key: await readPem(certificate.key, "the client key"),
        },
      }),
    };
  }

  refused(): void {
    // files are read again anyway
  }
}

/** A bearer token in a file that is replaced from time to time. */
export class TokenFile implements CredentialSource {
  readonly #file: string;
  readonly #rest: CredentialSource;
  readonly #nowMs: () => number;
  #known: { readonly token: string; readonly readAtMs: number } | undefined;

  /** `rest`: what else there is, a client certificate perhaps. */
  constructor(file: string, rest: CredentialSource, nowMs: () => number = () => performance.now()) {
    this.#file = file;
    this.#rest = rest;
    this.#nowMs = nowMs;
  }

  async current(signal: AbortSignal): Promise<Credentials> {
    const others = await this.#rest.current(signal);
    return { ...others, headers: { ...others.headers, authorization: `Bearer ${await this.#token()}` } };
  }

  refused(): void {
    this.#known = undefined;
  }

  async #token(): Promise<string> {
    const nowMs = this.#nowMs();
    if (this.#known !== undefined && nowMs - this.#known.readAtMs < TOKEN_KEPT_MS) return this.#known.token;
    const token = (await readCredentialFile(this.#file, "the token")).trim();
    if (token === "" || /[^\x21-\x7e]/.test(token)) {
      throw new FlannelError("STORE_UNAUTHORIZED", `${this.#file} holds no token for the Kubernetes API`);
    }
    this.#known = { token, readAtMs: nowMs };
    return token;
  }
}
