// Which credentials the clients of AWS and Google Cloud find, of all places that their standard chains know, as the bundle has
// them: against stand-ins that are written from public documents. No real cloud was used.
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { HttpStandIn, type StandInAnswer, type StandInRequest } from "../../lab/cloud/http-stand-in.ts";
import { parseAddress } from "../../src/ip/address.ts";

const FAR = "2099-01-01T00:00:00Z";
const dist = fileURLToPath(new URL("../../dist", import.meta.url));
const address = parseAddress("192.168.50.11");
const resources = new AsyncDisposableStack();
let home: string;
let world: HttpStandIn;
/** What the API was asked with, one for each request. */
let seen: string[] = [];
let asked: StandInRequest[] = [];

async function fromBundle<T>(name: string): Promise<T> {
  const files = (await readdir(dist)).filter((file) => file.startsWith(name) && file.endsWith(".mjs"));
  expect(files).toHaveLength(1);
  return (await import(join(dist, files[0] ?? ""))) as T;
}

async function write(path: string, text: string): Promise<string> {
  const file = join(home, path);
  await mkdir(join(file, ".."), { recursive: true });
  await writeFile(file, text);
  return file;
}

const json = (value: unknown, headers = {}): StandInAnswer => ({
  ...{ status: 200, body: JSON.stringify(value), headers: { "content-type": "application/json", ...headers } },
});

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "credentials-"));
  resources.defer(() => rm(home, { recursive: true }));
  world = resources.use(
    await HttpStandIn.start((request) => {
      asked.push(request);
      return awsAnswer(request) ?? gceAnswer(request) ?? { status: 404, body: "" };
    }),
  );
});
afterEach(() => {
  vi.unstubAllEnvs();
  [seen, asked] = [[], []];
});
afterAll(() => resources.disposeAsync());

/** The EC2 API refuses all requests: they have shown by then what they are signed with. */
function awsAnswer({ method, url, headers, body }: StandInRequest): StandInAnswer | undefined {
  const { pathname } = url;
  const key = (id: string) => ({
    AccessKeyId: id,
    SecretAccessKey: `secret-${id}`,
    Token: `token-${id}`,
    Expiration: FAR,
  });
  if (pathname === "/latest/api/token") return { status: method === "PUT" ? 200 : 405, body: "lab-token" };
  if (pathname === "/container") return json(key("ASIACONTAINER"));
  if (pathname === "/latest/meta-data/instance-id") return { status: 200, body: "i-0123" };
  if (pathname === "/latest/meta-data/iam/security-credentials/") return { status: 200, body: "flannel" };
  if (pathname.startsWith("/latest/meta-data/iam/")) return json({ Code: "Success", ...key("ASIAROLE") });
  if (method !== "POST" || pathname !== "/") return undefined;
  if (new URLSearchParams(body).get("Action") === "AssumeRoleWithWebIdentity")
    return { status: 200, body: webIdentity };
  const id = /Credential=(\w+)\//.exec(headers.authorization ?? "")?.[1];
  seen.push(`${id} ${String(headers["x-amz-security-token"] ?? "")}`.trim());
  const refusal = "<Errors><Error><Code>UnauthorizedOperation</Code><Message>no</Message></Error></Errors>";
  return { status: 403, body: `<Response>${refusal}<RequestID>lab</RequestID></Response>` };
}

const webIdentity = `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAWEB</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
<SessionToken>token-ASIAWEB</SessionToken><Expiration>${FAR}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>`;

/** The Compute Engine API refuses all requests, too. */
function gceAnswer({ url, headers, body }: StandInRequest): StandInAnswer | undefined {
  const { pathname } = url;
  if (pathname.startsWith("/computeMetadata/v1")) {
    const values: Readonly<Record<string, StandInAnswer>> = {
      "/project/project-id": { status: 200, body: "blue" },
      "/instance/name": { status: 200, body: "me" },
      "/instance/zone": { status: 200, body: "projects/1/zones/lab1-b" },
      "/instance/service-accounts/default/token": json(
        { access_token: "of-instance", expires_in: 3_600, token_type: "Bearer" },
        { "metadata-flavor": "Google" },
      ),
    };
    return values[pathname.replace("/computeMetadata/v1", "")];
  }
  if (pathname === "/sts") {
    const subject = new URLSearchParams(body).get("subject_token");
    const answer = { access_token: `for-${subject}`, expires_in: 3_600, token_type: "Bearer" };
    return json({ ...answer, issued_token_type: "urn:ietf:params:oauth:token-type:access_token" });
  }
  if (!pathname.startsWith("/compute/v1/")) return undefined;
  seen.push(headers.authorization ?? "");
  return { ...json({ error: { code: 403, message: "no", errors: [{ reason: "forbidden" }] } }), status: 403 };
}

