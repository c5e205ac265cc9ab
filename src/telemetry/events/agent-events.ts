// Log events of the agent as a process: start, readiness, stop, its files, and what it finds wrong with the host.
import { error, finding, info, verbose, warn } from "./definition.ts";

export const agentEvents = {
  "agent.starting": info("The agent starts; the line has its version, its pid and the flags."),
  "agent.ready": info("The agent is ready: packets to all known peers can flow."),
  "agent.degraded": warn(
    "Packets flow, but not to all peers, or a precaution is missing; the line has the reasons.",
    "Read the reasons; `flannelctl status` shows them with more details.",
  ),
  "agent.not-ready": warn(
    "The agent was ready and is no longer ready; the line has the reasons.",
    "Read the reasons; `flannelctl status` shows them with more details.",
  ),
  "agent.failed": error(
    "The agent ends; the line says why and has the error code.",
    "Follow the line; the table of error codes explains its code.",
  ),
  "agent.failed.stack": error("The stack trace of an unexpected error.", "Report it together with this line."),
  "agent.fault": warn(
    "A part of the agent failed in a way that its author did not expect, or Node warns of something; the part is tried again. One line for each.",
    "Report it together with this line.",
  ),
  "agent.reload": info(
    "The agent was asked to reload (SIGHUP, `flannelctl reload`): it reads its log level, its certificates and the network configuration.",
  ),
  "agent.reload-failed": error(
    "The agent could not reload everything that it was asked to; it keeps the previous values.",
    "Correct what the line names, then run `flannelctl reload`.",
  ),
  "agent.stopping": info("The agent received a signal and stops."),
  "agent.stopped": info("The agent has stopped; its lease and the kernel's state stay."),
  "agent.stop-forced": error(
    "The agent did not stop in time and ends at once; the kernel's state stays.",
    "Report it if it happens again.",
  ),
  "control.second-socket": info(
    "Another agent on this host uses the default control socket; this agent listens on a second one.",
    "Give `flannelctl` the same `--subnet-file` as this agent.",
  ),
  "flags.odd": warn(
    "A flag or an environment variable of flanneld is unknown, has no effect or looks wrong.",
    "Correct the flag or the variable that the line names, or leave it out.",
  ),
  "service.not-notified": warn(
    "The agent could not notify the service manager of its state, or of the file descriptors to keep for a restart.",
    "`systemctl status flanneld`",
  ),
  "cni-bridge.mtu": info(
    "The bridge of the containers had another MTU than the network has now: the agent changed it.",
  ),
  "cni-bridge.removed": info(
    "The bridge of the containers had an address of an earlier subnet and nothing attached: the agent removed it.",
  ),
  "cni-state.failed": warn(
    "The agent could not read or change what CNI plugins and container runtimes keep of containers; it retries.",
    "Follow the line; in a pod, `--cni-state-dir` has to be a mount of the host's directory.",
  ),
  "cni-state.freed": info("The agent freed addresses that containers of earlier boots had left reserved."),
  "cni-boot.failed": warn(
    "The agent could not keep the file by which systemd removes the CNI configuration at boot (`--cni-boot-file`); it retries each minute.",
    "Correct what the line names, or leave the flag out (chart: `flannel.removeCNIConfigAtBoot=false`): after a reboot the host may then be called ready before its network is.",
  ),
  "cni-boot.not-removed": warn(
    "The flag `--cni-boot-file` names another file or none now, or flannel was handed over, and the agent could not remove the earlier file.",
    "Remove the file that the line names: until then systemd removes the CNI configuration at each boot.",
  ),
  "cni-boot.removed": info(
    "The flag `--cni-boot-file` names another file or none now: the agent removed the earlier one.",
  ),
  "cni-boot.written": info("The agent wrote the file by which systemd removes the CNI configuration at boot."),
  "cni-conf.failed": error(
    "The agent could not write the CNI configuration (`--cni-conf-file`): the template cannot be used, or the file cannot be written.",
    "Correct what the line names; the agent retries.",
  ),
  "cni-conf.withdrawn": info(
    "The subnet file was missing, as after a boot: the agent removed the CNI configuration, and writes it again when the network is ready.",
  ),
  "cni-conf.written": info("The agent wrote the CNI configuration: pods can be started."),
  "identity.changed": info("After `flannelctl wireguard rotate`: this host uses its new key."),
  "identity.file-not-written": warn(
    "The agent could not write the key file of the wireguard backend; it keeps the key in its state directory.",
    "Make the file that the line names writable, or name another one with `WIREGUARD_KEY_FILE`.",
  ),
  "secret-file.changed": info(
    "A file with a secret, which the network configuration names, changed: its content is used.",
  ),
  "secret-file.unusable": error(
    "A file with a secret, which the network configuration names, is missing or cannot be used; the line says why.",
    "Put the secret there, with mode 0600 and root as its owner; the agent looks every second.",
  ),
  "state.failed": error(
    "The agent could not save its state; a start while the store is unreachable would have to wait.",
    "Free space in the state directory, or make it writable; the agent retries.",
  ),
  "state.ignored": info("The agent does not use the state of an earlier run; the line says why."),
  "subnet-file.failed": error(
    "The agent could not write the subnet file, usually because the disk is full.",
    "Free space, or make the directory writable; the agent retries.",
  ),
  "subnet-file.odd": warn(
    "The subnet file of an earlier run cannot be used; the agent may lease another subnet than before.",
    "Nothing, if the subnet is the same; otherwise re-create the containers of this host.",
  ),
  "subnet-file.written": info("The agent wrote the subnet file: containers can be started."),

  "descriptors.enough": info("There are enough file descriptors again."),
  "descriptors.short": error(
    "The agent has nearly no file descriptor left and uses its reserve: it goes on to repair and to answer.",
    "Raise the limit, or find what holds them; the line has the commands.",
  ),

  "doctor.found": finding(
    "A check of this host found a cause of lost packets; the field `finding` names it, and [doctor.md](doctor.md) explains it.",
    "Do what the line says; `flannelctl doctor` looks again.",
  ),

  "files.not-restored": error(
    "A file or socket of the agent under /run was removed, and the agent cannot restore it; it retries.",
    "Correct what the line names; if another agent holds it, stop one of the two.",
  ),
  "files.restored": warn(
    "Another program removed or changed a file or socket of the agent, which restored it; one line a minute for each.",
    "Find what cleans up there, and have it leave flannel's files alone.",
  ),

  "handover.again": info("The network was prepared for upstream's flanneld again, after `handover.undone`."),
  "handover.undone": error(
    "After `flannelctl handover` the network was reopened, and could not be prepared for upstream's flanneld again; the line says whether the agent retries.",
    "Wait for `handover.again`, or repeat `flannelctl handover`, before this flanneld is stopped.",
  ),

  "metrics.failed": error(
    "The agent cannot serve its metrics; the line has the reason. It carries packets all the same, and retries.",
    "If another program has the port: choose another `--metrics-addr`.",
  ),
  "metrics.serving": info("The agent serves its metrics for Prometheus at the address in the line."),

  "preflight.drops-unknown": verbose(
    1,
    "The agent could not read the chains of other programs, which may drop forwarded packets.",
  ),
  "preflight.failed": warn(
    "The agent could not check this host for causes of lost packets.",
    "Correct what the line names; `flannelctl status` checks again.",
  ),
};
