import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { propertyRuns } from "../../../test/support/fuzz.ts";
import { FlannelError } from "../../errors.ts";
import { defaultEtcdEndpoints, parseEndpoints } from "./endpoints.ts";

const ca = { caFile: "ca.pem" };

describe("accepted", () => {
  test.each([
    [defaultEtcdEndpoints, {}, ["http://127.0.0.1:4001", "http://127.0.0.1:2379"], false],
    ["10.0.0.1:2379", {}, ["http://10.0.0.1:2379"], false],
    ["10.0.0.1:2379", ca, ["https://10.0.0.1:2379"], true],
    [
      "https://etcd-0.example.org:2379/, https://etcd-1:1 ",
      {},
      ["https://etcd-0.example.org:2379", "https://etcd-1:1"],
      true,
    ],
    ["HTTP://etcd", { caFile: "", certFile: "", keyFile: "" }, ["http://etcd:2379"], false],
    ["http://[fd00::1]:2379", {}, ["http://[fd00::1]:2379"], false],
    ["http://[fe80::1%eth0]:2379", {}, ["http://[fe80::1%eth0]:2379"], false],
    ["https://[fe80::1%25br-lan.7]", {}, ["https://[fe80::1%br-lan.7]:2379"], true],
    ["http://a:1,http://b:2,", {}, ["http://a:1", "http://b:2"], false],
    ["http://a:1, ,", {}, ["http://a:1"], false],
    ["unix:///run/etcd.sock", {}, ["unix:///run/etcd.sock"], false],
    ["unix://localhost:1234", ca, ["unixs://localhost:1234"], true],
    ["unixs:///run/etcd.sock", {}, ["unixs:///run/etcd.sock"], true],
  ])("%s", (list, files, urls, isEncrypted) => {
    const parsed = parseEndpoints(list, files);
    expect(parsed.endpoints.map(({ url }) => url)).toEqual(urls);
    expect(parsed.isEncrypted).toBe(isEncrypted);
  });

  test("http:// with certificate files: not encrypted, with a warning; nothing else is warned about", () => {
    const { isEncrypted, warnings, endpoints } = parseEndpoints("http://a:1,http://b:1", ca);
    expect(isEncrypted).toBe(false);
    expect(endpoints.map(({ url }) => url)).toEqual(["http://a:1", "http://b:1"]);
    expect(warnings).toEqual([expect.stringMatching(/http:\/\/.*certificate files.*not used.*https:\/\//)]);
    for (const list of ["https://a:1", "a:1", "unix:///s"]) expect(parseEndpoints(list, ca).warnings).toEqual([]);
    expect(parseEndpoints("http://a:1", {}).warnings).toEqual([]);
  });

  test("what is dialled and whose name the certificate must bear", () => {
    const [byAddress, byName] = parseEndpoints("https://[fd00::1]:1,https://etcd:2", {}).endpoints;
    expect(byAddress).toMatchObject({ target: "dns:[fd00::1]:1", host: "fd00::1" });
    expect(parseEndpoints("https://[fe80::1%eth0]:1", {}).endpoints).toMatchObject([
      { target: "ipv6-zone:[fe80::1%eth0]:1", host: "fe80::1" },
    ]);
    expect(byName).toMatchObject({ target: "dns:etcd:2", host: "etcd" });
    expect(parseEndpoints("unixs:///s", {}).endpoints[0]).toMatchObject({ target: "unix:/s", host: "localhost" });
  });
});

test.each([
  ["", {}, /is empty/],
  [",", {}, /is empty/],
  ["http://a:1,,http://b:1", {}, /is empty/],
  ["http://[fe80::1%]:1", {}, /host or address and a port/],
  ["http://[fe80::1%a b]:1", {}, /host or address and a port/],
  ["http://10.0.0.1%eth0:1", {}, /host or address and a port/],
  ["http://a:1,https://b:1", {}, /mix http:\/\/ and https:\/\//],
  ["http://a:1,b:1", {}, /mix http:\/\/ and no scheme/],
  ["https://a:1", { certFile: "c" }, /without --etcd-keyfile/],
  ["http://a:1", { keyFile: "k" }, /without --etcd-certfile/],
  ["ftp://a:1", {}, /must begin with/],
  ["://a:1", {}, /must begin with/],
  ["http://a:0", {}, /host or address and a port/],
  ["http://a:65536", {}, /host or address and a port/],
  ["http://a:1/v3", {}, /host or address and a port/],
  ["http://1.2.3:1", {}, /host or address and a port/],
  ["http://fd00::1:2379", {}, /host or address and a port/],
  ["http://[10.0.0.1]:1", {}, /host or address and a port/],
  ["http://a b:1", {}, /host or address and a port/],
  ["unix://", {}, /socket file/],
  [`unix:///${"x".repeat(200)}`, {}, /socket file/],
])("%s is refused", (list, files, message) => {
  expect(() => parseEndpoints(list, files)).toThrow(message);
});

test("a password in an endpoint is not repeated", () => {
  for (const list of ["http://root:hunter2@etcd:2379", "root:hunter2@etcd", "ftp://root:hunter2@etcd"]) {
    expect(() => parseEndpoints(list, {})).toThrow(expect.not.stringContaining("hunter2"));
    expect(() => parseEndpoints(list, {})).toThrow(FlannelError);
  }
});

test("any text gives endpoints or config.invalid on one line", () => {
  const part = fc.constantFrom(
    ..."http:// https:// unix:// unixs:// a 10.0.0.1 [fd00::1] : , / @ ? # % 2379 0 - . \0 \n".split(" "),
  );
  const text = fc
    .array(fc.oneof(part, part, fc.string({ maxLength: 4 })), { maxLength: 8 })
    .map((parts) => parts.join(""));
  fc.assert(
    fc.property(text, (list) => {
      try {
        for (const { url, target } of parseEndpoints(list, {}).endpoints) {
          expect(url).toMatch(/^(http|https|unix|unixs):\/\/./);
          expect(target).toMatch(/^(dns|unix):./);
        }
      } catch (error) {
        expect(error).toMatchObject({ code: "CONFIG_INVALID" });
        expect(String(error)).not.toContain("\n");
      }
    }),
    propertyRuns(100_000),
  );
});
