// charon under the AppArmor profile of Debian and Ubuntu, enforced by an emulated kernel, since the machine's may have no AppArmor:
// nothing that it does for the agent is refused.
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { runInEmulatedKernel } from "../../../lab/emulated-kernel.ts";
import { told } from "./guest.ts";

const guest = fileURLToPath(new URL("ipsec-apparmor-guest.ts", import.meta.url));
const GUEST_TIMEOUT_MS = 18 * 60_000;
const profile = "/etc/apparmor.d/usr.lib.ipsec.charon";

const cases: readonly { readonly who: "kernel" | "charon"; readonly prepare: string }[] = [
  { who: "kernel", prepare: "modprobe -a esp4 xfrm_user" },
  // Nothing can load it any more.
  { who: "charon", prepare: "echo 'install esp4 /bin/false' >/etc/modprobe.d/no-esp4.conf" },
];

const commands = (node: string, prepare: string) => `
mount -t securityfs none /sys/kernel/security
apparmor_parser --replace --skip-cache ${profile}
aa-exec -p /usr/lib/ipsec/charon cat /etc/hostname && echo '{"control":"not enforced"}' || echo '{"control":"enforced"}'
modprobe -a tun veth bridge
${prepare}
LAB_BOX=1 LAB_SECOND_KERNEL=1 '${node}' '${guest}'
`;

test.each(cases)(
  "AppArmor lets charon do all that it does for the agent where the $who encrypts",
  async ({ who, prepare }) => {
    const output = await runInEmulatedKernel(commands(process.execPath, prepare), GUEST_TIMEOUT_MS);
    const confinement = ["/usr/lib/ipsec/charon (enforce)", "/usr/lib/ipsec/charon (enforce)"];
    expect(told(output), output).toEqual({
      control: "enforced",
      "refusals are logged": true,
      "at the end": { pairs: 2, encryption: who, confinement, denied: [] },
    });
  },
  GUEST_TIMEOUT_MS,
);
