// What the API server says of this host's own Node, for a person who looks for trouble: its podCIDRs against those of others, what
// it announces, and what this service account may do. Read-only: an access review leaves nothing behind.
import { FlannelError, hasCode } from "../../errors.ts";
import { memberOf } from "../../json/untyped-fields.ts";
import { listAll } from "../../kube-api/list-objects.ts";
import type { OwnRecord } from "../lease-administration.ts";
import type { NodeApi, OwnNodeOptions } from "./node-api.ts";

/** What the agent does with Nodes. */
const neededRights = [
  { verb: "get", resource: "nodes" },
  { verb: "list", resource: "nodes" },
  { verb: "watch", resource: "nodes" },
  { verb: "patch", resource: "nodes", subresource: "status" },
] as const;

/** `usualName`: where neither an option nor the pod names the Node. `asksRights`: these credentials are the agent's own. */
export async function readOwnRecord(
  api: NodeApi,
  {
    nodeName,
    pod,
    usualName,
    asksRights,
  }: OwnNodeOptions & { readonly usualName: string; readonly asksRights: boolean },
  signal: AbortSignal,
): Promise<OwnRecord> {
  const denied = asksRights ? await deniedRights(api, signal) : [];
  const name = nodeName ?? (pod === undefined ? usualName : await api.nodeOfPod(pod, signal));
  try {
    const { podCidrs, annotations, networkUnavailable } = await api.get(name, signal);
    const publicIp = annotations[api.names.publicIp];
    return {
      ...{ nodeName: name, podCidrs, denied },
      ...(podCidrs.length === 0 && { otherNodesHaveCidrs: await doOthersHaveCidrs(api, signal) }),
      ...(publicIp !== undefined && { publicIpAnnotation: publicIp }),
      ...(networkUnavailable?.status === "True" && {
        networkUnavailable: { reason: networkUnavailable.reason, message: networkUnavailable.message },
      }),
    };
  } catch (error) {
    if (!hasCode(error, "SUBNET_UNASSIGNED") || !(error instanceof FlannelError)) throw error;
    return { nodeName: name, denied, problem: error.message };
  }
}

async function doOthersHaveCidrs(api: NodeApi, signal: AbortSignal): Promise<boolean> {
  const { objects } = await listAll(api.client, api.target(), signal);
  return objects.some(({ podCidrs }) => podCidrs.length > 0);
}

/** Where the server takes no such question, nothing is said. */
async function deniedRights(api: NodeApi, signal: AbortSignal): Promise<string[]> {
  const answers = await Promise.all(
    neededRights.map(async (right) => {
      const what = `${right.verb} ${"subresource" in right ? `${right.resource}/${right.subresource}` : right.resource}`;
      const review = { apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectAccessReview" };
      const body = { ...review, spec: { resourceAttributes: right } };
      const subject = {
        operation: `ask whether it may ${what}`,
        verb: "create",
        resource: "selfsubjectaccessreviews",
      } as const;
      const path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
      try {
        const answer = await api.client.call({ ...subject, method: "POST", path, body }, signal);
        return memberOf(memberOf(answer, "status"), "allowed") === false ? [what] : [];
      } catch (error) {
        if (signal.aborted) throw error;
        return [];
      }
    }),
  );
  return answers.flat();
}
