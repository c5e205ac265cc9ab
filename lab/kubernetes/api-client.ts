// The administrator's requests to the lab's API server, from the test's own process: kubectl would take a tenth of a
// second of processor time for each.
import { readFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { DEADLINE_MS } from "../wait.ts";
import type { Certificate } from "./pki.ts";

/** The API server answered with something other than 2xx. */
export class KubernetesApiError extends Error {
  override readonly name = "KubernetesApiError";
  readonly statusCode: number;

  constructor(call: string, statusCode: number, body: string) {
    super(`${call}: HTTP ${statusCode}: ${body}`);
    this.statusCode = statusCode;
  }
}

const patchTypes = {
  strategic: "application/strategic-merge-patch+json",
  merge: "application/merge-patch+json",
} as const;

export class KubernetesApiClient implements Disposable {
  readonly #port: number;
  readonly #agent: Agent;

  /** To 127.0.0.1 at that port. */
  constructor(port: number, caFile: string, certificate: Certificate) {
    this.#port = port;
    const [ca, cert, key] = [caFile, certificate.certificateFile, certificate.keyFile].map((file) =>
      readFileSync(file),
    );
    this.#agent = new Agent({ keepAlive: true, maxSockets: 8, ...(ca && cert && key ? { ca, cert, key } : {}) });
  }

  get<T>(path: string): Promise<T> {
    return this.#call<T>("GET", path);
  }

  post<T>(path: string, body: object): Promise<T> {
    return this.#call<T>("POST", path, body);
  }

  put<T>(path: string, body: object): Promise<T> {
    return this.#call<T>("PUT", path, body);
  }

  patch<T>(path: string, body: object, type: keyof typeof patchTypes = "strategic"): Promise<T> {
    return this.#call<T>("PATCH", path, body, patchTypes[type]);
  }

  delete(path: string): Promise<unknown> {
    return this.#call("DELETE", path);
  }

  /** The answer's text; throws KubernetesApiError unless it is a success. */
  text(method: string, path: string, body?: object, contentType = "application/json"): Promise<string> {
    return new Promise((resolve, reject) => {
      const call = request(
        {
          ...{ host: "127.0.0.1", port: this.#port, method, path, agent: this.#agent, timeout: DEADLINE_MS },
          headers: { accept: "application/json", ...(body === undefined ? {} : { "content-type": contentType }) },
        },
        (response) => {
          let text = "";
          response.setEncoding("utf8").on("data", (chunk: string) => {
            text += chunk;
          });
          response.once("error", reject);
          response.once("end", () => {
            const status = response.statusCode ?? 0;
            if (status >= 200 && status < 300) resolve(text);
            else reject(new KubernetesApiError(`${method} ${path}`, status, text));
          });
        },
      );
      call.once("timeout", () => call.destroy(new Error(`${method} ${path}: no answer within ${DEADLINE_MS} ms`)));
      call.once("error", reject);
      call.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  async #call<T>(method: string, path: string, body?: object, contentType?: string): Promise<T> {
    return JSON.parse(await this.text(method, path, body, contentType)) as T;
  }
}
