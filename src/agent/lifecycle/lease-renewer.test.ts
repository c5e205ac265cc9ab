import { afterEach, describe, expect, it, vi } from "vitest";
import { DEADLINE_MS } from "../../../lab/wait.ts";
import { revision, revisionAfter } from "../../../test/support/revision.ts";
import { FlannelError } from "../../errors.ts";
import { parseAddress, parsePrefix } from "../../ip/address.ts";
import type { Lease, LeaseAttributes, OwnLease } from "../../lease/lease.ts";
import type { SubnetStore } from "../../store/subnet-store.ts";
import { silentLogger } from "../../telemetry/logger.ts";
import { LeaseRenewer, type LeaseRenewerOptions } from "./lease-renewer.ts";

const eventually = (check: () => void) => vi.waitFor(check, DEADLINE_MS);

const attributes: LeaseAttributes = { publicIp: parseAddress("192.0.2.1"), backendType: "host-gw" };
const DAY_MS = 86_400_000;

afterEach(() => void vi.useRealTimers());

function ownLease(order: number, over: Partial<OwnLease> = {}): OwnLease {
  return {
    key: "10.5.1.0-24",
    subnet: parsePrefix("10.5.1.0/24"),
    attributes,
    revision: revision(order),
    createdAt: revision(1),
    adapterData: 7,
    isReservation: false,
    expiresAtMs: Date.now() + DAY_MS,
    ...over,
  };
}

/** What a watch tells of our key: no expiry. */
function seen(order: number, over: Partial<Lease> = {}): Lease {
  return {
    key: ownLease(order).key,
    attributes,
    revision: revision(order),
    createdAt: revision(1),
    isReservation: false,
    adapterData: 7,
    ...over,
  };
}

type Renew = SubnetStore["renew"];

