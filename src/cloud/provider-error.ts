// Turns an answer of a provider that says no into our error, by its codes. Pure.
import { type ErrorCode, FlannelError } from "../errors.ts";

/** A provider's codes, by what they mean; the first that fits counts. */
export interface ErrorCodes {
  /** `Alibaba Cloud` */
  readonly provider: string;
  readonly throttled: RegExp;
  readonly denied: RegExp;
  readonly badKey: RegExp;
  readonly full: RegExp;
}

export interface Refusal {
  readonly status: number;
  readonly code: string;
  readonly message: string;
}

const LONGEST = 200;

/** `action` as the provider's permissions name it: `vpc:CreateRouteEntry`. The message holds no key and no signature. */
export function providerError(
  codes: ErrorCodes,
  action: string,
  what: string,
  { status, code, message }: Refusal,
): FlannelError {
  const { provider } = codes;
  const shown = `${code}: ${message.length > LONGEST ? `${message.slice(0, LONGEST - 3)}...` : message}`;
  const fail = (kind: ErrorCode, why: string, retryable = false) =>
    new FlannelError(kind, `cannot ${what}: ${why}`, { retryable, details: { action, reason: code } });
  if (codes.throttled.test(code) || status === 429)
    return fail("CLOUD_THROTTLED", `${provider} takes no more requests now (${code})`, true);
  if (codes.full.test(code)) return fail("CLOUD_QUOTA", `${provider} allows no more routes there (${shown})`);
  // What was signed comes back with such an answer.
  if (codes.badKey.test(code)) return fail("CLOUD_DENIED", `${provider} does not accept the access key (${code})`);
  if (codes.denied.test(code))
    return fail("CLOUD_DENIED", `the access key or role of this host lacks ${action}: allow that action (${shown})`);
  if (status >= 500) return fail("CLOUD_UNAVAILABLE", `the API of ${provider} fails (${status} ${code})`, true);
  return fail("CLOUD_REJECTED", `${provider} refuses it (${shown})`);
}
