import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { propertyRuns } from "../../../test/support/fuzz.ts";
import { annotationNames } from "../../config/annotation-prefix.ts";
import { NodeCompletion, type NodeQuestion } from "./node-completion.ts";
import type { NodeMetadata, NodeRecord } from "./node-record.ts";

const names = annotationNames("flannel.alpha.coreos.com");
const nodeNames = ["own", "a", "b", "c"] as const;

/** What kubelets, people and controllers do to Nodes. */
const deeds = ["heartbeat", "announce", "unmanage", "give", "delete", "relabel"] as const;
/** What reaches the agent next: an event of the watch, its question, the server's answer; or another deed comes first. */
const steps = ["deed", "event", "ask", "answer", "list"] as const;

type Event = { readonly type: "put" | "delete"; readonly node: NodeMetadata };

/** A server with all its past, a watch that is behind it, and an agent with what it was told. */
class World {
  readonly completion = new NodeCompletion(names, "own");
  readonly told = new Map<string, NodeRecord>();
  readonly #states: Map<string, NodeRecord>[] = [new Map()];
  readonly #events: Event[] = [];
  #seenEvents = 0;
  #uids = 0;
  #asked: { readonly question: NodeQuestion; readonly from: number } | undefined;
  questions = 0;

  get #now(): Map<string, NodeRecord> {
    return this.#states.at(-1) ?? new Map();
  }

  /** Of the store of Nodes as it is. */
  truth(): Map<string, NodeRecord> {
    return this.#now;
  }

  deed(name: string, deed: (typeof deeds)[number], value: number): void {
    const resourceVersion = String(this.#states.length);
    const next = new Map(this.#now);
    const known = next.get(name);
    if (known !== undefined && deed === "delete") {
      next.delete(name);
      this.#events.push({ type: "delete", node: sketch({ ...known, resourceVersion }) });
    } else {
      const fresh = { name, uid: `uid-${this.#uids++}`, createdAtMs: 0, annotations: {}, podCidrs: [], hostName: name };
      const { hostName, ...rest } = known ?? fresh;
      const label = deed === "relabel" ? [undefined, "other", name][value % 3] : hostName;
      const changed = {
        ...{ delete: {}, relabel: {}, unmanage: { annotations: {} } },
        heartbeat: {
          networkUnavailable: { status: "True", reason: "", message: "", lastTransitionTime: resourceVersion },
        },
        announce: { annotations: { [names.managed]: "true", [names.publicIp]: `192.0.2.${value}` } },
        give: rest.podCidrs.length > 0 ? {} : { podCidrs: [`10.244.${value}.0/24`] },
      }[deed];
      const node: NodeRecord = {
        ...rest,
        ...(label !== undefined && { hostName: label }),
        ...changed,
        resourceVersion,
      };
      next.set(name, node);
      this.#events.push({ type: "put", node: sketch(node) });
    }
    this.#states.push(next);
  }

  /** Returns whether there was one. */
  event(): boolean {
    const event = this.#events[this.#seenEvents];
    if (event === undefined) return false;
    this.#seenEvents++;
    if (event.type === "delete") {
      if (this.completion.remove(event.node)) this.#forget(event.node);
    } else {
      const told = this.completion.put(event.node);
      if (typeof told === "object") this.#tell(told);
    }
    return true;
  }

  ask(): void {
    const question = this.completion.question();
    if (this.#asked !== undefined || question === undefined) return;
    this.questions++;
    this.#asked = { question, from: this.#states.length - 1 };
  }

  /** As of any moment since the question was put, or of one before it: a server may lag behind. */
  answer(moment: number): void {
    if (this.#asked === undefined) return;
    const { question } = this.#asked;
    this.#asked = undefined;
    const version = Math.min(moment, this.#states.length - 1);
    const { fieldSelector, labelSelector } = question.selector;
    const hosts = labelSelector?.slice(labelSelector.indexOf("(") + 1, -1).split(",") ?? [];
    const picked = [...(this.#states[version] ?? new Map<string, NodeRecord>()).values()].filter(
      ({ name, hostName = "" }) => `metadata.name=${name}` === fieldSelector || hosts.includes(hostName),
    );
    for (const record of this.completion.answer(question, picked, String(version)).news) this.#tell(record);
  }

  /** The watch began anew. */
  list(): void {
    this.#seenEvents = this.#events.length;
    const records = this.completion.replace([...this.#now.values()]);
    this.told.clear();
    for (const record of records) this.told.set(record.name, record);
  }

  /** Everything that is under way arrives, and nothing else happens. */
  settle(): void {
    while (this.event());
    for (let rounds = 0; this.completion.question() !== undefined || this.#asked !== undefined; rounds++) {
      if (rounds > 20) throw new Error("it does not stop asking");
      this.ask();
      this.answer(Number.POSITIVE_INFINITY);
    }
  }

  #tell(record: NodeRecord): void {
    this.#requireLater(record);
    this.told.set(record.name, record);
  }

  #forget(node: NodeMetadata): void {
    this.#requireLater(node);
    this.told.delete(node.name);
  }

  #requireLater({ name, resourceVersion }: NodeMetadata): void {
    const before = this.told.get(name)?.resourceVersion ?? "0";
    if (Number(before) > Number(resourceVersion)) throw new Error(`${name} goes back: ${before} to ${resourceVersion}`);
  }
}

function sketch({ name, uid, createdAtMs, resourceVersion, annotations, hostName }: NodeRecord): NodeMetadata {
  return { name, uid, createdAtMs, resourceVersion, annotations, ...(hostName !== undefined && { hostName }) };
}

/** What counts of a Node: of our own its condition too, of a peer that is none of flannel's nothing. */
function essence(nodes: ReadonlyMap<string, NodeRecord>): string[] {
  return [...nodes.values()]
    .filter(({ name, annotations }) => name === "own" || annotations[names.managed] === "true")
    .map(({ name, uid, podCidrs, annotations, networkUnavailable }) =>
      JSON.stringify([name, uid, podCidrs, annotations, name === "own" && networkUnavailable]),
    )
    .toSorted();
}

describe("NodeCompletion", () => {
  it("comes to what the server has, whatever is late, overtaken, deleted or made again; and never goes back", () => {
    const step = fc.record({
      step: fc.constantFrom(...steps, "deed", "event", "ask", "answer"),
      name: fc.constantFrom(...nodeNames),
      deed: fc.constantFrom(...deeds),
      value: fc.integer({ min: 1, max: 3 }),
      moment: fc.integer({ min: 0, max: 60 }),
    });
    const property = fc.property(fc.array(step, { maxLength: 60, size: "max" }), (all) => {
      const world = new World();
      for (const { step: what, name, deed, value, moment } of all) {
        if (what === "deed") world.deed(name, deed, value);
        else if (what === "answer") world.answer(moment);
        else world[what]();
      }
      world.settle();
      expect(essence(world.told)).toEqual(essence(world.truth()));
    });
    fc.assert(property, propertyRuns(20_000));
  });

  it("asks for a peer once in its life, for many together, and for none that is not flannel's", () => {
    const world = new World();
    for (const name of nodeNames) for (const deed of ["heartbeat", "give"] as const) world.deed(name, deed, 1);
    while (world.event());
    expect(world.completion.question()?.nodes.map(({ name }) => name)).toEqual(["own"]);
    for (const name of ["a", "b", "c"]) world.deed(name, "announce", 1);
    while (world.event());
    expect(world.completion.question()?.selector).toEqual({
      labelSelector: "kubernetes.io/hostname in (own,a,b,c)",
    });
    world.settle();
    expect(world.questions).toBe(1);
    for (let beat = 0; beat < 10; beat++) {
      for (const name of ["a", "b", "c"])
        for (const deed of ["heartbeat", "announce"] as const) world.deed(name, deed, 2);
    }
    world.settle();
    expect(world.questions).toBe(1);
    expect(essence(world.told)).toEqual(essence(world.truth()));
  });
});
