/**
 * Who may reach a session. Pure.
 * @module
 */
import type { V1Deployment, V1NetworkPolicy } from "@kubernetes/client-node";
import { SESSION_ANNOTATION, TEMPLATE_ANNOTATION, USER_ANNOTATION } from "../model/names.ts";
import type { Settings } from "../model/settings.ts";

/** The settings of network policies. */
export type IngressSettings = Pick<Settings, "ingressNamespaces">;

/** The label that Kubernetes gives each namespace. Source: https://kubernetes.io/docs/reference/labels-annotations-taints/ */
const NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name";

/** A policy that lets just the chosen namespaces in, and just to a session's ports; none where the operator chose no namespaces. */
export function buildPolicy(
  { ingressNamespaces }: IngressSettings,
  { metadata: { name, namespace, labels, annotations } = {}, spec }: V1Deployment,
): V1NetworkPolicy | undefined {
  if (ingressNamespaces.length === 0) return undefined;
  const ports = spec?.template.spec?.containers.flatMap(({ ports = [] }) => ports) ?? [];
  const originals = [SESSION_ANNOTATION, USER_ANNOTATION, TEMPLATE_ANNOTATION].flatMap((key) => {
    const original = annotations?.[key];
    return original === undefined ? [] : [[key, original]];
  });
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name, namespace, labels, annotations: Object.fromEntries(originals) },
    spec: {
      podSelector: { matchLabels: spec?.selector.matchLabels ?? {} },
      policyTypes: ["Ingress"],
      ingress: [{
        _from: ingressNamespaces.map((name) => ({
          namespaceSelector: { matchLabels: { [NAMESPACE_NAME_LABEL]: name } },
        })),
        ports: ports.map(({ containerPort: port, protocol = "TCP" }) => ({ port, protocol })),
      }],
    },
  };
}
