// Who else belongs to the cluster of the member that we follow: they tell whether a member that went away was removed from
// it. Asked only for that; leases are read and written at the endpoints that were given.
import { MemberListRequest, type MemberListResponse } from "../../etcd-api/etcd.ts";
import { methods, type RpcMethod } from "./rpc.ts";

/** What it takes of a connection. */
export interface MemberCalls {
  readonly urls: readonly string[];
  call<Q, A>(method: RpcMethod<Q, A>, request: Q, operation: string, signal: AbortSignal): Promise<A>;
  callAt<Q, A>(url: string, method: RpcMethod<Q, A>, request: Q, signal: AbortSignal): Promise<A | undefined>;
}

/** Asked one after the other, until one answers. */
const MAX_ASKED = 3;
const ANSWER_MS = 2_000;

export class ClusterMembers {
  readonly #connection: MemberCalls;
  #followed: { readonly id: bigint; readonly url: string } | undefined;
  /** Client URLs of the others that are none of our endpoints. */
  #others: readonly string[] = [];

  constructor(connection: MemberCalls) {
    this.#connection = connection;
  }

  /** The member `id` answered at the endpoint `url`: asks it, meanwhile, who the others are. */
  learn(id: bigint, url: string, signal: AbortSignal): void {
    this.#followed = { id, url };
    this.#connection.call(methods.memberList, request, "list the members", signal).then(
      ({ members }) => {
        const ours = new Set(this.#connection.urls);
        const others = members.filter((member) => member.id !== id).flatMap(({ clientUrls }) => clientUrls);
        this.#others = others.filter((other) => !ours.has(other));
      },
      // Not every store tells who belongs to it.
      () => undefined,
    );
  }

  /** Undefined when the member still belongs to its cluster, or nobody tells. */
  async whyGone(signal: AbortSignal): Promise<string | undefined> {
    const followed = this.#followed;
    if (followed === undefined) return undefined;
    const limit = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]);
    for (const url of this.#others.slice(0, MAX_ASKED)) {
      const list = await this.#askAt(url, limit);
      if (list === undefined || list.members.length === 0) continue;
      if (list.members.some(({ id }) => id === followed.id)) return undefined;
      return `etcd ${followed.url} was removed from its cluster, to which ${url} belongs: change --etcd-endpoints`;
    }
    return undefined;
  }

  async #askAt(url: string, signal: AbortSignal): Promise<MemberListResponse | undefined> {
    try {
      return await this.#connection.callAt(url, methods.memberList, request, signal);
    } catch {
      return undefined;
    }
  }
}

const request = MemberListRequest.fromPartial({});
