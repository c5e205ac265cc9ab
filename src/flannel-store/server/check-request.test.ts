import { expect, it } from "vitest";
import { PutRequest, TxnRequest } from "../../etcd-api/etcd.ts";
import { checkPut, checkTxn } from "./check-request.ts";

const put = (key: string) => ({ requestPut: { key: Buffer.from(key) } });
const remove = (key: string, end = "") => ({
  requestDeleteRange: { key: Buffer.from(key), rangeEnd: Buffer.from(end, "latin1") },
});
const nested = (success: object[], failure: object[] = []) => ({ requestTxn: { success, failure } });

function check(success: object[], failure: object[] = []): void {
  checkTxn(TxnRequest.fromPartial({ success, failure }));
}

it("refuses two puts of a key, and a put of what is deleted, in one branch", () => {
  const duplicate = "etcdserver: duplicate key given in txn request";
  expect(() => check([put("a"), put("a")])).toThrow(duplicate);
  expect(() => check([put("b"), remove("a", "c")])).toThrow(duplicate);
  expect(() => check([remove("a", "\0"), put("zz")])).toThrow(duplicate);
  expect(() => check([put("a"), nested([put("a")])])).toThrow(duplicate);
  expect(() => check([remove("a"), nested([], [put("a")])])).toThrow(duplicate);
  expect(() => check([], [put("a"), put("a")])).toThrow(duplicate);
});

it("lets branches that exclude each other touch the same key", () => {
  expect(() => check([put("a")], [put("a")])).not.toThrow();
  expect(() => check([nested([put("a")], [put("a")])])).not.toThrow();
  expect(() => check([remove("a", "c"), remove("b", "d"), put("e")])).not.toThrow();
});

it("counts operations, nested ones into their parent's", () => {
  const puts = (count: number) => Array.from({ length: count }, (_, index) => put(`k${index}`));
  expect(() => check(puts(128))).not.toThrow();
  expect(() => check(puts(129))).toThrow("etcdserver: too many operations in txn request");
  expect(() => check([nested(puts(127))])).not.toThrow();
  expect(() => check([nested(puts(128))])).toThrow("too many operations");
});

it("refuses a put that says a value or lease and to keep it", () => {
  const key = Buffer.from("k");
  expect(() => checkPut(PutRequest.fromPartial({ value: Buffer.from("v") }))).toThrow("key is not provided");
  expect(() => checkPut(PutRequest.fromPartial({ key, value: Buffer.from("v"), ignoreValue: true }))).toThrow(
    "value is provided",
  );
  expect(() => checkPut(PutRequest.fromPartial({ key, lease: 1n, ignoreLease: true }))).toThrow("lease is provided");
});
