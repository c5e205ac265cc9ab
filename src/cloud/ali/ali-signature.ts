// Signs requests to Alibaba Cloud's RPC APIs: signature version 1.0, HMAC-SHA1 over the sorted parameters.
import { createHmac, randomUUID } from "node:crypto";
import type { AccessKey } from "../access-key.ts";

/** The body of a POST that carries the parameters, signed. */
export function signedAliForm(
  parameters: Readonly<Record<string, string>>,
  key: AccessKey,
  moment: { readonly nonce: string; readonly timestamp: string } = {
    nonce: randomUUID(),
    timestamp: `${new Date().toISOString().slice(0, 19)}Z`,
  },
): string {
  const all: Record<string, string> = {
    ...parameters,
    Format: "JSON",
    AccessKeyId: key.id,
    SignatureMethod: "HMAC-SHA1",
    SignatureVersion: "1.0",
    SignatureNonce: moment.nonce,
    Timestamp: moment.timestamp,
    ...(key.token !== undefined && { SecurityToken: key.token }),
  };
  const query = Object.keys(all)
    .sort()
    .map((name) => `${encode(name)}=${encode(all[name] ?? "")}`)
    .join("&");
  const signature = createHmac("sha1", `${key.secret}&`)
    .update(`POST&${encode("/")}&${encode(query)}`)
    .digest("base64");
  return `${query}&Signature=${encode(signature)}`;
}

/** As RFC 3986, which leaves fewer characters as they are than JavaScript does. */
function encode(text: string): string {
  return encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
