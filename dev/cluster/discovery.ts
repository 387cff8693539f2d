/**
 * Discovery: the server's version, its API groups and their resources.
 * @module
 */
import { groupVersion, RESOURCES, type ResourceType, REVIEWS } from "./resources.ts";

const VERSION = { major: "1", minor: "33", gitVersion: "v1.33.0", platform: "linux/amd64" };
const VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const ALL = [...RESOURCES, ...REVIEWS];
const GROUPS = [...new Set(ALL.map((type) => type.group))].filter((group) => group !== "");

/** Response for a path that is not for a resource; `undefined` for an unknown path. */
export function discover(path: string): unknown {
  const [root, group, version, ...rest] = path.split("/").filter((segment) => segment !== "");
  if (rest.length > 0 && root !== "openapi") return undefined;
  switch (root) {
    case "version":
      return VERSION;
    case "api":
      return group === undefined
        ? { kind: "APIVersions", versions: ["v1"] }
        : group === "v1"
        ? resourceList("")
        : undefined;
    case "apis":
      if (group === undefined) {
        return { kind: "APIGroupList", apiVersion: "v1", groups: GROUPS.map(describeGroup) };
      }
      if (!GROUPS.includes(group)) return undefined;
      return version === undefined
        ? describeGroup(group)
        : version === "v1"
        ? resourceList(group)
        : undefined;
    case "openapi":
      return group === "v3"
        ? openApi([version, ...rest].filter((segment) => segment !== undefined))
        : undefined;
    default:
      return undefined;
  }
}

function describeGroup(name: string): { name: string } {
  const version = { groupVersion: `${name}/v1`, version: "v1" };
  return {
    ...{ kind: "APIGroup", apiVersion: "v1" },
    name,
    ...{ versions: [version], preferredVersion: version },
  };
}

function resourceList(group: string): unknown {
  const types = ALL.filter((type) => type.group === group);
  return {
    kind: "APIResourceList",
    apiVersion: "v1",
    groupVersion: group === "" ? "v1" : `${group}/v1`,
    resources: types.flatMap((
      type,
    ) => [describeResource(type), ...type.subresources.map((name) => subresource(type, name))]),
  };
}

function describeResource(type: ResourceType): unknown {
  const { plural: name, kind, shortNames, isNamespaced: namespaced } = type;
  const singularName = kind.toLowerCase();
  const isInAll = ["Pod", "Service", "Deployment", "ReplicaSet"].includes(kind);
  return {
    name,
    singularName,
    namespaced,
    kind,
    verbs: REVIEWS.includes(type) ? ["create"] : VERBS,
    shortNames,
    categories: isInAll ? ["all"] : [],
  };
}

function subresource(type: ResourceType, subresource: string): unknown {
  const name = `${type.plural}/${subresource}`;
  const scale = subresource === "scale" ? { group: "autoscaling", version: "v1" } : {};
  const kind = subresource === "scale" ? "Scale" : type.kind;
  const verbs = subresource === "log"
    ? ["get"]
    : subresource === "portforward"
    ? ["create", "get"]
    : ["get", "patch", "update"];
  return { name, singularName: "", namespaced: type.isNamespaced, ...scale, kind, verbs };
}

/**
 * Just enough of OpenAPI for kubectl to detect server-side validation: without it, `kubectl apply` fails unless
 * validation is disabled.
 */
function openApi(path: readonly string[]): unknown {
  const roots = ALL.map((type) => type.group === "" ? "api/v1" : `apis/${groupVersion(type)}`);
  const root = path.join("/");
  if (root === "") {
    const entries = roots.map((at) => [at, { serverRelativeURL: `/openapi/v3/${at}` }]);
    return { paths: Object.fromEntries(entries) };
  }
  if (!roots.includes(root)) return undefined;
  const types = ALL.filter((_, index) => roots[index] === root);
  return {
    openapi: "3.0.0",
    info: { title: "Kubernetes", version: VERSION.gitVersion },
    paths: Object.fromEntries(types.map((type) => [objectPath(root, type), { patch: patchOperation(type) }])),
  };
}

function objectPath(root: string, type: ResourceType): string {
  return `/${root}/${type.isNamespaced ? "namespaces/{namespace}/" : ""}${type.plural}/{name}`;
}

function patchOperation({ group, kind }: ResourceType): unknown {
  const parameters = ["dryRun", "fieldManager", "fieldValidation"].map((name) => (
    { name, in: "query", schema: { type: "string", uniqueItems: true } }
  ));
  return {
    parameters,
    responses: { "200": { description: "OK" } },
    "x-kubernetes-action": "patch",
    "x-kubernetes-group-version-kind": { group, version: "v1", kind },
  };
}
