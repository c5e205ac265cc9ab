// Lists objects of one kind: all of them in pages, or those that are selected. Of each object only what `read` takes out of
// it is kept, one object at a time.
import { hasCode } from "../errors.ts";
import { tryParseJson } from "../json/try-parse-json.ts";
import { memberOf, textOf } from "../json/untyped-fields.ts";
import type { ApiClient } from "./api-client.ts";
import { notJson, type RequestSubject } from "./api-errors.ts";
import { arrayDropper } from "./drop-arrays.ts";
import { ListSplitter } from "./list-splitter.ts";

export interface ListTarget<T> {
  readonly path: string;
  /** For messages and RBAC: `nodes`. */
  readonly resource: string;
  readonly fieldSelector?: string;
  /** Members whose arrays `read` does not look at: they are not even parsed. */
  readonly unread?: readonly string[];
  /** What to keep of an object; undefined when it is none. */
  read(object: unknown): T | undefined;
}

/** What a list of this moment holds. */
export interface ListedObjects<T> {
  readonly objects: readonly T[];
  readonly resourceVersion: string;
}

const PAGE_SIZE = 250;
/** etcd takes objects of 1.5 MiB; their JSON is no longer than this. */
export const MAX_OBJECT_BYTES = 16 * 1024 * 1024;

/** In pages; begins again when the server no longer knows the state that the pages are of. */
export async function listAll<T>(
  client: ApiClient,
  target: ListTarget<T>,
  signal: AbortSignal,
): Promise<ListedObjects<T> & { readonly type: "list" }> {
  const { fieldSelector } = target;
  let objects: T[] = [];
  let next: string | undefined;
  for (;;) {
    const query = {
      limit: String(PAGE_SIZE),
      ...(next !== undefined && { continue: next }),
      ...(fieldSelector !== undefined && { fieldSelector }),
    };
    try {
      const page = await listPage(client, target, query, signal, (object) => objects.push(object));
      next = page.next;
      if (next === undefined) return { type: "list", objects, resourceVersion: page.resourceVersion };
    } catch (error) {
      if (!hasCode(error, "STORE_COMPACTED") || next === undefined) throw error;
      next = undefined;
      objects = [];
    }
  }
}

/**
 * Those that `selector` (`fieldSelector` or `labelSelector`) picks, as they were at `notBefore` or later: the server answers
 * from its memory as soon as it knows that version.
 */
export async function listSelected<T>(
  client: ApiClient,
  target: ListTarget<T>,
  { notBefore, ...selector }: Readonly<Record<string, string>> & { readonly notBefore: string },
  signal: AbortSignal,
): Promise<ListedObjects<T>> {
  const objects: T[] = [];
  const query = { ...selector, resourceVersion: notBefore, resourceVersionMatch: "NotOlderThan" };
  const { resourceVersion } = await listPage(client, target, query, signal, (object) => objects.push(object));
  return { objects, resourceVersion };
}

async function listPage<T>(
  client: ApiClient,
  { path, resource, unread = [], read }: ListTarget<T>,
  query: Readonly<Record<string, string>>,
  signal: AbortSignal,
  take: (object: T) => void,
): Promise<{ readonly resourceVersion: string; readonly next: string | undefined }> {
  const subject = { operation: `list ${resource}`, verb: "list", resource } as const;
  const textOfItem = arrayDropper(unread);
  const splitter = new ListSplitter((item) => {
    const object = read(tryParseJson(textOfItem(item)));
    if (object !== undefined) take(object);
  }, MAX_OBJECT_BYTES);
  await client.pour({ ...subject, method: "GET", path, query }, signal, (chunk) => splitter.push(chunk));
  const page = endOf(splitter, subject);
  const metadata = memberOf(page, "metadata");
  const resourceVersion = textOf(memberOf(metadata, "resourceVersion"));
  // Other JSON, a proxy's for example, is no list without objects. The API server's always has the array.
  if (resourceVersion === undefined || !Array.isArray(memberOf(page, "items"))) throw notJson(subject);
  return { resourceVersion, next: textOf(memberOf(metadata, "continue")) };
}

/** Of the server's store now. */
export async function presentVersion<T>(
  client: ApiClient,
  { path, resource, fieldSelector }: ListTarget<T>,
  signal: AbortSignal,
): Promise<string> {
  const subject = { operation: `list ${resource}`, verb: "list", resource } as const;
  const query = { limit: "1", ...(fieldSelector !== undefined && { fieldSelector }) };
  const answer = await client.call({ ...subject, method: "GET", path, query }, signal);
  const resourceVersion = textOf(memberOf(memberOf(answer, "metadata"), "resourceVersion"));
  if (resourceVersion === undefined) throw notJson(subject);
  return resourceVersion;
}

/** The list without its items. */
function endOf(splitter: ListSplitter, subject: RequestSubject): unknown {
  try {
    return splitter.end();
  } catch (error) {
    throw error instanceof SyntaxError ? notJson(subject) : error;
  }
}
