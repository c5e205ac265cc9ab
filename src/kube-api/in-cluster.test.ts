// A pod's service account while it is replaced: the kubelet swaps a link to a directory with new files.
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { Pki } from "../../test/etcd/pki.ts";
import { KubeApiServer, readNodeA } from "../../test/support/kube-api-server.ts";
import { describeError } from "../errors.ts";
import { ApiClient } from "./api-client.ts";
import { inClusterAccess } from "./in-cluster.ts";

it("follows the token and the CA of its pod as they are replaced", async () => {
  await using old = await Pki.create();
  await using pki = await Pki.create();
  const directory = mkdtempSync(join(tmpdir(), "flannel-account-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  for (const name of ["token", "ca.crt"]) symlinkSync(`..data/${name}`, join(directory, name));
  const replace = (version: string, token: string, ca: string) => {
    mkdirSync(join(directory, version));
    writeFileSync(join(directory, version, "token"), token);
    writeFileSync(join(directory, version, "ca.crt"), readFileSync(ca));
    symlinkSync(version, join(directory, "..new"));
    renameSync(join(directory, "..new"), join(directory, "..data"));
  };
  replace("1", "first", old.ca);
  const tls = { key: readFileSync(pki.serverKey, "utf8"), cert: readFileSync(pki.serverCert, "utf8") };
  await using server = await KubeApiServer.start({ tls });
  server.putNode("a");
  server.token = "second";
  const env = { KUBERNETES_SERVICE_HOST: "127.0.0.1", KUBERNETES_SERVICE_PORT: String(server.port) };
  await using client = new ApiClient(inClusterAccess(env, directory), {}, "test");
  const call = () => client.call(readNodeA, new AbortController().signal).then(() => "read", describeError);
  expect(await call()).toContain("did not sign the server's");
  replace("2", "first", pki.ca);
  expect(await call()).toContain("does not accept the credentials");
  replace("3", "second", pki.ca);
  expect(await call()).toBe("read");
  server.token = "third";
  replace("4", "third", pki.ca);
  expect(await call()).toBe("read");
});
