// The file of tmpfiles.d(5) by which systemd removes the CNI configuration of the time before at boot. Pure.
//
// `r!` removes at boot alone: systemd-tmpfiles-setup.service passes --remove --boot (systemd 209 and later) and is done before
// sysinit.target, so before any service of a container runtime starts. Package upgrades and daily runs pass no --boot.

/** Where our manifests have it. */
export const DEFAULT_BOOT_FILE = "/etc/tmpfiles.d/flannel-cni.conf";

const firstLine = "# flanneld keeps this file (--cni-boot-file) and leaves it alone once this line is gone.";

/** `cniFile`: its path on the host, for which `cniFileRule` has nothing to say. */
export function renderBootFile(cniFile: string): string {
  return `${firstLine}
# At boot, and only then, systemd removes the CNI configuration of the time before: this host is not to
# be called ready, and no pod started, before packets can flow. flanneld writes it again then.
r! ${cniFile}
`;
}

/** Whether we wrote the text: another program or an administrator may have taken the file's place. */
export function isBootFile(text: string): boolean {
  return text.startsWith(`${firstLine}\n`);
}

/** What the path of the file must be, if it is not: systemd takes notice of no others, and a boot empties /run. */
export function bootFileRule(path: string): string | undefined {
  const isRead = isNormal(path) && /\/tmpfiles\.d\/[^/]+\.conf$/.test(path) && !/^(\/var)?\/run\//.test(path);
  return isRead
    ? undefined
    : `must be the absolute path of a .conf file in a directory tmpfiles.d, such as ${DEFAULT_BOOT_FILE}`;
}

/** The same of the path of the CNI configuration: in the line, `*?[` would match others, `%` and spaces mean something. */
export function cniFileRule(path: string): string | undefined {
  return isNormal(path) ? undefined : "must be an absolute path of letters, digits and any of _.+@:- without . and ..";
}

function isNormal(path: string): boolean {
  return /^(\/[\w.+@:-]+)+$/.test(path) && !/\/\.\.?(\/|$)/.test(path);
}
