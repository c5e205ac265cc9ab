// The one place where answers and failures of the Kubernetes API become FlannelErrors.
import { describeError, FlannelError, isCancelled } from "../errors.ts";
import { tryParseJson } from "../json/try-parse-json.ts";
import { memberOf, textOf } from "../json/untyped-fields.ts";

/** What is asked for, in the words of RBAC: `patch` on `nodes/status`. */
export interface RequestSubject {
  /** What is attempted, for messages: `read node n1`. */
  readonly operation: string;
  readonly verb: "get" | "list" | "watch" | "patch" | "create";
  readonly resource: string;
}

/** Classifies an answer that is none of success. `body` is the server's text, a Status object as a rule. */
export function fromStatus(status: number, body: string, subject: RequestSubject, retryAfterMs?: number): FlannelError {
  const { operation, verb, resource } = subject;
  const text = reasonOf(body) ?? `HTTP ${status}`;
  const details = { httpStatus: status, verb, resource, ...(retryAfterMs !== undefined && { retryAfterMs }) };
  switch (status) {
    case 401:
      return new FlannelError(
        "STORE_UNAUTHORIZED",
        `${operation}: the API server does not accept the credentials (HTTP 401: ${text}); check the token or ` +
          "certificate, and the clocks of this host and the API server",
        { details },
      );
    case 403:
      return new FlannelError(
        "STORE_UNAUTHORIZED",
        `${operation} is forbidden: allow the verb ${JSON.stringify(verb)} on ${JSON.stringify(resource)} in the ` +
          `ClusterRole of flannel (${text})`,
        { details },
      );
    case 404:
      return new FlannelError("STORE_UNAVAILABLE", `${operation}: ${text}`, { details, retryable: true });
    case 410:
      return new FlannelError("STORE_COMPACTED", `${operation}: ${text}`, { details, retryable: true });
    default:
      return new FlannelError("STORE_UNAVAILABLE", `${operation}: the API server answered HTTP ${status}: ${text}`, {
        details,
        retryable: status === 408 || status === 409 || status === 429 || status >= 500,
      });
  }
}

/** Classifies what went wrong with a connection to `server`. A FlannelError passes unchanged. */
export function fromConnection(error: unknown, { operation }: RequestSubject, server: string): FlannelError {
  if (error instanceof FlannelError) return error;
  if (isCancelled(error)) return new FlannelError("CANCELLED", `${operation}: cancelled`, { cause: error });
  const text = describeError(error).slice(0, 300);
  const hint = tlsHint(error);
  return new FlannelError(
    "STORE_UNAVAILABLE",
    `${operation}: no connection to the API server ${server}: ${text}${hint}`,
    {
      cause: error,
      tellsCause: true,
      details: { isUnanswered: true },
      retryable: true,
    },
  );
}

/** Something answers there that is no API server. */
export function notJson({ operation }: RequestSubject): FlannelError {
  const message = `${operation}: the answer is no JSON: is there an API server at that address?`;
  return new FlannelError("STORE_UNAVAILABLE", message, { retryable: true });
}

export function hasHttpStatus(error: unknown, ...statuses: readonly number[]): boolean {
  return error instanceof FlannelError && statuses.some((status) => error.details["httpStatus"] === status);
}

/** How long the server asked us to wait. */
export function retryAfterMs(error: unknown): number | undefined {
  const value = error instanceof FlannelError ? error.details["retryAfterMs"] : undefined;
  return typeof value === "number" ? value : undefined;
}

function tlsHint(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") return "; tls-server-name in the kubeconfig file names another one";
  if (code === "CERT_NOT_YET_VALID" || code === "CERT_HAS_EXPIRED") return "; check the clock of this host";
  const isUntrusted = /SELF_SIGNED|UNABLE_TO_(GET_ISSUER|VERIFY)/.test(code);
  return isUntrusted ? "; the CA certificate that was given did not sign the server's" : "";
}

function reasonOf(body: string): string | undefined {
  const message = textOf(memberOf(tryParseJson(body), "message")) ?? body.trim();
  const plain = message.replaceAll(/\s+/g, " ");
  if (plain === "" || plain.startsWith("<")) return undefined;
  return plain.length > 400 ? `${plain.slice(0, 397)}...` : plain;
}
