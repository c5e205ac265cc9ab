// Access tokens for Google Cloud, by Google's own library and its chain of credentials.
import { env } from "node:process";
import { GoogleAuth } from "google-auth-library";
import { describeError, FlannelError } from "../../errors.ts";
import type { EndingKey } from "../renewed-key.ts";

export interface GceToken extends EndingKey {
  /** Never logged or shown. */
  readonly text: string;
}

const unreachable = /^(ECONN\w+|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EPIPE)$/;

/**
 * Reads the chain again each time: the library would keep what it has, also when nobody accepts that any more. Without a `project`
 * it would look for one: with a workload identity at another service of Google's, which demands a permission of its own.
 */
export async function readGceToken(project: string): Promise<GceToken> {
  // It has answered already. Where the library does not know the machine for Google's, it would ask once, and when nobody answers
  // just then hold for ever that there is no such service.
  env["METADATA_SERVER_DETECTION"] ||= "assume-present";
  keepMetadataDirect();
  const auth = new GoogleAuth({ scopes: "https://www.googleapis.com/auth/compute", projectId: project });
  const client = await auth.getClient();
  const { token } = await client.getAccessToken();
  if (!token) throw new Error("Google's library has no access token");
  const endsAtMs = client.credentials.expiry_date;
  return { text: token, ...(typeof endsAtMs === "number" && { endsAtMs }) };
}

/** The library would ask the metadata service, too, by way of the proxy: there it is another machine's. */
function keepMetadataDirect(): void {
  const given = env["NO_PROXY"] ?? env["no_proxy"] ?? "";
  const [host = ""] = (env["GCE_METADATA_HOST"] || "").split(":");
  const known = given.split(",").map((rule) => rule.trim());
  const missing = [host, "169.254.169.254", "metadata.google.internal"].filter(
    (name) => name !== "" && !known.includes(name),
  );
  if (missing.length > 0) env["NO_PROXY"] = [...known.filter((rule) => rule !== ""), ...missing].join(",");
}

/** `what` the token was wanted for. */
export function gceCredentialsError(what: string, cause: unknown): FlannelError {
  const said = describeError(cause).slice(0, 200);
  if (isOutage(cause)) {
    const message = `cannot ${what}: the service that hands out credentials for Google Cloud does not answer (${said})`;
    return new FlannelError("CLOUD_UNAVAILABLE", message, { cause, tellsCause: true, retryable: true });
  }
  const cure = "give the instance a service account, or name a key file with GOOGLE_APPLICATION_CREDENTIALS";
  const message = `cannot ${what}: there are no credentials for Google Cloud: ${cure} (${said})`;
  return new FlannelError("CLOUD_DENIED", message, { cause, tellsCause: true });
}

/** Nobody answered, or with a failure of its own. */
function isOutage(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = "code" in error ? String(error.code) : "";
  const status = "status" in error ? Number(error.status) : 0;
  return unreachable.test(code) || status >= 500 || error.name === "TimeoutError" || isOutage(error.cause);
}
