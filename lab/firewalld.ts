// A real firewalld on a lab host, with a message bus of its own. One in each box: both find each other by fixed paths.
import type { ChildProcess } from "node:child_process";
import { mkdir } from "node:fs/promises";
import type { LabHost } from "./host.ts";
import { boxNamespace } from "./namespace.ts";
import { until } from "./wait.ts";

export class Firewalld implements AsyncDisposable {
  readonly #children: readonly ChildProcess[];

  private constructor(children: readonly ChildProcess[]) {
    this.#children = children;
  }

  /** Returns when it answers. */
  static async start(host: LabHost): Promise<Firewalld> {
    await mkdir("/run/dbus", { recursive: true });
    // Its permanent configuration is the box's too.
    await boxNamespace.run(["mount", "-t", "tmpfs", "none", "/etc/firewalld"]);
    const bus = boxNamespace.spawn(["dbus-daemon", "--system", "--nofork", "--nopidfile"], { stdio: "ignore" });
    const daemon = host.namespace.spawn(["firewalld", "--nofork", "--nopid"], { stdio: "ignore" });
    const firewalld = new Firewalld([daemon, bus]);
    await until(() => firewalld.command("--state"), { what: "firewalld" });
    return firewalld;
  }

  /** `firewall-cmd` with the given words. */
  command(...words: readonly string[]): Promise<string> {
    return boxNamespace.run(["firewall-cmd", ...words]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) {
      const closed = new Promise((resolve) => child.once("close", resolve));
      child.kill("SIGKILL");
      await closed;
    }
    await boxNamespace.run(["umount", "/etc/firewalld"]);
  }
}
