// Who may see the page: a link works once and gives the browser a cookie, which is sent to one path of this server alone.
// Neither another page in the same browser nor another program's port on the same address gets at it.
import { randomBytes, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { isIPv6 } from "node:net";
import type { ListenPlan } from "./listen-plan.ts";

const COOKIE = "flannel-dashboard";
/** Browsers at a time; who came first goes first. */
const MAX_SESSIONS = 8;

export type Refusal = { readonly status: 400 | 401 | 403; readonly text: string };

export class Admission {
  readonly #plan: ListenPlan;
  /** The secret of the cookie, by the id in the path. */
  readonly #sessions = new Map<string, string>();
  #token = randomText();

  constructor(plan: ListenPlan) {
    this.#plan = plan;
  }

  /** Of the next link. */
  get token(): string {
    return this.#token;
  }

  /** What every request has to be like, before anything is looked at. */
  refuse(request: IncomingMessage): Refusal | undefined {
    const { host = "", origin } = request.headers;
    const name = nameOf(host);
    if (name === undefined || !this.#plan.isOwnName(name, plainAddress(request.socket.localAddress))) {
      return { status: 403, text: "this host is not known by that name: use the address that flannelctl printed\n" };
    }
    const scheme = this.#plan.tls === undefined ? "http" : "https";
    if (origin !== undefined && origin !== `${scheme}://${host}`) {
      return { status: 403, text: "a page of another origin may not ask\n" };
    }
    return undefined;
  }

  /** Uses the link up. Undefined: it is none, or was used before. */
  open(token: string): { readonly path: string; readonly cookie: string } | undefined {
    if (!isSame(token, this.#token)) return undefined;
    this.#token = randomText();
    const [id, secret] = [randomText(), randomText()];
    this.#sessions.set(id, secret);
    const [oldest = ""] = this.#sessions.keys();
    if (this.#sessions.size > MAX_SESSIONS) this.#sessions.delete(oldest);
    const path = `/v/${id}/`;
    const secure = this.#plan.tls === undefined ? "" : "; Secure";
    // Lax, not Strict: where the link was clicked in a page of another site (a chat, a wiki), a browser sends no strict cookie with
    // the redirect to the page, and the link would be used up for nothing. Nothing can be changed here; the feed asks who asks.
    return { path, cookie: `${COOKIE}=${secret}; Path=${path}; HttpOnly; SameSite=Lax${secure}` };
  }

  /** Whether the browser was let in, and may ask for this path. `id` is from the path. */
  isOpen(id: string, request: IncomingMessage): boolean {
    const secret = this.#sessions.get(id);
    if (secret === undefined) return false;
    const cookies = (request.headers.cookie ?? "").split(";").map((cookie) => cookie.trim());
    return cookies.some((cookie) => cookie.startsWith(`${COOKIE}=`) && isSame(cookie.slice(COOKIE.length + 1), secret));
  }
}

/** Whether a browser asks ahead of its user: a link is not used up by that. */
export function isAhead({ headers }: IncomingMessage): boolean {
  return /prefetch|prerender/.test(`${String(headers["sec-purpose"] ?? "")} ${String(headers["purpose"] ?? "")}`);
}

/** Whether another page than ours asks; browsers before 2020 to 2023 do not say, and send the cookie to no other. */
export function isForeign({ headers }: IncomingMessage): boolean {
  const site = headers["sec-fetch-site"];
  return site !== undefined && site !== "same-origin";
}

/** 256 bits. */
function randomText(): string {
  return randomBytes(32).toString("base64url");
}

function isSame(given: string, wanted: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(wanted)];
  return a.length === b.length && timingSafeEqual(a, b);
}

/** `localhost:8475` → `localhost`; without the brackets of IPv6. */
function nameOf(host: string): string | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+))(?::\d{1,5})?$/.exec(host);
  const name = match?.[1] ?? match?.[2];
  return name?.toLowerCase();
}

/** IPv4 on a socket of both families. */
function plainAddress(address: string | undefined): string | undefined {
  const found = address !== undefined && isIPv6(address) ? /^::ffff:([\d.]+)$/i.exec(address)?.[1] : undefined;
  return found ?? address;
}
