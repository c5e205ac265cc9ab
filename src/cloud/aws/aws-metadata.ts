// What the metadata service of EC2 says of this instance, by version 2 of its protocol (a token first).
import { FlannelError } from "../../errors.ts";
import { exchange } from "../../http/exchange.ts";

/** As AWS's own programs read them from the environment. */
type Environment = Readonly<Record<string, string | undefined>>;

export interface AwsInstance {
  readonly id: string;
  readonly region: string;
}

/** A service that is not there yet costs no more than this for each try. */
const TIMEOUT_MS = 3_000;
const TOKEN_SECONDS = 300;

/** Rejects with `CLOUD_UNAVAILABLE` while it does not answer. */
export async function readAwsInstance(env: Environment, signal: AbortSignal): Promise<AwsInstance> {
  const base = endpointOf(env);
  const token = await ask(
    `${base}/latest/api/token`,
    { "x-aws-ec2-metadata-token-ttl-seconds": String(TOKEN_SECONDS) },
    signal,
    "PUT",
  );
  const read = (path: string) => ask(`${base}/latest/meta-data/${path}`, { "x-aws-ec2-metadata-token": token }, signal);
  const id = await read("instance-id");
  const region = env["AWS_REGION"] || env["AWS_DEFAULT_REGION"] || (await read("placement/region"));
  if (!/^i-[0-9a-z]{1,40}$/.test(id) || !/^[a-z0-9-]{1,40}$/.test(region)) {
    throw unavailable(base, "its answers are no instance id and no region");
  }
  return { id, region };
}

function endpointOf(env: Environment): string {
  const named = env["AWS_EC2_METADATA_SERVICE_ENDPOINT"];
  if (named) return named.replace(/\/+$/, "");
  const isIpv6 = env["AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"]?.toLowerCase() === "ipv6";
  return isIpv6 ? "http://[fd00:ec2::254]" : "http://169.254.169.254";
}

async function ask(
  url: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
  method: "GET" | "PUT" = "GET",
): Promise<string> {
  const { status, body } = await exchange({ url, method, headers, timeoutMs: TIMEOUT_MS }, signal);
  if (status === 200) return body.trim();
  throw unavailable(new URL(url).origin, `it answers ${status} to ${method} ${new URL(url).pathname}`);
}

function unavailable(base: string, why: string): FlannelError {
  const next = "is this an EC2 instance with its metadata service switched on?";
  return new FlannelError("CLOUD_UNAVAILABLE", `the metadata service at ${base} is of no use: ${why}: ${next}`, {
    retryable: true,
  });
}
