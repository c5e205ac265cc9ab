// One connection to charon: keys and connections loaded as wanted, associations begun where there are none and ended where they
// serve nothing. The same calls again change nothing, so that a charon that lives is adopted with its associations.
import { FlannelError, hasCode } from "../errors.ts";
import type { Address } from "../ip/address.ts";
import { type Association, type ChildAssociation, pluginsOf, readAssociations } from "./associations.ts";
import { type CharonNeeds, connectCharon, missingParts } from "./charon-process.ts";
import {
  childName,
  connectionMessage,
  connectionName,
  type IpsecPeer,
  type IpsecState,
  isConnectionOf,
  keyOwners,
  sharedKeyMessage,
  sharedKeyPrefix,
  type WantedIpsec,
} from "./connection.ts";
import type { ViciClient } from "./vici-client.ts";
import { listOf, sectionsOf, textOf, type ViciSection } from "./vici-message.ts";

/** Told while the session lives. */
export interface SessionEvents {
  /** Associations came up or went. */
  onAssociations(): void;
  /** A line of charon's log; of a connection, where it names one. */
  onLog(line: string, connection: string | undefined): void;
}

export class CharonSession implements AsyncDisposable {
  /** Settles once the connection has ended. */
  readonly closed: Promise<void>;
  /** charon was started for this session, so that it had no associations. */
  readonly isStarted: boolean;
  /** `5.9.8`. */
  readonly version: string;
  readonly #client: ViciClient;
  /** What charon got in this session, as text, by name. */
  readonly #connections = new Map<string, string>();
  readonly #keys = new Map<Address, string>();
  #state: WantedIpsec | undefined;

  private constructor(client: ViciClient, isStarted: boolean, version: string) {
    this.#client = client;
    this.isStarted = isStarted;
    this.version = version;
    this.closed = client.closed;
  }

