import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { hasCode } from "../errors.ts";
import type { ApiAccess } from "./api-access.ts";
import { inClusterAccess } from "./in-cluster.ts";
import { openAccess } from "./open-access.ts";
import { proxyFromEnvironment } from "./proxy-choice.ts";

const directory = mkdtempSync(join(tmpdir(), "flannel-kubeconfig-"));
afterAll(() => rmSync(directory, { recursive: true }));
const never = new AbortController().signal;
const pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
const base64 = Buffer.from(pem).toString("base64");

function kubeconfig(cluster: object, user: object): string {
  const file = join(directory, "config");
  const config = {
    apiVersion: "v1",
    kind: "Config",
    "current-context": "c",
    contexts: [
      { name: "other", context: {} },
      { name: "c", context: { cluster: "k", user: "u" } },
    ],
    clusters: [{ name: "k", cluster: { server: "https://192.0.2.1:6443", ...cluster } }],
    users: [{ name: "u", user }],
  };
  writeFileSync(file, JSON.stringify(config));
  return file;
}

const open = (cluster: object, user: object) => openAccess({ kubeconfigFile: kubeconfig(cluster, user) }, {});
const headersOf = async (access: ApiAccess) => (await access.credentials.current(never)).headers;

async function refusal(run: () => Promise<unknown>): Promise<string> {
  const error = await run().then(
    () => undefined,
    (failure: unknown) => failure,
  );
  if (!hasCode(error, "CONFIG_INVALID", "STORE_UNAUTHORIZED")) throw new Error(`not refused: ${String(error)}`);
  return error.message;
}

describe("kubeconfig", () => {
  it("is read as YAML, with a URL in place of its server", async () => {
    const file = join(directory, "yaml");
    const text = `
apiVersion: v1
kind: Config
current-context: admin@k
contexts: [{name: admin@k, context: {cluster: k, user: &who admin}}]
clusters:
- name: k
  cluster:
    server: https://k.example:6443/k8s/clusters/c-1
    certificate-authority-data: ${base64}
    tls-server-name: kubernetes
    proxy-url: socks5://u:p@192.0.2.9:1080
users:
- name: *who
  user:
    token: |-
      secret`;
    writeFileSync(file, text);
    const access = await openAccess({ kubeconfigFile: file }, {});
    expect(access).toMatchObject({ authority: { pem }, tlsServerName: "kubernetes", isInsecure: false, warnings: [] });
    expect(access.servers.map(String)).toEqual(["https://k.example:6443/k8s/clusters/c-1"]);
    expect(access.proxy?.host).toBe("192.0.2.9:1080");
    expect(await headersOf(access)).toEqual({ authorization: "Bearer secret" });
    expect(access.description).not.toContain("secret");
    const elsewhere = await openAccess({ kubeconfigFile: file, apiUrl: "https://a:1,https://b:2" }, {});
    expect(elsewhere.servers.map(String)).toEqual(["https://a:1/", "https://b:2/"]);
  });

  it("has credentials embedded, in files beside it, as user and password, and none", async () => {
    writeFileSync(join(directory, "cert.pem"), pem);
    writeFileSync(join(directory, "token"), "first\n");
    const files = await open(
      { "certificate-authority": "ca.pem" },
      { "client-certificate": "cert.pem", "client-key-data": base64 },
    );
    expect(files.authority).toEqual({ file: join(directory, "ca.pem") });
    expect((await files.credentials.current(never)).clientCertificate).toEqual({ cert: pem, key: pem });
    const basic = await open({}, { username: "u", password: "p" });
    expect(await headersOf(basic)).toEqual({ authorization: `Basic ${Buffer.from("u:p").toString("base64")}` });
    expect(await headersOf(await open({}, {}))).toEqual({});
    const access = await open({}, { tokenFile: "token", token: "unused" });
    expect(await headersOf(access)).toEqual({ authorization: "Bearer first" });
    writeFileSync(join(directory, "token"), "second");
    expect(await headersOf(access)).toEqual({ authorization: "Bearer first" });
    access.credentials.refused();
    expect(await headersOf(access)).toEqual({ authorization: "Bearer second" });
  });

  it("asks an exec plugin, until what that issued expires or is refused", async () => {
    const plugin = join(directory, "plugin.sh");
    const issued = `{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"'$N-$1-$V'","expirationTimestamp":"2100-01-01T00:00:00Z"}}`;
    const count = `F=${directory}/count; N=$(cat $F 2>/dev/null | wc -c); printf x >>$F; printf '%s' "$KUBERNETES_EXEC_INFO" >${directory}/info`;
    writeFileSync(plugin, `#!/bin/sh\n${count}\nprintf '%s' '${issued}'\n`);
    chmodSync(plugin, 0o755);
    const exec = {
      apiVersion: "client.authentication.k8s.io/v1",
      command: "./plugin.sh",
      args: ["a"],
      env: [{ name: "V", value: "v" }],
      provideClusterInfo: true,
    };
    writeFileSync(join(directory, "ca.pem"), pem);
    const access = await open({ "certificate-authority": "ca.pem" }, { exec });
    expect(await headersOf(access)).toEqual({ authorization: "Bearer 0-a-v" });
    const info = JSON.parse(readFileSync(join(directory, "info"), "utf8")) as { spec: { cluster: object } };
    expect(info.spec.cluster).toEqual({ server: "https://192.0.2.1:6443/", "certificate-authority-data": base64 });
    expect(await headersOf(access)).toEqual({ authorization: "Bearer 0-a-v" });
    access.credentials.refused();
    expect(await headersOf(access)).toEqual({ authorization: "Bearer 1-a-v" });
    const missing = await open({}, { exec: { ...exec, command: "no-such-plugin", installHint: "install it" } });
    expect(await refusal(() => missing.credentials.current(never))).toBe(
      "the program no-such-plugin, which issues the credentials for the Kubernetes API, is not installed; install it",
    );
  });

  it("impersonates, and warns where TLS is not checked", async () => {
    const access = await open({ "insecure-skip-tls-verify": true }, { as: "x", "as-groups": ["g", "h"] });
    expect(access.headers).toEqual({ "Impersonate-User": "x", "Impersonate-Group": ["g", "h"] });
    expect(access.warnings).toHaveLength(1);
  });

  it.each<[string, object, object, string]>([
    ["a key without certificate", {}, { "client-key-data": base64 }, "client certificate without its key"],
    [
      "data that is no PEM",
      { "certificate-authority-data": "!" },
      {},
      "certificate-authority-data is not PEM in base64",
    ],
    ["a strange proxy", { "proxy-url": "ftp://x" }, {}, "proxy-url must begin with"],
    ["an auth-provider", {}, { "auth-provider": { name: "oidc" } }, "use an exec plugin"],
    [
      "a plugin for a terminal",
      {},
      { exec: { apiVersion: "client.authentication.k8s.io/v1", command: "x", interactiveMode: "Always" } },
      "wants a terminal",
    ],
    ["no server", { server: "" }, {}, "has no server"],
    ["a server that is none", { server: "ssh://x" }, {}, "is not a URL"],
  ])("refuses %s", async (_, cluster, user, message) => {
    expect(await refusal(() => open(cluster, user))).toContain(message);
  });

  it("refuses what is no YAML, and a context that is not there, without quoting the file", async () => {
    const file = join(directory, "broken");
    writeFileSync(file, "users:\n- token: secret\n  x: [secret");
    const broken = await refusal(() => openAccess({ kubeconfigFile: file }, {}));
    expect(broken).toMatch(/is not valid YAML \(line \d\)$/);
    writeFileSync(file, "current-context: gone");
    expect(await refusal(() => openAccess({ kubeconfigFile: file }, {}))).toContain('has no context "gone"');
    expect(await refusal(() => openAccess({ kubeconfigFile: "/nowhere/k" }, {}))).toContain("cannot read");
  });
});

