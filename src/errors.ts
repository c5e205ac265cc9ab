// The one error class of the product. Errors are classified once, at the boundary where they enter
// (errno, gRPC status, exit code); callers ask the predicates below and never parse messages.

/** What is registered of an error code; docs/troubleshooting.md lists it. */
interface ErrorCodeDefinition {
  readonly meaning: string;
  /** What the operator does. */
  readonly remedy: string;
  /** `agent`: flanneld goes on and retries; `later`: the same call may succeed later; `remedy`: only after the remedy. */
  readonly retry: "agent" | "later" | "remedy";
}

/** Closed list: a new code needs a reason, since logs, exit codes and tests hang on it. */
export const errorCodes = {
  CONFIG_INVALID: {
    meaning: "The network configuration, a flag or a file that configures flannel is wrong.",
    remedy: "Correct what the message names; `flannelctl config check` checks the network configuration.",
    retry: "remedy",
  },
  CONFIG_MISSING: {
    meaning: "The store has no network configuration, or the agent has not read one yet.",
    remedy: "`flannelctl config set`; check `--etcd-prefix`.",
    retry: "agent",
  },
  CONFIG_CONFLICT: {
    meaning: "Another program changed the value in the store before this write.",
    remedy: "Read the value again, then repeat the command.",
    retry: "remedy",
  },
  LEASE_CONFLICT: {
    meaning: "Another host holds the subnet, or another agent announces this host's public IP.",
    remedy: "`flannelctl lease list` shows the owner; stop one of the two agents, or give one another `--public-ip`.",
    retry: "remedy",
  },
  LEASE_LOST: {
    meaning: "The lease is not in the store, or belongs to another host.",
    remedy: "`flannelctl lease list`; a running agent re-acquires its lease.",
    retry: "agent",
  },
  POOL_EXHAUSTED: {
    meaning: "No subnet of the network is free.",
    remedy: "Revoke a lease or a reservation that is not needed, or enlarge `Network`.",
    retry: "agent",
  },
  SUBNET_UNASSIGNED: {
    meaning: "Kubernetes has not given this host a usable subnet: its Node or the Node's podCIDR is missing or wrong.",
    remedy:
      "`kubectl get node NAME -o yaml`; run the controller manager with `--allocate-node-cidrs` and a `--cluster-cidr` inside `Network`.",
    retry: "agent",
  },
  RUNTIME_UNAVAILABLE: {
    meaning: "The container runtime cannot be asked which pods there are, so nothing of theirs is removed.",
    remedy: "Check that it runs; name its socket with `--runtime-endpoint`.",
    retry: "later",
  },
  STORE_UNAVAILABLE: {
    meaning: "The store is unreachable or does not answer.",
    remedy: "Check the store, the network to it and `--etcd-endpoints`.",
    retry: "agent",
  },
  STORE_UNAUTHORIZED: {
    meaning: "The store refuses the user, the password, the role, the certificate or the token.",
    remedy: "Correct the credentials; on a host of a small cluster, `flannelctl join` with a new token.",
    retry: "remedy",
  },
  STORE_COMPACTED: {
    meaning: "The store no longer has the requested revision: it was compacted.",
    remedy: "Nothing: the agent reads all keys again. Repeat a command that failed with it.",
    retry: "agent",
  },
  KERNEL_DENIED: {
    meaning: "The kernel does not permit the operation.",
    remedy: "Run the program as root, or give it `CAP_NET_ADMIN`.",
    retry: "remedy",
  },
  KERNEL_EXISTS: {
    meaning: "The kernel already has this object, and it belongs to another program.",
    remedy: "Remove the object that the message names, or choose another name, port or network.",
    retry: "agent",
  },
  KERNEL_NOT_FOUND: {
    meaning: "The kernel does not have the requested object.",
    remedy: "Check that the device that the message names exists.",
    retry: "agent",
  },
  KERNEL_BUSY: {
    meaning: "The kernel is busy with the object, or another program uses it.",
    remedy: "Stop the program that uses the object, if the error stays.",
    retry: "agent",
  },
  KERNEL_UNSUPPORTED: {
    meaning: "This kernel does not support the operation: a module is missing or the kernel is too old.",
    remedy: "Load the module that the message names, or use another backend.",
    retry: "remedy",
  },
  KERNEL_REJECTED: {
    meaning: "The kernel refused the operation for another reason; the message has the kernel's error.",
    remedy: "`flannelctl status` shows all objects that the kernel refuses.",
    retry: "agent",
  },
  INTERFACE_NOT_FOUND: {
    meaning: "No interface of this host matches the flags, the public IP or the address family.",
    remedy: "Name one with `--iface`; the message lists the interfaces.",
    retry: "remedy",
  },
  FILE_FAILED: {
    meaning: "The program cannot read, write or lock a file or a directory.",
    remedy: "Free space, or correct the path or its permissions.",
    retry: "later",
  },
  TOOL_MISSING: {
    meaning: "A required program is not installed or does not run.",
    remedy: "Install what the message names.",
    retry: "remedy",
  },
  COMMAND_FAILED: {
    meaning: "A command of the extension backend failed or did not end in time; the message has its output.",
    remedy: "Run the command by hand; correct it in the network configuration.",
    retry: "agent",
  },
  FIREWALL_REJECTED: {
    meaning: "nft or iptables refused traffic rules or timed out; the message has its output.",
    remedy: "`flannelctl rules` shows what is missing.",
    retry: "agent",
  },
  FIREWALL_UNREADABLE: {
    meaning: "The traffic rules of this host cannot be read completely, so flannel does not change them.",
    remedy: "Install nftables, or set `EnableNFTables` to true; the message names what is not listed.",
    retry: "agent",
  },
  CLOUD_DENIED: {
    meaning:
      "The cloud provider does not know the credentials, or they lack a permission; the message names the missing one.",
    remedy: "Give this host's role the permission that the message names; docs/cloud.md has the smallest policy.",
    retry: "agent",
  },
  CLOUD_QUOTA: {
    meaning: "A route table of the cloud provider is full.",
    remedy: "Remove routes that nobody needs, ask the provider for a larger quota, or use another backend.",
    retry: "agent",
  },
  CLOUD_REJECTED: {
    meaning: "The cloud provider refuses a request, or lacks what it names; the message has the provider's words.",
    remedy: "Correct what the message names, such as `RouteTableID`.",
    retry: "agent",
  },
  CLOUD_THROTTLED: {
    meaning: "The cloud provider takes no more requests of this account at the moment.",
    remedy: "Nothing: the agent waits longer each time. Look for a program that asks too often, if it stays.",
    retry: "agent",
  },
  CLOUD_UNAVAILABLE: {
    meaning: "The API or the metadata service of the cloud provider does not answer.",
    remedy: "Check the route, the proxy and the firewall on the way to the address that the message names.",
    retry: "agent",
  },
  SERVICE_FAILED: {
    meaning: "systemd could not start or stop a unit, or a unit did not become ready.",
    remedy: "`systemctl status` and `journalctl -u` of the unit that the message names.",
    retry: "remedy",
  },
  CLUSTER_CONFLICT: {
    meaning:
      "The state of the small cluster does not permit the operation, for example because a host of that name is a member.",
    remedy: "Follow the message; `flannelctl host list` shows the members.",
    retry: "remedy",
  },
  CLUSTER_NOT_FOUND: {
    meaning: "The small cluster has no such host or token.",
    remedy: "`flannelctl host list`, `flannelctl token list`.",
    retry: "remedy",
  },
  AGENT_RUNNING: {
    meaning: "Another running agent holds the subnet file, the device or the socket.",
    remedy: "Stop it, or give each agent its own `--subnet-file`, network, and `VNI` or `Port`.",
    retry: "remedy",
  },
  AGENT_ABSENT: {
    meaning: "No agent listens on the control socket.",
    remedy: "`systemctl start flanneld`, or name the socket with `--socket` or `--subnet-file`.",
    retry: "later",
  },
  AGENT_SILENT: {
    meaning:
      "An agent listens on the control socket but does not answer, or another host's agent does not answer the store of the cluster.",
    remedy: "If it is stopped (`kill -STOP`, a debugger, a frozen container), let it go on; otherwise restart it.",
    retry: "later",
  },
  AGENT_INCOMPATIBLE: {
    meaning: "flannelctl and the agent have incompatible versions.",
    remedy: "Restart the older of the two after the upgrade: `flannelctl version` names both.",
    retry: "remedy",
  },
  USAGE: {
    meaning: "The command line is wrong: an unknown command or flag, or a bad value.",
    remedy: "`--help` lists commands and flags.",
    retry: "remedy",
  },
  CANCELLED: {
    meaning: "A user or a signal stopped the program before it finished.",
    remedy: "Repeat the command.",
    retry: "later",
  },
  INTERNAL: {
    meaning: "An unexpected error: a defect of the program.",
    remedy: "Report it together with the log; `agent.failed.stack` has the stack trace.",
    retry: "later",
  },
} as const satisfies Record<string, ErrorCodeDefinition>;

