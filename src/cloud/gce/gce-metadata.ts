// What the metadata service of Google Cloud says of this instance.
import { FlannelError } from "../../errors.ts";
import { exchange } from "../../http/exchange.ts";

type Environment = Readonly<Record<string, string | undefined>>;

export interface GceInstance {
  readonly project: string;
  readonly zone: string;
  readonly name: string;
}

const TIMEOUT_MS = 3_000;

/** Rejects with `CLOUD_UNAVAILABLE` while it does not answer. GCE_METADATA_HOST names another one, as for Google's programs. */
export async function readGceInstance(env: Environment, signal: AbortSignal): Promise<GceInstance> {
  const host = env["GCE_METADATA_HOST"] || "169.254.169.254";
  const read = async (path: string): Promise<string> => {
    const url = `http://${host}/computeMetadata/v1/${path}`;
    const { status, body } = await exchange(
      { url, headers: { "metadata-flavor": "Google" }, timeoutMs: TIMEOUT_MS },
      signal,
    );
    if (status === 200) return body.trim();
    throw unavailable(host, `it answers ${status} to ${path}`);
  };
  const project = await read("project/project-id");
  const name = await read("instance/name");
  const zone = lastPart(await read("instance/zone"));
  if (![project, name, zone].every((text) => /^[a-z0-9.:-]{1,80}$/.test(text))) {
    throw unavailable(host, "its answers are no names of a project, a zone and an instance");
  }
  return { project, zone, name };
}

/** Of a path or a link: `projects/123/zones/europe-west1-b` is `europe-west1-b`. */
export function lastPart(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function unavailable(host: string, why: string): FlannelError {
  const message = `the metadata service at ${host} is of no use: ${why}: is this an instance of Google Cloud?`;
  return new FlannelError("CLOUD_UNAVAILABLE", message, { retryable: true });
}
