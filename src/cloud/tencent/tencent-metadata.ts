// What the metadata service of Tencent Cloud says of this instance: who it is, and the key of its role.
import { FlannelError } from "../../errors.ts";
import { exchange, type HttpAnswer } from "../../http/exchange.ts";
import { tryParseJson } from "../../json/try-parse-json.ts";
import { memberOf, textIn } from "../../json/untyped-fields.ts";
import { type AccessKey, noAccessKey } from "../access-key.ts";

export interface TencentInstance {
  readonly id: string;
  readonly region: string;
  readonly vpc: string;
  readonly subnet: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

const TIMEOUT_MS = 3_000;

/** Rejects with `CLOUD_UNAVAILABLE` while it does not answer. */
export async function readTencentInstance(env: Environment, signal: AbortSignal): Promise<TencentInstance> {
  const value = async (path: string): Promise<string> => {
    const { status, body } = await read(env, path, signal);
    if (status === 200 && /^[\w:-]{1,80}$/.test(body.trim())) return body.trim();
    throw unavailable(env, `it answers ${status} to ${path}`);
  };
  const region = await value("placement/region");
  const ofInterface = `network/interfaces/macs/${await value("mac")}`;
  return {
    id: await value("instance-id"),
    region,
    vpc: await value(`${ofInterface}/vpc-id`),
    subnet: await value(`${ofInterface}/subnet-id`),
  };
}

/** Rejects with `CLOUD_DENIED` where the instance has no role, `CLOUD_UNAVAILABLE` where nobody can tell now. */
export async function readTencentRole(env: Environment, signal: AbortSignal): Promise<AccessKey> {
  const cure = "bind a CAM role, or set AccessKeyID and AccessKeySecret, or ACCESS_KEY_ID and ACCESS_KEY_SECRET";
  const value = async (path: string): Promise<string> => {
    const { status, body } = await read(env, path, signal);
    if (status === 200) return body.trim();
    throw status === 404 ? noAccessKey(cure) : unavailable(env, `it answers ${status} to ${path}`);
  };
  const path = "cam/security-credentials/";
  const answer = tryParseJson(await value(path + encodeURIComponent(await value(path))));
  const [id, secret, token] = ["TmpSecretId", "TmpSecretKey", "Token"].map((name) => textIn(answer, name)) as [
    string,
    string,
    string,
  ];
  if (id === "" || secret === "") throw noAccessKey(cure);
  const endsAt = memberOf(answer, "ExpiredTime");
  return {
    id,
    secret,
    ...(token !== "" && { token }),
    ...(typeof endsAt === "number" && { endsAtMs: endsAt * 1_000 }),
  };
}

function unavailable(env: Environment, why: string): FlannelError {
  const next = "is this an instance of Tencent Cloud in a VPC?";
  const message = `the metadata service at ${hostOf(env)} is of no use: ${why}: ${next}`;
  return new FlannelError("CLOUD_UNAVAILABLE", message, { retryable: true });
}

function read(env: Environment, path: string, signal: AbortSignal): Promise<HttpAnswer> {
  return exchange({ url: `http://${hostOf(env)}/latest/meta-data/${path}`, timeoutMs: TIMEOUT_MS }, signal);
}

/** TENCENTCLOUD_METADATA_HOST names another one, where the name does not resolve. */
function hostOf(env: Environment): string {
  return env["TENCENTCLOUD_METADATA_HOST"] || "metadata.tencentyun.com";
}
