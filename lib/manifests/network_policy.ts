/**
 * Who may reach a session. Pure.
 * @module
 */
import type { V1NetworkPolicy, V1ObjectMeta } from "@kubernetes/client-node";

/** What the operator decides about the way to sessions. */
export interface IngressSettings {
  /** Empty: no bounds of the agent's. */
  readonly ingressNamespaces: readonly string[];
}

/** A port on which a session serves. */
export interface IngressPort {
  /** Number of the port. */
  readonly port: number;
  readonly protocol: string;
}

/** The label that Kubernetes gives each namespace. Source: https://kubernetes.io/docs/reference/labels-annotations-taints/ */
const NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name";

/** A policy that lets just the chosen namespaces in, and just to the session's ports; none where the operator chose no namespaces. */
export function buildPolicy(
  { ingressNamespaces }: IngressSettings,
  session: { metadata: V1ObjectMeta; selector: Record<string, string>; ports: readonly IngressPort[] },
): V1NetworkPolicy | undefined {
  if (ingressNamespaces.length === 0) return undefined;
  const { metadata, selector, ports } = session;
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata,
    spec: {
      podSelector: { matchLabels: selector },
      policyTypes: ["Ingress"],
      ingress: [{
        _from: ingressNamespaces.map((name) => ({
          namespaceSelector: { matchLabels: { [NAMESPACE_NAME_LABEL]: name } },
        })),
        ports: ports.map(({ port, protocol }) => ({ port, protocol })),
      }],
    },
  };
}
