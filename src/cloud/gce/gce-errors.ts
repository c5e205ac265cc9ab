// Turns answers of the Compute Engine API into our errors: by status and reason, never by sentences.
import { FlannelError } from "../../errors.ts";
import { tryParseJson } from "../../json/try-parse-json.ts";
import { listIn, memberOf, textIn } from "../../json/untyped-fields.ts";

/** What a request is, for its error. */
export interface GceRequest {
  /** As IAM names it: `compute.routes.create`. */
  readonly permission: string;
  readonly what: string;
}

const LONGEST = 300;
const throttled = new Set(["rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED"]);
const full = new Set(["quotaExceeded", "QUOTA_EXCEEDED", "limitExceeded"]);

export function gceError({ permission, what }: GceRequest, status: number, body: string): FlannelError {
  const { reason, message } = reasonIn(body);
  const fail = (code: FlannelError["code"], why: string, retryable: boolean) =>
    new FlannelError(code, `cannot ${what}: ${why}`, { retryable, details: { status, reason } });
  if (full.has(reason)) return fail("CLOUD_QUOTA", `Google Cloud allows no more routes (${message})`, false);
  if (status === 429 || throttled.has(reason))
    return fail("CLOUD_THROTTLED", `Google Cloud takes no more requests now (${reason})`, true);
  if (status === 401) return fail("CLOUD_DENIED", `Google Cloud does not accept the credentials (${message})`, false);
  if (status === 403) {
    const cure = /scope/i.test(reason + message)
      ? `give the instance the access scope "compute-rw" or "cloud-platform"`
      : `allow that permission`;
    return fail(
      "CLOUD_DENIED",
      `the service account of this host lacks ${permission}: ${cure} (Google: ${message})`,
      false,
    );
  }
  if (status >= 500) return fail("CLOUD_UNAVAILABLE", `the Compute Engine API fails (${status} ${reason})`, true);
  return fail("CLOUD_REJECTED", `Google Cloud refuses it (${status} ${reason}: ${message})`, false);
}

/** Of an operation that ended badly: its errors have codes like `QUOTA_EXCEEDED`. */
export function gceOperationError(request: GceRequest, error: unknown): FlannelError {
  const [first] = listIn(error, "errors");
  const reason = textIn(first, "code");
  const body = JSON.stringify({ error: { message: textIn(first, "message"), errors: [{ reason }] } });
  return gceError(request, /^(RESOURCE_NOT_READY|INTERNAL_ERROR)$/.test(reason) ? 503 : 400, body);
}

function reasonIn(body: string): { readonly reason: string; readonly message: string } {
  const parsed = tryParseJson(body);
  const error = memberOf(parsed, "error");
  const [first] = listIn(error, "errors");
  const message = textIn(error, "message") || body.slice(0, LONGEST);
  return { reason: textIn(first, "reason") || textIn(error, "status"), message: message.slice(0, LONGEST) };
}
