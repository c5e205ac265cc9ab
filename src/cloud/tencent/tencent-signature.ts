// Requests to Tencent Cloud's APIs, signed by Tencent Cloud's own module (TC3-HMAC-SHA256, over the host, the type and the body).
import sign from "tencentcloud-sdk-nodejs-common/tencentcloud/common/sign.js";
import type { AccessKey } from "../access-key.ts";

export interface TencentRequest {
  /** Whole; the port is not signed. */
  readonly url: string;
  /** As the signature names it: `vpc`. */
  readonly service: string;
  readonly action: string;
  readonly version: string;
  readonly region: string;
  readonly body: string;
}

const CONTENT_TYPE = "application/json";

/** The headers of a POST. */
export function signedTencentHeaders(
  { url, service, action, version, region, body }: TencentRequest,
  key: AccessKey,
  nowMs = Date.now(),
): Record<string, string> {
  const timestamp = Math.floor(nowMs / 1_000);
  const authorization = sign.default.sign3({
    ...{ method: "POST", url, service, timestamp, secretId: key.id, secretKey: key.secret },
    // Of text the module would sign its JSON.
    payload: Buffer.from(body),
    headers: { "Content-Type": CONTENT_TYPE },
    ...{ multipart: false, boundary: "" },
  });
  return {
    authorization,
    "content-type": CONTENT_TYPE,
    "x-tc-action": action,
    "x-tc-version": version,
    "x-tc-region": region,
    "x-tc-timestamp": String(timestamp),
    ...(key.token !== undefined && { "x-tc-token": key.token }),
  };
}
