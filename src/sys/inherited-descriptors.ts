// Descriptors that the service manager hands to a process it starts (sd_listen_fds(3)).
import { Fd } from "./fd.ts";
import { fcntl } from "./libc.ts";

/** SD_LISTEN_FDS_START in systemd/sd-daemon.h. */
const FIRST_DESCRIPTOR = 3;
const F_SETFD = 2;
const FD_CLOEXEC = 1;

/** What `environment` says this process was started with, by name; closed on exec, and nobody finds it there again. */
export function inheritedDescriptors(environment: NodeJS.ProcessEnv): ReadonlyMap<string, Fd> {
  const { LISTEN_PID: pid, LISTEN_FDS: count, LISTEN_FDNAMES: names } = environment;
  for (const name of ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]) delete environment[name];
  const inherited = new Map<string, Fd>();
  const list = (names ?? "").split(":");
  // Variables that do not go together are not systemd's.
  if (Number(pid) !== process.pid || Number(count) !== list.length) return inherited;
  for (const [index, name] of list.entries()) {
    const number = FIRST_DESCRIPTOR + index;
    if (fcntl(number, F_SETFD, FD_CLOEXEC) < 0) continue; // there is none
    const fd = new Fd(number);
    // systemd names the newest first.
    if (inherited.has(name)) fd[Symbol.dispose]();
    else inherited.set(name, fd);
  }
  return inherited;
}
