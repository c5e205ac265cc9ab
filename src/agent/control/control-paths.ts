// Where the agent answers on flanneld.sock. Apart from the schemas of control-protocol.ts, whose library the agent itself does not
// need: it would cost each start 30 to 100 ms.

export const CONTROL_PROTOCOL_VERSION = 2;

export const controlPaths = {
  status: `/v${CONTROL_PROTOCOL_VERSION}/status`,
  plan: `/v${CONTROL_PROTOCOL_VERSION}/plan`,
  rules: `/v${CONTROL_PROTOCOL_VERSION}/rules`,
  metrics: `/v${CONTROL_PROTOCOL_VERSION}/metrics`,
  reload: `/v${CONTROL_PROTOCOL_VERSION}/reload`,
  rotate: `/v${CONTROL_PROTOCOL_VERSION}/rotate`,
  history: `/v${CONTROL_PROTOCOL_VERSION}/history`,
  events: `/v${CONTROL_PROTOCOL_VERSION}/events`,
  peers: `/v${CONTROL_PROTOCOL_VERSION}/peers`,
  why: `/v${CONTROL_PROTOCOL_VERSION}/why`,
  trace: `/v${CONTROL_PROTOCOL_VERSION}/trace`,
  handover: `/v${CONTROL_PROTOCOL_VERSION}/handover`,
} as const;
