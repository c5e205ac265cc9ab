// What is concluded from charon's list of associations: who is connected, which association the peer gave up, what was carried.
import { describe, expect, it } from "vitest";
import { parsePrefix } from "../ip/address.ts";
import { lostInKernel, outlived, peerState, readAssociations, refusalIn } from "./associations.ts";
import { isConnectionOf } from "./connection.ts";
import { Traffic } from "./traffic.ts";
import { decodeMessage, encodeMessage, type ViciFields } from "./vici-message.ts";

const name = "192.0.2.1-10.5.1.0/24-10.5.2.0/24-192.0.2.2";

/** As strongSwan 5.9.8 tells it. */
function told(id: number, changed: ViciFields = {}, child: ViciFields = {}): ReturnType<typeof decodeMessage> {
  const section: ViciFields = {
    uniqueid: String(id),
    version: "2",
    state: "ESTABLISHED",
    "local-host": "192.0.2.1",
    "remote-host": "192.0.2.2",
    "remote-port": "4500",
    established: "10",
    "child-sas": {
      [`net-${id}`]: {
        uniqueid: String(id),
        state: "INSTALLED",
        encap: "yes",
        "spi-in": `c0000${id}01`,
        "spi-out": `c0000${id}02`,
        "encr-alg": "AES_GCM_16",
        "encr-keysize": "128",
        "bytes-in": "840",
        "packets-in": "10",
        "bytes-out": "84",
        "packets-out": "1",
        "install-time": "7",
        ...child,
      },
    },
    ...changed,
  };
  return decodeMessage(encodeMessage({ [name]: section }));
}

const read = (...messages: ReturnType<typeof told>[]) => readAssociations(messages);

describe("associations", () => {
  it("are read with what their children carry", () => {
    expect(read(told(3, { initiator: "yes" }))).toEqual([
      {
        connection: name,
        id: 3,
        isEstablished: true,
        isInitiator: true,
        ageSeconds: 10,
        endpoint: "192.0.2.2:4500",
        children: [
          {
            id: 3,
            ageSeconds: 7,
            sentBytes: 84,
            receivedBytes: 840,
            sentPackets: 1,
            receivedPackets: 10,
            isInUdp: true,
            algorithm: "AES_GCM_16-128",
            numbers: ["c0000301", "c0000302"],
          },
        ],
      },
    ]);
    expect(read(told(3, { uniqueid: "-1", established: "x" }))).toMatchObject([{ id: 0, ageSeconds: 0 }]);
  });

  it("make a peer connected, or being connected, or not", () => {
    expect(peerState(read(told(1)))).toBe("established");
    expect(peerState(read(told(1, {}, { state: "REKEYING" })))).toBe("established");
    expect(peerState(read(told(1, { state: "CONNECTING", "child-sas": undefined })))).toBe("connecting");
    expect(peerState(read(told(1, { "child-sas": undefined })))).toBe("none");
    expect(peerState(read(told(1, {}, { state: "DELETED" })))).toBe("none");
    expect(peerState([])).toBe("none");
  });

  it("end when the peer has begun a younger one, and not when both began at once", () => {
    const ids = (...messages: ReturnType<typeof told>[]) => outlived(read(...messages)).map(({ id }) => id);
    expect(ids(told(1, { established: "500" }), told(2, { established: "0" }))).toEqual([1]);
    expect(ids(told(1, { established: "2" }), told(2, { established: "0" }))).toEqual([]);
    expect(ids(told(1, { established: "500" }), told(2, { established: "0", initiator: "yes" }))).toEqual([]);
    expect(ids(told(1, { established: "500" }), told(2, { established: "0", "child-sas": undefined }))).toEqual([]);
    expect(ids(told(1, { state: "CONNECTING" }), told(2, { established: "0" }))).toEqual([]);
    expect(ids()).toEqual([]);
  });
});

describe("what the kernel lost", () => {
  const lost = (inKernel: readonly string[], ...messages: ReturnType<typeof told>[]) =>
    lostInKernel(read(...messages), new Set(inKernel)).map(({ child }) => child.id);

  it("is what lacks one of its directions", () => {
    expect(lost(["c0000101", "c0000102"], told(1))).toEqual([]);
    expect(lost(["c0000101", "c0000201", "c0000202"], told(1), told(2))).toEqual([1]);
    expect(lost([], told(1), told(2))).toEqual([1, 2]);
  });

  it("is not what comes or goes, whose directions change one after the other", () => {
    for (const state of ["REKEYING", "REKEYED", "UPDATING", "INSTALLING"]) {
      expect(lost([], told(1, {}, { state }))).toEqual([]);
    }
  });
});

describe("traffic", () => {
  it("goes on over rekeying and a new charon", () => {
    const traffic = new Traffic();
    traffic.follow(read(told(1)));
    traffic.follow(read(told(1, {}, { "bytes-in": "1000" })));
    expect(traffic.of(name)).toMatchObject({ receivedBytes: 1000, sentBytes: 84 });
    traffic.follow(read(told(1, {}, { uniqueid: "9", "bytes-in": "5", "bytes-out": "5" })));
    expect(traffic.of(name)).toMatchObject({ receivedBytes: 1005, sentBytes: 89 });
    traffic.follow([]);
    traffic.follow(read(told(1, {}, { uniqueid: "9", "bytes-in": "1", "bytes-out": "1" })));
    expect(traffic.total()).toMatchObject({ receivedBytes: 1006, sentBytes: 90 });
  });
});

describe("charon's log", () => {
  it.each([
    ["tried 1 shared key for '%any' - '192.0.2.2', but MAC mismatched", /PSK of the peer differs/],
    ["received AUTHENTICATION_FAILED notify error", /PSK of the peer differs/],
    ["received NO_PROPOSAL_CHOSEN notify error", /ESPProposal/],
    ["received TS_UNACCEPTABLE notify, no CHILD_SA built", /another subnet/],
    ["generating IKE_AUTH response 1 [ N(AUTH_FAILED) ]", undefined],
  ])("%s", (line, expected) => {
    if (expected === undefined) expect(refusalIn(line)).toBeUndefined();
    else expect(refusalIn(line)).toMatch(expected);
  });
});

describe("connections of a network", () => {
  it.each([
    [name, true],
    ["192.0.2.1-10.5.1.0/24-10.6.2.0/24-192.0.2.2", false],
    ["home", false],
    ["192.0.2.1-10.5.1.0/99-10.5.2.0/24-192.0.2.2", false],
  ])("%s", (each, expected) => {
    expect(isConnectionOf(each, [parsePrefix("10.5.0.0/16")])).toBe(expected);
  });
});
