// The agent's control socket: HTTP over a unix socket that only its owner may open. Protocol: control-protocol.ts.
import { chmodSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { dirname } from "node:path";
import { describeError, FlannelError } from "../../errors.ts";
import { ensureDirectory } from "../../sys/files.ts";
import {
  inodeOf,
  isAnswering,
  listenPrivately,
  removeOldSocket,
  requireSocketOrNothing,
} from "../../sys/socket-file.ts";
import { limitConnections, requestTimeouts } from "./connection-limit.ts";
import { CONTROL_PROTOCOL_VERSION, controlPaths } from "./control-paths.ts";
import type { Handover, MetricsAnswer, Plan, Reloaded, Rotated, Rules, Status } from "./control-protocol.ts";
import { type JournalSource, streamEvents } from "./event-stream.ts";
import type { History, Peers, Why } from "./journal-protocol.ts";
import type { Trace } from "./trace-protocol.ts";

export interface ControlHandlers {
  readonly status: () => Promise<Status>;
  readonly plan: () => Promise<Plan>;
  readonly rules: () => Promise<Rules>;
  readonly handover: () => Promise<Handover>;
  readonly reload: () => Promise<Reloaded>;
  readonly rotate: (query: URLSearchParams) => Promise<Rotated>;
  readonly metrics: () => Promise<MetricsAnswer>;
  readonly history: () => Promise<History>;
  readonly peers: () => Promise<Peers>;
  /** Throws `USAGE` for what is no question. */
  readonly why: (of: string) => Promise<Why>;
  /** Throws `USAGE` for what is no address. */
  readonly trace: (to: string) => Promise<Trace>;
  readonly journal: JournalSource;
}

export class ControlServer implements AsyncDisposable {
  readonly path: string;
  readonly #handlers: ControlHandlers;
  #listener: Listener;
  #renewal: Promise<boolean> | undefined;
  #isClosed = false;

  private constructor(path: string, handlers: ControlHandlers, listener: Listener) {
    this.path = path;
    this.#handlers = handlers;
    this.#listener = listener;
  }

  /** The caller holds the agent's lock, so a socket that is already there belongs to nobody alive. */
  static async open(path: string, handlers: ControlHandlers): Promise<ControlServer> {
    return new ControlServer(path, handlers, await listen(path, handlers));
  }

  /**
   * Listens again when the socket was removed or replaced: no client could connect. True when that was necessary.
   * Throws `AGENT_RUNNING` when another process listens there now, `FILE_FAILED` when it cannot be restored.
   */
  renew(): Promise<boolean> {
    this.#renewal ??= this.#renew().finally(() => {
      this.#renewal = undefined;
    });
    return this.#renewal;
  }

  async #renew(): Promise<boolean> {
    if (this.#isClosed || inodeOf(this.path) === this.#listener.inode) return false;
    if (await isAnswering(this.path)) {
      throw new FlannelError("AGENT_RUNNING", `another process listens on ${this.path} now`);
    }
    requireSocketOrNothing(this.path);
    const former = this.#listener.server;
    // First: Node removes the path of a socket that it closes. Requests under way are answered.
    former.close();
    this.#listener = await listen(this.path, this.#handlers);
    if (this.#isClosed) await this.#close();
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    await this.#renewal?.catch(() => undefined);
    await this.#close();
  }

  async #close(): Promise<void> {
    const { server, inode } = this.#listener;
    if (isAnothers(this.path, inode)) {
      // Closing would remove the path, whoever's it is now. Nobody can connect any more.
      server.closeAllConnections();
      server.unref();
      return;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    // Removes the path, too.
    server.close(() => resolve());
    server.closeAllConnections();
    await promise;
  }
}

interface Listener {
  readonly server: Server;
  /** Of the socket as a file. */
  readonly inode: number | undefined;
}

async function listen(path: string, handlers: ControlHandlers): Promise<Listener> {
  const server = createServer(requestTimeouts, (request, response) => void answer(request, response, handlers));
  limitConnections(server, 32);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  try {
    ensureDirectory(dirname(path), 0o755);
    removeOldSocket(path);
    listenPrivately(server, path, resolve);
  } catch (cause) {
    reject(cause);
  }
  try {
    await promise;
    chmodSync(path, 0o600);
  } catch (cause) {
    server.close();
    throw new FlannelError("FILE_FAILED", `cannot open the control socket ${path}: choose another --control-socket`, {
      cause,
    });
  }
  server.removeListener("error", reject);
  server.on("error", () => undefined);
  return { server, inode: inodeOf(path) };
}

/** Another file was put there. What cannot be looked at is not for us to remove. */
function isAnothers(path: string, inode: number | undefined): boolean {
  try {
    return ![undefined, inode].includes(inodeOf(path));
  } catch {
    return true;
  }
}

async function answer(request: IncomingMessage, response: ServerResponse, handlers: ControlHandlers): Promise<void> {
  request.resume();
  const [path = "", ...rest] = (request.url ?? "").split("?");
  const query = new URLSearchParams(rest.join("?"));
  const routes: Record<string, ((query: URLSearchParams) => Promise<unknown>) | undefined> = {
    [`GET ${controlPaths.status}`]: handlers.status,
    [`GET ${controlPaths.plan}`]: handlers.plan,
    [`GET ${controlPaths.rules}`]: handlers.rules,
    [`GET ${controlPaths.metrics}`]: handlers.metrics,
    [`GET ${controlPaths.history}`]: handlers.history,
    [`GET ${controlPaths.peers}`]: handlers.peers,
    [`GET ${controlPaths.why}`]: () => handlers.why(query.get("of") ?? ""),
    [`GET ${controlPaths.trace}`]: () => handlers.trace(query.get("to") ?? ""),
    [`POST ${controlPaths.handover}`]: handlers.handover,
    [`POST ${controlPaths.reload}`]: handlers.reload,
    [`POST ${controlPaths.rotate}`]: handlers.rotate,
  };
  if (request.method === "GET" && path === controlPaths.events) {
    const after = query.get("after");
    const isOpen = streamEvents(response, handlers.journal, after === null ? undefined : Number(after) || 0);
    if (!isOpen) send(response, 503, failure("INTERNAL", "too many clients follow the events of this agent"));
    return;
  }
  const handler = routes[`${request.method} ${path}`];
  try {
    if (handler === undefined) send(response, 404, refusal(path));
    else send(response, 200, await handler(query));
  } catch (error) {
    const code = error instanceof FlannelError ? error.code : "INTERNAL";
    send(response, 500, failure(code, describeError(error)));
  }
}

/** Also for a flannelctl of another version, which shows the message as it is. */
function refusal(path: string) {
  const asked = /^\/v(\d+)\//.exec(path)?.[1];
  if (asked === undefined || asked === String(CONTROL_PROTOCOL_VERSION)) {
    return failure("USAGE", "unknown operation: restart flanneld if flannelctl is newer");
  }
  return failure(
    "AGENT_INCOMPATIBLE",
    `this flanneld speaks version ${CONTROL_PROTOCOL_VERSION} of the control protocol, not ${asked}: ` +
      "use the flannelctl of the same version",
  );
}

function failure(code: string, message: string) {
  return { error: { code, message } };
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(`${JSON.stringify(body)}\n`);
}
