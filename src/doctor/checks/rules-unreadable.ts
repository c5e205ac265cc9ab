// Whether the places of our traffic rules can be read. What is not read is not written.
import { defineCheck } from "../check.ts";

export const rulesUnreadable = defineCheck({
  name: "rules-unreadable",
  severity: "error",
  needs: ["unreadableRules"],
  check: (_context, { unreadableRules }) => unreadableRules,
  evidence: (reason) => `${reason}: flannel leaves that table unchanged`,
  remedy: () =>
    "install nftables (program nft, 1.0.1 or newer), move the rules that the table got from nft into a table of their own, or use the iptables of the program that wrote the rules",
});
