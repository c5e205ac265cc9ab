// Signs requests to Tencent Cloud's APIs: TC3-HMAC-SHA256, over the host, the type and the body.
import { createHash, createHmac } from "node:crypto";
import type { AccessKey } from "../access-key.ts";

export interface TencentRequest {
  /** Without port. */
  readonly host: string;
  /** First part of the host: `vpc`. */
  readonly service: string;
  readonly action: string;
  readonly version: string;
  readonly region: string;
  readonly body: string;
}

const ALGORITHM = "TC3-HMAC-SHA256";
const TENCENT_CONTENT_TYPE = "application/json";

/** The headers of a POST to `/`. */
export function signedTencentHeaders(
  request: TencentRequest,
  key: AccessKey,
  nowMs = Date.now(),
): Record<string, string> {
  const { host, service, action, version, region, body } = request;
  const timestamp = String(Math.floor(nowMs / 1_000));
  const date = new Date(nowMs).toISOString().slice(0, 10);
  const signed = "content-type;host";
  const canonical = [
    "POST",
    "/",
    "",
    `content-type:${TENCENT_CONTENT_TYPE}\nhost:${host}\n`,
    signed,
    sha256(body),
  ].join("\n");
  const scope = `${date}/${service}/tc3_request`;
  const toSign = [ALGORITHM, timestamp, scope, sha256(canonical)].join("\n");
  const secret = [date, service, "tc3_request"].reduce<string | Buffer>(
    (secretSoFar, part) => createHmac("sha256", secretSoFar).update(part).digest(),
    `TC3${key.secret}`,
  );
  const signature = createHmac("sha256", secret).update(toSign).digest("hex");
  return {
    authorization: `${ALGORITHM} Credential=${key.id}/${scope}, SignedHeaders=${signed}, Signature=${signature}`,
    "content-type": TENCENT_CONTENT_TYPE,
    "x-tc-action": action,
    "x-tc-version": version,
    "x-tc-region": region,
    "x-tc-timestamp": timestamp,
    ...(key.token !== undefined && { "x-tc-token": key.token }),
  };
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