describe("aws-vpc", () => {
  /** With these variables and no others of AWS: what the first request is signed with. */
  async function keyWith(variables: Readonly<Record<string, string>>, files: Readonly<Record<string, string>> = {}) {
    const { AwsRoutes } = await fromBundle<typeof import("../../src/cloud/aws/aws-routes.ts")>("aws-routes-");
    // The client keeps what it read of a file.
    const HOME = await mkdtemp(join(home, "aws-"));
    for (const [path, text] of Object.entries(files)) await write(join(HOME.slice(home.length), path), text);
    for (const name of Object.keys(process.env).filter((each) => each.startsWith("AWS_"))) vi.stubEnv(name, undefined);
    const reached = { AWS_ENDPOINT_URL_EC2: world.url, AWS_EC2_METADATA_SERVICE_ENDPOINT: world.url };
    const all = { ...reached, AWS_REGION: "eu-west-1", HOME, ...variables };
    for (const [name, value] of Object.entries(all)) vi.stubEnv(name, value);
    await using cloud = new AwsRoutes({ address, tables: [], env: process.env });
    await expect(cloud.facts(new AbortController().signal)).rejects.toThrow("lacks ec2:DescribeInstances");
    expect(seen).toHaveLength(1);
    return seen[0];
  }

  const profiles = {
    ".aws/credentials": "[default]\naws_access_key_id = AKIAFILE\naws_secret_access_key = s\n",
    ".aws/config":
      "[profile ops]\naws_access_key_id = AKIAOPS\naws_secret_access_key = s\naws_session_token = token-ops\n",
  };
  const variables = { AWS_ACCESS_KEY_ID: "AKIAENV", AWS_SECRET_ACCESS_KEY: "s" };

  it("takes those of the environment before those of files", async () => {
    expect(await keyWith(variables, profiles)).toBe("AKIAENV");
    seen = [];
    expect(await keyWith({ ...variables, AWS_SESSION_TOKEN: "token-env" })).toBe("AKIAENV token-env");
  });

  it("takes those of ~/.aws, of the profile that AWS_PROFILE names, or of the file that a variable names", async () => {
    expect(await keyWith({}, profiles)).toBe("AKIAFILE");
    seen = [];
    expect(await keyWith({ AWS_PROFILE: "ops" }, profiles)).toBe("AKIAOPS token-ops");
    seen = [];
    const file = await write("elsewhere", profiles[".aws/credentials"].replace("AKIAFILE", "AKIAELSEWHERE"));
    expect(await keyWith({ AWS_SHARED_CREDENTIALS_FILE: file })).toBe("AKIAELSEWHERE");
  });

  it("exchanges a web identity, as a Pod's, for those of a role", async () => {
    const AWS_WEB_IDENTITY_TOKEN_FILE = await write("web-identity", "token-of-the-pod");
    const AWS_ROLE_ARN = "arn:aws:iam::123456789012:role/flannel";
    const key = await keyWith({ AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN, AWS_ENDPOINT_URL_STS: world.url });
    expect(key).toBe("ASIAWEB token-ASIAWEB");
    const exchanged = asked.map(({ body }) => new URLSearchParams(body)).find((form) => form.has("WebIdentityToken"));
    expect(exchanged?.get("WebIdentityToken")).toBe("token-of-the-pod");
    expect(exchanged?.get("RoleArn")).toBe(AWS_ROLE_ARN);
  });

  it("takes those of the container, else those of the instance's role", async () => {
    const AWS_CONTAINER_CREDENTIALS_FULL_URI = `${world.url}/container`;
    expect(await keyWith({ AWS_CONTAINER_CREDENTIALS_FULL_URI })).toBe("ASIACONTAINER token-ASIACONTAINER");
    seen = [];
    expect(await keyWith({})).toBe("ASIAROLE token-ASIAROLE");
  });
});

describe("gce", () => {
  async function tokenWith(variables: Readonly<Record<string, string>>): Promise<string | undefined> {
    const { GceRoutes } = await fromBundle<typeof import("../../src/cloud/gce/gce-routes.ts")>("gce-routes-");
    const reached = {
      GCE_METADATA_HOST: new URL(world.url).host,
      CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE: `${world.url}/compute/v1`,
    };
    const all = { ...reached, HOME: home, ...variables };
    for (const [name, value] of Object.entries(all)) vi.stubEnv(name, value);
    await using cloud = new GceRoutes({ address, env: process.env });
    await expect(cloud.facts(new AbortController().signal)).rejects.toThrow("lacks compute.instances.get");
    expect(seen).toHaveLength(1);
    return seen[0];
  }

  it("exchanges a workload identity that GOOGLE_APPLICATION_CREDENTIALS describes, and else asks the instance", async () => {
    const file = await write("subject", "token-of-the-pod");
    const description = {
      type: "external_account",
      audience: "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/lab/providers/lab",
      ...{ subject_token_type: "urn:ietf:params:oauth:token-type:jwt", token_url: `${world.url}/sts` },
      credential_source: { file },
    };
    const GOOGLE_APPLICATION_CREDENTIALS = await write("identity.json", JSON.stringify(description));
    expect(await tokenWith({ GOOGLE_APPLICATION_CREDENTIALS })).toBe("Bearer for-token-of-the-pod");
    seen = [];
    expect(await tokenWith({ GOOGLE_APPLICATION_CREDENTIALS: "" })).toBe("Bearer of-instance");
  });

  it("names a file that is not there, and quotes none", async () => {
    const { GceRoutes } = await fromBundle<typeof import("../../src/cloud/gce/gce-routes.ts")>("gce-routes-");
    vi.stubEnv("GCE_METADATA_HOST", new URL(world.url).host);
    for (const [name, text] of [
      ["missing.json", undefined],
      ["broken.json", '{"private_key": "geheim"'],
    ] as const) {
      vi.stubEnv("GOOGLE_APPLICATION_CREDENTIALS", join(home, name));
      if (text !== undefined) await write(name, text);
      await using cloud = new GceRoutes({ address, env: process.env });
      const failure = await cloud.facts(new AbortController().signal).catch((error: unknown) => String(error));
      expect(failure).toContain("GOOGLE_APPLICATION_CREDENTIALS");
      expect(failure).not.toContain("geheim");
    }
  });
});
