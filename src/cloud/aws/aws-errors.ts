// Turns what AWS's client rejects with into our errors: by the codes of the EC2 API, never by its sentences.
import { describeError, FlannelError } from "../../errors.ts";

const throttled =
  /^(RequestLimitExceeded|Throttl|TooManyRequests|SlowDown|EC2ThrottledException|BandwidthLimitExceeded)/;
const expired =
  /^(ExpiredToken|RequestExpired|AuthFailure|InvalidClientTokenId|SignatureDoesNotMatch|UnrecognizedClient|MissingAuthenticationToken|OptInRequired|Blocked)/;
const missingCredentials = /^(CredentialsProviderError|TokenProviderError|ProviderError)$/;
const LONGEST = 300;

export function awsErrorCode(error: unknown): string {
  return error instanceof Error ? error.name : "";
}

/** Whether other credentials might do: the ones at hand expired, or are none. */
export function isCredentialError(error: unknown): boolean {
  const code = awsErrorCode(error);
  return expired.test(code) || missingCredentials.test(code);
}

/** `action` is the operation's name, which IAM calls `ec2:<action>`; `what` says what it was for. */
export function awsError(error: unknown, action: string, what: string, signal: AbortSignal): FlannelError {
  if (error instanceof FlannelError) return error;
  if (signal.aborted) return new FlannelError("CANCELLED", `${what}: cancelled`);
  const code = awsErrorCode(error);
  // AWS adds an encoded text of some hundred characters that only its owner can read.
  const said = describeError(error).replace(/ ?Encoded authorization failure message:.*/s, "");
  const shown = said.length > LONGEST ? `${said.slice(0, LONGEST - 3)}...` : said;
  const fail = (kind: FlannelError["code"], why: string, retryable: boolean) =>
    new FlannelError(kind, `cannot ${what}: ${why}`, {
      cause: error,
      tellsCause: true,
      retryable,
      details: { action, reason: code },
    });
  if (code === "UnauthorizedOperation" || code === "AccessDenied" || code === "AccessDeniedException") {
    return fail(
      "CLOUD_DENIED",
      `the IAM role or user of this host lacks ec2:${action}: allow that action (AWS: ${shown})`,
      false,
    );
  }
  if (missingCredentials.test(code)) {
    return fail(
      "CLOUD_DENIED",
      `there are no AWS credentials: give the instance a role, or set them in the environment or ~/.aws (AWS: ${shown})`,
      false,
    );
  }
  if (expired.test(code)) return fail("CLOUD_DENIED", `AWS does not accept the credentials (${code}: ${shown})`, false);
  if (code === "RouteLimitExceeded") return fail("CLOUD_QUOTA", `AWS allows no more routes there (${shown})`, false);
  if (throttled.test(code)) return fail("CLOUD_THROTTLED", `AWS takes no more requests now (${code})`, true);
  if (statusOf(error) >= 500 || statusOf(error) === 0) {
    return fail(
      "CLOUD_UNAVAILABLE",
      `the EC2 API does not answer (${code === "Error" ? "" : `${code}: `}${shown})`,
      true,
    );
  }
  return fail("CLOUD_REJECTED", `AWS refuses it (${code}: ${shown})`, false);
}

/** 0: there was no answer. */
function statusOf(error: unknown): number {
  const metadata = error instanceof Error && "$metadata" in error ? error.$metadata : undefined;
  const status =
    typeof metadata === "object" && metadata !== null && "httpStatusCode" in metadata ? metadata.httpStatusCode : 0;
  return typeof status === "number" ? status : 0;
}