  /** As `connectCharon`; `KERNEL_UNSUPPORTED` when the charon that runs cannot do what this host needs. */
  static async open(needs: CharonNeeds, events: SessionEvents, signal: AbortSignal): Promise<CharonSession> {
    const onEvent = (name: string, message: ViciSection): void => {
      if (name === "log") events.onLog(textOf(message, "msg") ?? "", textOf(message, "ikesa-name"));
      else events.onAssociations();
    };
    const { client, isStarted } = await connectCharon(needs, onEvent, signal);
    try {
      const version = textOf(await client.request("version"), "version") ?? "?";
      requirePlugins(pluginsOf(await client.request("stats")), needs);
      for (const event of ["log", "ike-updown", "child-updown"]) await client.register(event);
      return new CharonSession(client, isStarted, version);
    } catch (error) {
      await client[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Brings keys and connections to `state`. Throws what charon refuses; what was done before stays done. */
  async load(state: WantedIpsec): Promise<void> {
    if (this.#state === state) return;
    await this.#loadKeys(state);
    if (state.isComplete) await this.#unloadOthers(state);
    for (const peer of state.peers) await this.#loadConnection(state, peer);
    this.#state = state;
  }

  /** What was loaded in this session and is not there any more, by charon's names: another program unloaded it. */
  async unloaded(): Promise<readonly string[]> {
    const network = this.#state?.network;
    if (network === undefined) return [];
    const connections = new Set(listOf(await this.#client.request("get-conns"), "conns"));
    const keys = new Set(listOf(await this.#client.request("get-shared"), "keys"));
    return [
      ...[...this.#connections.keys()].filter((name) => !connections.has(name)),
      ...[...this.#keys.keys()].map((owner) => `${sharedKeyPrefix(network)}${owner}`).filter((id) => !keys.has(id)),
    ];
  }

  /** The next `load` loads everything, also what is there. */
  forget(): void {
    this.#connections.clear();
    this.#keys.clear();
    this.#state = undefined;
  }

  async #unloadOthers(state: IpsecState): Promise<void> {
    const wanted = new Set(state.peers.map((peer) => connectionName(state, peer)));
    const loaded = await this.#client.list("list-conns", "list-conn");
    for (const name of loaded.flatMap((message) => sectionsOf(message).map(([each]) => each))) {
      if (wanted.has(name) || !isConnectionOf(name, [state.network])) continue;
      await unloadConnection(this.#client, name);
      this.#connections.delete(name);
    }
  }

  /** Of the network's connections. */
  async associations({ network }: IpsecState): Promise<readonly Association[]> {
    const all = readAssociations(await this.#client.list("list-sas", "list-sa"));
    return all.filter(({ connection }) => isConnectionOf(connection, [network]));
  }

  /** Does not wait for the peer. */
  async initiate(state: IpsecState, peer: IpsecPeer): Promise<void> {
    const message = { ike: connectionName(state, peer), child: childName(state, peer), timeout: "-1" };
    await this.#client.request("initiate", message);
  }

  async terminate({ id }: Association): Promise<void> {
    await ignoreRefusal(this.#client.request("terminate", { "ike-id": String(id), force: "yes", timeout: "-1" }));
  }

  /** Negotiates new keys, which go into the kernel, in place of those of this child. Does not wait for the peer. */
  async renew({ id }: ChildAssociation): Promise<void> {
    const child = { "child-id": String(id) };
    try {
      await this.#client.request("rekey", child);
    } catch (error) {
      // Before strongSwan 5.5.2 it cannot be asked for; or the child has gone by itself.
      if (!hasCode(error, "KERNEL_REJECTED", "KERNEL_UNSUPPORTED")) throw error;
      await ignoreRefusal(this.#client.request("terminate", { ...child, timeout: "-1" }));
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#client[Symbol.asyncDispose]();
  }

  async #loadKeys(state: WantedIpsec): Promise<void> {
    const owners = keyOwners(state);
    for (const owner of owners) {
      if (this.#keys.get(owner) === state.presharedKey) continue;
      await this.#client.request("load-shared", sharedKeyMessage(state, owner));
      this.#keys.set(owner, state.presharedKey);
    }
    if (!state.isComplete) return;
    const prefix = sharedKeyPrefix(state.network);
    const kept = new Set<string>(owners.map((owner) => `${prefix}${owner}`));
    for (const id of listOf(await this.#client.request("get-shared"), "keys")) {
      if (id.startsWith(prefix) && !kept.has(id)) await ignoreRefusal(this.#client.request("unload-shared", { id }));
    }
    for (const owner of this.#keys.keys()) if (!owners.includes(owner)) this.#keys.delete(owner);
  }

  /** An association goes on with what it was begun with: one of a changed connection is restarted. */
  async #loadConnection(state: IpsecState, peer: IpsecPeer): Promise<void> {
    const name = connectionName(state, peer);
    const message = connectionMessage(state, peer);
    const text = JSON.stringify(message);
    const before = this.#connections.get(name);
    if (before === text) return;
    await this.#client.request("load-conn", message);
    this.#connections.set(name, text);
    if (before !== undefined) await ignoreRefusal(this.#client.request("terminate", terminationOf(name)));
  }
}

/** Takes a connection and its associations away. */
export async function unloadConnection(client: ViciClient, name: string): Promise<void> {
  await ignoreRefusal(client.request("unload-conn", { name }));
  await ignoreRefusal(client.request("terminate", terminationOf(name)));
}

function terminationOf(name: string) {
  return { ike: name, force: "yes", timeout: "-1" };
}

/** What is to go is gone already. */
async function ignoreRefusal(request: Promise<unknown>): Promise<void> {
  try {
    await request;
  } catch (error) {
    if (!hasCode(error, "KERNEL_REJECTED")) throw error;
  }
}

const USERSPACE_PLUGIN = "kernel-libipsec";

function requirePlugins(plugins: readonly string[], needs: CharonNeeds): void {
  const hasUserspace = plugins.includes(USERSPACE_PLUGIN);
  if (needs.isUserspace === hasUserspace) return;
  const missing = missingParts(needs);
  const cure =
    missing === undefined
      ? `set charon.plugins.${USERSPACE_PLUGIN}.load to yes and restart it, or stop it so that flanneld starts one`
      : missing.cure;
  const words = needs.isUserspace
    ? `this kernel has no ESP, and the charon that runs has not loaded ${USERSPACE_PLUGIN}: ${cure}`
    : `the charon that runs encrypts by itself (${USERSPACE_PLUGIN}) and not in the kernel: set charon.plugins.${USERSPACE_PLUGIN}.load to no and restart it`;
  throw new FlannelError("KERNEL_UNSUPPORTED", words, { retryable: true });
}
