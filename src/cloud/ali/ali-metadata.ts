// What the metadata service of Alibaba Cloud says of this instance: who it is, and the key of its role.
import { FlannelError } from "../../errors.ts";
import { exchange, type HttpAnswer } from "../../http/exchange.ts";
import { tryParseJson } from "../../json/try-parse-json.ts";
import { textIn } from "../../json/untyped-fields.ts";
import { type AccessKey, noAccessKey } from "../access-key.ts";

export interface AliInstance {
  readonly id: string;
  readonly region: string;
  readonly vpc: string;
  readonly vswitch: string;
}

const BASE = "http://100.100.100.200/latest";
const TIMEOUT_MS = 3_000;
const TOKEN_SECONDS = "300";

/** Rejects with `CLOUD_UNAVAILABLE` while it does not answer. */
export async function readAliInstance(signal: AbortSignal): Promise<AliInstance> {
  const read = await openMetadata(signal);
  const value = async (name: string): Promise<string> => {
    const { status, body } = await read(name);
    const [line = ""] = body.split("\n");
    if (status === 200 && /^[\w-]{1,80}$/.test(line.trim())) return line.trim();
    throw unavailable(`it answers ${status} to ${name}`);
  };
  return {
    region: await value("region-id"),
    id: await value("instance-id"),
    vpc: await value("vpc-id"),
    vswitch: await value("vswitch-id"),
  };
}

/** Rejects with `CLOUD_DENIED` where the instance has no role, `CLOUD_UNAVAILABLE` where nobody can tell now. */
export async function readAliRole(signal: AbortSignal): Promise<AccessKey> {
  const read = await openMetadata(signal);
  const cure = "attach a RAM role, or set AccessKeyID and AccessKeySecret, or ACCESS_KEY_ID and ACCESS_KEY_SECRET";
  const value = async (name: string): Promise<string> => {
    const { status, body } = await read(name);
    if (status === 200) return body.trim();
    throw status === 404 ? noAccessKey(cure) : unavailable(`it answers ${status} to ${name}`);
  };
  const path = "ram/security-credentials/";
  const answer = tryParseJson(await value(path + encodeURIComponent(await value(path))));
  const [id, secret, token] = ["AccessKeyId", "AccessKeySecret", "SecurityToken"].map((name) =>
    textIn(answer, name),
  ) as [string, string, string];
  if (id === "" || secret === "") throw noAccessKey(cure);
  const endsAtMs = Date.parse(textIn(answer, "Expiration"));
  return { id, secret, ...(token !== "" && { token }), ...(!Number.isNaN(endsAtMs) && { endsAtMs }) };
}

/** With a token, as hardened instances demand it; older ones do not know it. */
async function openMetadata(signal: AbortSignal): Promise<(path: string) => Promise<HttpAnswer>> {
  const ttl = { "x-aliyun-ecs-metadata-token-ttl-seconds": TOKEN_SECONDS };
  const token = await exchange(
    { url: `${BASE}/api/token`, method: "PUT", headers: ttl, timeoutMs: TIMEOUT_MS },
    signal,
  );
  const headers = token.status === 200 ? { "x-aliyun-ecs-metadata-token": token.body.trim() } : {};
  return (path) => exchange({ url: `${BASE}/meta-data/${path}`, headers, timeoutMs: TIMEOUT_MS }, signal);
}

function unavailable(why: string): FlannelError {
  const message = `the metadata service at 100.100.100.200 is of no use: ${why}: is this an instance of Alibaba Cloud in a VPC?`;
  return new FlannelError("CLOUD_UNAVAILABLE", message, { retryable: true });
}
