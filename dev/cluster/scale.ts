/**
 * The Scale subresource of a Deployment, which `kubectl scale` and autoscalers read and write.
 * @module
 */
import { type ApiObject, objectOf } from "./api_objects.ts";
import { formatSelector } from "./selectors.ts";

/** Scale of a Deployment; 0 replicas are omitted, as in the API. */
export function readScale({ metadata, spec, status }: ApiObject): unknown {
  const { name, namespace, uid, resourceVersion, creationTimestamp } = metadata;
  const replicas = Number(objectOf(spec).replicas ?? 0);
  return {
    kind: "Scale",
    apiVersion: "autoscaling/v1",
    metadata: { name, namespace, uid, resourceVersion, creationTimestamp },
    spec: replicas > 0 ? { replicas } : {},
    status: {
      replicas: objectOf(status).replicas ?? 0,
      selector: formatSelector(objectOf(objectOf(spec).selector)),
    },
  };
}

/** Applies a Scale to a Deployment; its resource version, if set, must be current. */
export function writeScale(current: ApiObject, scale: unknown): ApiObject {
  const { metadata, spec } = objectOf(scale);
  const replicas = objectOf(spec).replicas ?? 0;
  const { resourceVersion = current.metadata.resourceVersion } = objectOf(metadata);
  return {
    ...current,
    metadata: { ...current.metadata, resourceVersion: String(resourceVersion) },
    spec: { ...objectOf(current.spec), replicas },
  };
}
