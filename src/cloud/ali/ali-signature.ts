// Requests to Alibaba Cloud's RPC APIs, signed by Alibaba Cloud's own module (signature version 1.0).
import { randomUUID } from "node:crypto";
import openApiUtil from "@alicloud/openapi-util";
import type { AccessKey } from "../access-key.ts";

/** The body of a POST that carries the parameters, signed. */
export function signedAliForm(
  parameters: Readonly<Record<string, string>>,
  key: AccessKey,
  moment: { readonly nonce: string; readonly timestamp: string } = {
    nonce: randomUUID(),
    timestamp: openApiUtil.default.getTimestamp(),
  },
): string {
  const signed: Record<string, string> = {
    ...parameters,
    Format: "JSON",
    AccessKeyId: key.id,
    SignatureMethod: "HMAC-SHA1",
    SignatureVersion: "1.0",
    SignatureNonce: moment.nonce,
    Timestamp: moment.timestamp,
    ...(key.token !== undefined && { SecurityToken: key.token }),
  };
  const Signature = openApiUtil.default.getRPCSignature(signed, "POST", key.secret);
  return new URLSearchParams({ ...signed, Signature }).toString();
}
