// Runs in a guest beside a flannel-store on the guest's disk: says on the console what it finds there, then writes until
// the guest is killed, and says what was acknowledged. Lines start with @.
import { appendFileSync, existsSync, statSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { PutRequest, RangeRequest } from "../../src/etcd-api/etcd.ts";
import { methods } from "../../src/store/etcd/rpc.ts";
import { StoreClient } from "./store-client.ts";

const WRITERS = 8;
/** Written without a sync: what a power loss does take. */
const controlFile = "/mnt/unsynced";

const [endpoint = "", life = ""] = process.argv.slice(2);
const everything = { key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) };

function say(text: string): void {
  process.stdout.write(`@${text}\n`);
}

async function connect(): Promise<StoreClient> {
  for (;;) {
    const client = new StoreClient(endpoint);
    if ("ok" in (await client.ask(methods.range, RangeRequest.fromPartial({ key: Buffer.from("x") })))) return client;
    client[Symbol.dispose]();
    await delay(20);
  }
}

async function sayFound(client: StoreClient): Promise<void> {
  const { kvs, header } = await client.call(methods.range, RangeRequest.fromPartial(everything));
  for (const { key, value, modRevision } of kvs) {
    const isWhole = Buffer.compare(key, value) === 0;
    say(`found ${Buffer.from(key).toString()} ${modRevision} ${isWhole ? "whole" : "damaged"}`);
  }
  say(`revision ${header?.revision}`);
  say(`control ${existsSync(controlFile) ? statSync(controlFile).size : 0}`);
}

async function write(client: StoreClient, writer: number): Promise<void> {
  for (let count = 0; ; count++) {
    const key = Buffer.from(`life${life}-writer${writer}-${count}`);
    const { header } = await client.call(methods.put, PutRequest.fromPartial({ key, value: key }));
    say(`acknowledged ${key.toString()} ${header?.revision}`);
    appendFileSync(controlFile, "x");
    say("appended");
  }
}

const client = await connect();
await sayFound(client);
await Promise.all(Array.from({ length: WRITERS }, (_, writer) => write(client, writer)));
