// The text of user-space WireGuard, against texts as its description has them and against itself.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { parseAddress, parsePrefix } from "../ip/address.ts";
import { publicKeyOf } from "./keys.ts";
import { answerErrno, changeText, readDeviceText } from "./uapi-text.ts";

const hex = (n: number) => Buffer.alloc(32, n).toString("hex");
const base64 = (n: number) => Buffer.alloc(32, n).toString("base64");

describe("a change", () => {
  it("is one line for each attribute that changes", () => {
    const text = changeText({
      privateKey: base64(1),
      listenPort: 51_820,
      peers: [
        {
          publicKey: base64(2),
          presharedKey: null,
          endpoint: { address: parseAddress("fd00::2"), port: 4 },
          keepaliveSeconds: 25,
          allowedIps: [parsePrefix("10.5.2.0/24"), parsePrefix("fd00:5::/64")],
        },
        { publicKey: base64(3), remove: true },
      ],
    });
    expect(text.split("\n")).toEqual([
      "set=1",
      `private_key=${hex(1)}`,
      "listen_port=51820",
      `public_key=${hex(2)}`,
      `preshared_key=${"0".repeat(64)}`,
      "endpoint=[fd00::2]:4",
      "persistent_keepalive_interval=25",
      "replace_allowed_ips=true",
      "allowed_ip=10.5.2.0/24",
      "allowed_ip=fd00:5::/64",
      `public_key=${hex(3)}`,
      "remove=true",
      "",
      "",
    ]);
  });
});

describe("an answer", () => {
  it("tells device and peers", () => {
    const text = [
      `private_key=${hex(1)}`,
      "listen_port=51820",
      `public_key=${hex(2)}`,
      `preshared_key=${"0".repeat(64)}`,
      "protocol_version=1",
      "endpoint=192.0.2.1:51820",
      "last_handshake_time_sec=1700000000",
      "last_handshake_time_nsec=500000000",
      "tx_bytes=12",
      "rx_bytes=34",
      "persistent_keepalive_interval=25",
      "allowed_ip=10.5.2.0/24",
      "errno=0",
      "",
    ].join("\n");
    expect(answerErrno(text)).toBe(0);
    expect(readDeviceText(text, publicKeyOf)).toEqual({
      publicKey: publicKeyOf(base64(1)),
      listenPort: 51_820,
      peers: [
        {
          publicKey: base64(2),
          endpoint: { address: "192.0.2.1", port: 51_820 },
          keepaliveSeconds: 25,
          lastHandshakeMs: 1_700_000_000_500,
          receivedBytes: 34,
          sentBytes: 12,
          allowedIps: ["10.5.2.0/24"],
        },
      ],
    });
  });

  it("has no success without errno=0", () => {
    expect(["", "errno=", "errno=-98\n", "listen_port=1\nerrno=0\n"].map(answerErrno)).toEqual([
      undefined,
      undefined,
      98,
      0,
    ]);
  });

  it("never throws, whatever it says", () => {
    const names = [
      "public_key",
      "private_key",
      "endpoint",
      "allowed_ip",
      "rx_bytes",
      "listen_port",
      "preshared_key",
      "x",
    ];
    const line = fc.tuple(
      fc.constantFrom(...names),
      fc.oneof(fc.string(), fc.constantFrom(hex(5), "1.2.3.4:5", "::/0")),
    );
    const text = fc.array(line.map((pair) => pair.join("="))).map((lines) => lines.join("\n"));
    fc.assert(
      fc.property(text, (answer) => {
        for (const { publicKey } of readDeviceText(answer, publicKeyOf).peers) expect(publicKey).toMatch(/^.{44}$/);
      }),
      propertyRuns(100_000),
    );
  });
});
