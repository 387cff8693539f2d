/**
 * The scale of a deployment: the small object that `kubectl scale` and autoscalers read and write.
 * @module
 */
import { type ApiObject, objectOf } from "./api_objects.ts";
import { formatSelector } from "./selectors.ts";

/** The scale of a deployment; as the API does, it leaves out a number of replicas that is zero. */
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

/** The deployment as a scale wants it; the scale's resource version, if it has one, must be the current one. */
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