async function keep(renew: Renew, over: Partial<LeaseRenewerOptions> = {}) {
  const refuse = () => Promise.reject(new FlannelError("INTERNAL", "not part of this test"));
  const store: SubnetStore = {
    description: "scripted",
    warnings: [],
    addresses: () => [],
    networkConfig: refuse,
    acquire: refuse,
    list: refuse,
    renew,
    watch: () => ({ [Symbol.asyncIterator]: () => ({ next: refuse }) }),
    watchNetworkConfig: () => ({ [Symbol.asyncIterator]: () => ({ next: refuse }) }),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const onLease = vi.fn<LeaseRenewerOptions["onLease"]>();
  const onTaken = vi.fn<LeaseRenewerOptions["onTaken"]>();
  const acquire = vi.fn<LeaseRenewerOptions["acquire"]>(() => Promise.resolve(ownLease(90)));
  const renewer = LeaseRenewer.start({
    store,
    lease: ownLease(1),
    attributes,
    renewMarginMs: 3_600_000,
    acquire,
    onLease,
    onTaken,
    logger: silentLogger,
    signal: new AbortController().signal,
    pollMs: 20,
    ...over,
  });
  return { renewer, onLease, onTaken, acquire };
}

const renewed: Renew = (lease, next) =>
  Promise.resolve({ ...ownLease(1), revision: revisionAfter(lease.revision), attributes: next });

describe("LeaseRenewer", () => {
  it("renews when the margin is reached, and not before", async () => {
    const renew = vi.fn<Renew>(renewed);
    const early = await keep(renew);
    await using _early = early.renewer;
    const due = await keep(renew, { lease: ownLease(1, { expiresAtMs: Date.now() + 3_600_050 }) });
    await using _due = due.renewer;
    await eventually(() => expect(due.renewer.lease.revision).toEqual(revision(2)));
    expect(renew).toHaveBeenCalledTimes(1);
  });

  it("renews when the wall clock jumps over the margin", async () => {
    const now = vi.spyOn(Date, "now");
    try {
      const { renewer } = await keep(renewed);
      await using _renewer = renewer;
      now.mockReturnValue(performance.timeOrigin + performance.now() + 23.5 * 3_600_000);
      await eventually(() => expect(renewer.lease.revision).toEqual(revision(2)));
    } finally {
      now.mockRestore();
    }
  });

  it("ends when another host has the subnet by the time it takes it again", async () => {
    const taken = new FlannelError("LEASE_CONFLICT", "it belongs to 192.0.2.9 now", {
      details: { sharesPublicIp: false },
    });
    const acquire = vi.fn<LeaseRenewerOptions["acquire"]>(() => Promise.reject(taken));
    const { renewer, onTaken, onLease } = await keep(renewed, { acquire });
    await using _renewer = renewer;
    renewer.ownDeleted(revision(5));
    await eventually(() => expect(onTaken).toHaveBeenCalledWith(taken));
    expect(onLease).not.toHaveBeenCalled();
  });

  it("judges by who holds the key now: of a write and a deletion that wait together the last one counts", async () => {
    const thief = { ...attributes, publicIp: parseAddress("192.0.2.9") };
    const first = await keep(renewed);
    await using _first = first.renewer;
    first.renewer.ownWritten(seen(5, { attributes: thief }));
    first.renewer.ownDeleted(revision(6));
    await eventually(() => expect(first.acquire).toHaveBeenCalledOnce());
    expect(first.onTaken).not.toHaveBeenCalled();
    const second = await keep(renewed);
    await using _second = second.renewer;
    second.renewer.ownDeleted(revision(5));
    second.renewer.ownWritten(seen(6, { attributes: thief }));
    await eventually(() => expect(second.onTaken).toHaveBeenCalledOnce());
    expect(second.acquire).not.toHaveBeenCalled();
  });

  it("publishes changed attributes in place", async () => {
    const { renewer, onLease } = await keep(renewed);
    await using _renewer = renewer;
    renewer.setAttributes({ ...attributes, publicIp: parseAddress("192.0.2.50") });
    await eventually(() => expect(onLease).toHaveBeenCalledOnce());
    expect(renewer.lease).toMatchObject({ key: "10.5.1.0-24", attributes: { publicIp: "192.0.2.50" } });
  });

  it("takes the lease again when an operator deleted it", async () => {
    const { renewer, acquire } = await keep(renewed);
    await using _renewer = renewer;
    renewer.ownDeleted(revision(5));
    await eventually(() => expect(renewer.lease.revision).toEqual(revision(90)));
    expect(acquire).toHaveBeenCalledOnce();
    expect(renewer.problem()).toBeUndefined();
  });

  it("looks for its lease in a store that replaced the one before, whatever the revisions there are", async () => {
    const { renewer, acquire } = await keep(renewed, { lease: ownLease(1_000) });
    await using _renewer = renewer;
    renewer.follow({ storeReplaced: true, ownDeletedAt: revision(5) });
    await eventually(() => expect(renewer.lease.revision).toEqual(revision(90)));
    expect(acquire).toHaveBeenCalledOnce();
    expect(renewer.problem()).toBeUndefined();
  });

  it("ignores old news of a deletion", async () => {
    const { renewer, acquire } = await keep(renewed, { lease: ownLease(9) });
    await using _renewer = renewer;
    renewer.ownDeleted(revision(5));
    renewer.setAttributes({ ...attributes, backendType: "vxlan" });
    await eventually(() => expect(renewer.lease.revision).toEqual(revision(10)));
    expect(acquire).not.toHaveBeenCalled();
  });

  it("gives up when another host owns the subnet, and names both", async () => {
    const { renewer, onTaken } = await keep(renewed);
    await using _renewer = renewer;
    renewer.ownWritten(seen(4, { attributes: { publicIp: parseAddress("192.0.2.66") } }));
    await eventually(() => expect(onTaken).toHaveBeenCalledOnce());
    expect(onTaken.mock.calls[0]?.[0].message).toMatch(/192\.0\.2\.66.*192\.0\.2\.1 /);
  });

  it("reports a second agent with our public IP, stops renewing and stays", async () => {
    const renew = vi.fn<Renew>(renewed);
    const { renewer, onTaken } = await keep(renew);
    await using _renewer = renewer;
    renewer.ownWritten(seen(4, { adapterData: 8 }));
    await eventually(() => expect(renewer.problem()).toContain("another agent announces this host's public IP"));
    renewer.setAttributes({ ...attributes, backendType: "vxlan" });
    expect(onTaken).not.toHaveBeenCalled();
    expect(renew).not.toHaveBeenCalled();
  });

  it("rests while a second agent has our public IP, however long renewal is due", async () => {
    const renew = vi.fn<Renew>(renewed);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
    const { renewer } = await keep(renew, { lease: ownLease(1, { expiresAtMs: Date.now() + 60 }), pollMs: 5_000 });
    await using _renewer = renewer;
    renewer.ownWritten(seen(4, { adapterData: 8 }));
    await eventually(() => expect(renewer.problem()).toContain("another agent"));
    await vi.advanceTimersToNextTimerAsync();
    for (let round = 0; round < 3; round++) {
      const sinceMs = Date.now();
      await vi.advanceTimersToNextTimerAsync();
      expect(Date.now() - sinceMs).toBe(5_000);
    }
    expect(renew).not.toHaveBeenCalled();
  });

  it("does not take its own write for a stranger's when the answer to it was lost", async () => {
    const moved = { ...attributes, publicIp: parseAddress("192.0.2.50") };
    const lost: Renew = () => Promise.reject(new FlannelError("STORE_UNAVAILABLE", "cut off", { retryable: true }));
    const renew = vi.fn<Renew>(renewed).mockImplementationOnce(lost);
    const { renewer, onTaken } = await keep(renew);
    await using _renewer = renewer;
    renewer.setAttributes(moved);
    await eventually(() => expect(renew).toHaveBeenCalledOnce());
    renewer.ownWritten(seen(4, { attributes: moved, adapterData: 8 }));
    await eventually(() => expect(renewer.lease.attributes).toEqual(moved));
    expect(onTaken).not.toHaveBeenCalled();
    expect(renewer.problem()).toBeUndefined();
  });

  it.each([
    ["cannot be reached: nothing is known of the write", { isUnanswered: true }, undefined],
    ["refuses the write: that is the problem", {}, "no space"],
  ])("a store that %s", async (_name, details, problem) => {
    const failure = new FlannelError("STORE_UNAVAILABLE", "no space", { retryable: true, details });
    const renew = vi.fn<Renew>(() => Promise.reject(failure));
    const { renewer } = await keep(renew, { retryFirstMs: 1 });
    await using _renewer = renewer;
    renewer.setAttributes({ ...attributes, publicIp: parseAddress("192.0.2.50") });
    await eventually(() => expect(renew.mock.calls.length).toBeGreaterThanOrEqual(2));
    expect(renewer.writeProblem).toBe(problem);
  });

  it("tries again at once when the store is back", async () => {
    const away: Renew = () => Promise.reject(new FlannelError("STORE_UNAVAILABLE", "away", { retryable: true }));
    const renew = vi.fn<Renew>(away);
    const { renewer } = await keep(renew, { retryFirstMs: 60_000 });
    await using _renewer = renewer;
    renewer.setAttributes({ ...attributes, publicIp: parseAddress("192.0.2.50") });
    await eventually(() => expect(renew).toHaveBeenCalledOnce());
    renew.mockImplementation(renewed);
    await eventually(() => {
      renewer.retryNow();
      expect(renewer.lease.attributes.publicIp).toBe("192.0.2.50");
    });
  });

  it("accepts that an operator made it a reservation, and the way back", async () => {
    const renew = vi.fn<Renew>(renewed);
    const { renewer } = await keep(renew);
    await using _renewer = renewer;
    renewer.ownWritten(seen(4, { isReservation: true }));
    await eventually(() => expect(renewer.lease.isReservation).toBe(true));
    expect(renewer.lease.expiresAtMs).toBeUndefined();
    renewer.ownWritten(seen(6, { adapterData: 12 }));
    await eventually(() => expect(renew).toHaveBeenCalledOnce());
    expect(renewer.lease.isReservation).toBe(false);
  });

  it("tells an expired lease from a valid one", async () => {
    const fail: Renew = () => Promise.reject(new FlannelError("STORE_UNAVAILABLE", "away", { retryable: true }));
    const { renewer } = await keep(fail, { lease: ownLease(1, { expiresAtMs: Date.now() + 50 }) });
    await using _renewer = renewer;
    expect(renewer.problem()).toBeUndefined();
    await eventually(() => expect(renewer.problem()).toContain("expired"));
  });

  it.each([-2, 2])("judges that by a clock that nobody sets: the wall clock jumps by %d days", async (days) => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const fail: Renew = () => Promise.reject(new FlannelError("STORE_UNAVAILABLE", "away", { retryable: true }));
    const { renewer } = await keep(fail, {
      lease: ownLease(1, { expiresAtMs: Date.now() + (days > 0 ? DAY_MS : 50) }),
    });
    await using _renewer = renewer;
    vi.setSystemTime(Date.now() + days * DAY_MS);
    if (days > 0) expect(renewer.problem()).toBeUndefined();
    else await eventually(() => expect(renewer.problem()).toContain("expired"));
  });
});