describe("in a pod", () => {
  it("address, CA and token come from there", async () => {
    writeFileSync(join(directory, "ca.crt"), pem);
    writeFileSync(join(directory, "token"), "t\n");
    const env = { KUBERNETES_SERVICE_HOST: "fd00::1", KUBERNETES_SERVICE_PORT: "443" };
    const access = inClusterAccess(env, directory);
    expect(access.servers[0]?.href).toBe("https://[fd00::1]/");
    expect(access.authority).toEqual({ file: join(directory, "ca.crt") });
    expect(await headersOf(access)).toEqual({ authorization: "Bearer t" });
    expect(() => inClusterAccess({}, directory)).toThrow("KUBERNETES_SERVICE_HOST");
  });
});

it.each([
  ["https://10.96.0.1", { HTTPS_PROXY: "http://p:1" }, "p:1"],
  ["https://10.96.0.1", { HTTPS_PROXY: "p:1", NO_PROXY: "10.0.0.0/8" }, undefined],
  ["https://10.96.0.1", { HTTP_PROXY: "http://p:1" }, undefined],
  ["http://k.example", { http_proxy: "http://p:1", no_proxy: "other,example" }, undefined],
  ["https://k.example:6443", { https_proxy: "http://p:1", NO_PROXY: "k.example:443" }, "p:1"],
  ["https://k.example", { HTTPS_PROXY: "http://p:1", NO_PROXY: "*" }, undefined],
  ["https://localhost:6443", { HTTPS_PROXY: "http://p:1" }, undefined],
  ["https://[fd00::1]", { HTTPS_PROXY: "http://p:1", NO_PROXY: "fd00::/8" }, undefined],
  ["https://k.example", { HTTPS_PROXY: "gopher://p" }, undefined],
])("%s with %j goes through %s", (server, env, proxy) => {
  expect(proxyFromEnvironment(new URL(server), env)?.host).toBe(proxy);
});
