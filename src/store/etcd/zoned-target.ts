// Teaches grpc-js targets with a link-local address and its zone, `ipv6-zone:[fe80::1%eth0]:2379`: it dials the whole of
// it, but names the server without the zone, which means something on this host alone (RFC 6874, section 1) and which
// neither Node's URLs nor Go's servers accept.
import { experimental } from "@grpc/grpc-js";

/** Needed once; later calls change nothing. */
export function registerZonedTargets(): void {
  experimental.registerResolver("ipv6-zone", ZonedResolver);
}

class ZonedResolver implements experimental.Resolver {
  readonly #path: string;
  readonly #listener: experimental.ResolverListener;
  #isDestroyed = false;

  constructor({ path }: { readonly path: string }, listener: experimental.ResolverListener) {
    this.#path = path;
    this.#listener = listener;
  }

  static getDefaultAuthority({ path }: { readonly path: string }): string {
    return path.replace(/%[^\]]*\]/, "]");
  }

  updateResolution(): void {
    this.#isDestroyed = false;
    const [, host = "", port = ""] = /^\[(.*)\]:(\d+)$/.exec(this.#path) ?? [];
    const endpoints = [{ addresses: [{ host, port: Number(port) }] }];
    // Never within the call: grpc-js relies on it.
    process.nextTick(() => {
      if (!this.#isDestroyed) this.#listener(experimental.statusOrFromValue(endpoints), {}, null, "");
    });
  }

  destroy(): void {
    this.#isDestroyed = true;
  }
}
