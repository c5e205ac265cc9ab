// flannelctl reaches a store that wants certificates, or a password, by the same flags and variables as flanneld.
import { expect, test } from "vitest";
import { flannelctl } from "../support/flannelctl.ts";
import { EtcdServer } from "./etcd-server.ts";
import { Pki } from "./pki.ts";

const config = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}';

test("with certificates", async () => {
  await using pki = await Pki.create();
  await using etcd = await EtcdServer.start({ pki, clientCertAuth: true });
  const ca = ["--etcd-endpoints", etcd.endpoints, "--etcd-cafile", pki.ca];
  const client = ["--etcd-certfile", pki.clientCert, "--etcd-keyfile", pki.clientKey];
  expect((await flannelctl(["config", "set", "-", ...ca, ...client], { input: config })).exitCode).toBe(0);
  const refused = await flannelctl(["config", "get", ...ca]);
  expect(refused).toMatchObject({ exitCode: 1, stdout: "" });
  const half = await flannelctl(["config", "get", ...ca, "--etcd-certfile", pki.clientCert]);
  expect(half.exitCode).toBe(2);
  expect(half.stderr).toContain("--etcd-keyfile");
});

test("plain http:// with certificate files: goes on, with a warning beside the result", async () => {
  await using etcd = await EtcdServer.start();
  await etcd.control("put", "/coreos.com/network/config", config);
  const get = ["config", "get", "--etcd-endpoints", etcd.endpoints, "--etcd-cafile", "/nowhere/ca.pem"];
  const result = await flannelctl(get);
  expect(result).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("10.5.0.0/16") });
  expect(result.stderr).toContain("certificate files that are given are not used");
  expect(await flannelctl([...get, "--json"])).toMatchObject({ exitCode: 0, stderr: "" });
});

test("with a password, which is never printed", async () => {
  await using etcd = await EtcdServer.start();
  await etcd.control("put", "/coreos.com/network/config", config);
  await etcd.enableAuthentication();
  const env = { FLANNELD_ETCD_ENDPOINTS: etcd.endpoints, FLANNELD_ETCD_USERNAME: "flannel" };
  const get = (password: string) =>
    flannelctl(["config", "get", "--json"], { env: { ...env, FLANNELD_ETCD_PASSWORD: password } });
  expect((await get("secret")).exitCode).toBe(0);
  const refused = await get("wrong-horse");
  expect(refused).toMatchObject({ exitCode: 1, stdout: "" });
  expect(JSON.parse(refused.stderr)).toMatchObject({ error: { code: "STORE_UNAUTHORIZED" } });
  expect(refused.stderr).not.toContain("wrong-horse");
});
