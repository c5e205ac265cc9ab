// How the API of a Kubernetes cluster is reached and with which credentials, whichever way that was configured: the form
// that kubeconfig files and the files in a pod are brought into.

/** PEM text or a file with it, which is read again for each connection: it may be replaced while we run. */
export type PemSource = { readonly pem: string } | { readonly file: string };

export interface Credentials {
  /** Of the request: `authorization`. */
  readonly headers: Readonly<Record<string, string>>;
  /** For the connection. */
  readonly clientCertificate?: { readonly cert: string; readonly key: string };
}

/** Hands out credentials that are valid now. */
export interface CredentialSource {
  /** Throws `STORE_UNAUTHORIZED` or `STORE_UNAVAILABLE` when there are none. */
  current(signal: AbortSignal): Promise<Credentials>;
  /** The server refused them: the next call gets others where there may be others. */
  refused(): void;
}

export interface ApiAccess {
  /** Base addresses, the same cluster each; a path stays in front of each request's. At least one. */
  readonly servers: readonly URL[];
  /** Against which the server's certificate is checked; the system's CAs if missing. */
  readonly authority?: PemSource;
  /** Name in the server's certificate, if it is another one than in its address. */
  readonly tlsServerName?: string;
  /** The server's certificate is not checked at all. */
  readonly isInsecure: boolean;
  /** http://, https:// or socks5://; missing: as the environment says. */
  readonly proxy?: URL;
  readonly credentials: CredentialSource;
  /** Added to each request: impersonation. */
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  /** What is odd; a sentence each. */
  readonly warnings: readonly string[];
  /** For logs and messages, without secrets. */
  readonly description: string;
}

export const anonymous: CredentialSource = {
  current: () => Promise.resolve({ headers: {} }),
  refused: () => undefined,
};