export type ErrorCode = keyof typeof errorCodes;

export interface FlannelErrorOptions {
  /** The error that caused this one. */
  readonly cause?: unknown;
  /** Whether the same call may succeed later without anybody changing anything. Default false. */
  readonly retryable?: boolean;
  /** The message says already what `cause` says: `describeError` leaves it out. */
  readonly tellsCause?: boolean;
  /** Structured facts for the log line; never secrets. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/** `message` is for a person: what was attempted, what went wrong, what to do next. */
export class FlannelError extends Error {
  override readonly name: string = "FlannelError";
  readonly code: ErrorCode;
  readonly retryable: boolean;
  readonly tellsCause: boolean;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: FlannelErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? false;
    this.tellsCause = options.tellsCause ?? false;
    this.details = options.details ?? {};
  }
}

/** True when `error` is ours and carries one of `codes`. */
export function hasCode(error: unknown, ...codes: readonly ErrorCode[]): error is FlannelError {
  return error instanceof FlannelError && codes.includes(error.code);
}

/** The error itself where it is ours; any other one is a fault of this program. */
export function asFlannelError(error: unknown): FlannelError {
  return error instanceof FlannelError ? error : new FlannelError("INTERNAL", describeError(error), { cause: error });
}

/** True for an abort by signal, ours or Node's. */
export function isCancelled(error: unknown): boolean {
  return hasCode(error, "CANCELLED") || (error instanceof Error && error.name === "AbortError");
}

/** Text of any thrown value, with its chain of causes, on one line. */
export function describeError(error: unknown): string {
  const parts: string[] = [];
  let current: unknown = error;
  while (current !== undefined && current !== null && parts.length < 5) {
    const text = current instanceof Error ? current.message : String(current);
    if (text !== "" && !parts.some((part) => part.includes(text))) parts.push(text);
    const isTold = current instanceof FlannelError && current.tellsCause;
    current = current instanceof Error && !isTold ? current.cause : undefined;
  }
  return parts.join(": ").replaceAll(/\s*\n\s*/g, " ");
}
