/**
 * The verbs: turns a parsed request into a response, through the registry.
 * @module
 */
import { load } from "js-yaml";
import { type Authorize, checkAccess, review } from "./access.ts";
import { badRequest, methodNotAllowed, unsupportedMediaType } from "./api_error.ts";
import { type ApiObject, type JsonObject, objectOf } from "./api_objects.ts";
import type { ApiRequest } from "./api_request.ts";
import type { DeleteOptions } from "./deletion.ts";
import { jsonPatch, mergePatch, strategicMergePatch } from "./patch.ts";
import { forwardPort } from "./port_forward.ts";
import type { Registry, Target } from "./registry.ts";
import { groupVersion, PODS, REVIEWS } from "./resources.ts";
import { readScale, writeScale } from "./scale.ts";
import { parseFieldSelector, parseLabelSelector, type Predicate } from "./selectors.ts";
import { toTable, wantsTable } from "./table.ts";
import type { Watches } from "./watch.ts";

/** Dependencies of the verbs. */
export interface Backend {
  readonly registry: Registry;
  readonly watches: Watches;
  readonly authorize: Authorize;
}

/**
 * Handles a request for a resource.
 * @throws {ApiError} when the request is refused
 */
export async function answer(backend: Backend, api: ApiRequest, request: Request): Promise<Response> {
  const { registry } = backend;
  if (api.query.get("dryRun")) throw badRequest("dry runs are not simulated");
  switch (api.verb) {
    case "get":
      return get(backend, api, request);
    case "list":
      return list(backend, api, request);
    case "watch":
      return watch(backend, api, request);
    case "create": {
      const body = await readBody(request);
      const isReview = REVIEWS.includes(api.type);
      const created = isReview
        ? review(backend.authorize, api, body)
        : registry.create(api.type, body, api.namespace);
      return Response.json(created, { status: 201 });
    }
    case "update":
      return update(backend, api, await readBody(request));
    case "patch":
      return await patch(backend, api, request);
    case "delete": {
      const result = registry.delete(api.type, targetOf(api), await readDeleteOptions(request, api));
      return Response.json(result);
    }
    case "deletecollection":
      return await deleteCollection(backend, api, request);
  }
}

function targetOf({ namespace, name, subresource }: ApiRequest): Target {
  return { namespace, name, scope: subresource === "status" ? "status" : "object" };
}

function get({ registry, authorize }: Backend, api: ApiRequest, request: Request): Response {
  if (api.subresource === "portforward") {
    // Servers before 1.35 require only "get" for a WebSocket, later ones both.
    checkAccess(authorize, { ...api, verb: "create" });
    return forwardPort(registry.get(PODS, targetOf(api)), api.query, request);
  }
  const object = registry.get(api.type, targetOf(api));
  if (api.subresource === "scale") return Response.json(readScale(object));
  if (api.subresource === "log") return new Response(`simulated log of ${api.name}\n`);
  return Response.json(wantsTable(request.headers.get("accept")) ? table(api, [object]) : object);
}

function list({ registry }: Backend, api: ApiRequest, request: Request): Response {
  const resourceVersion = String(registry.store.revision);
  const items = registry.store.list(api.type, api.namespace).filter(selection(api));
  if (wantsTable(request.headers.get("accept"))) return Response.json(table(api, items, resourceVersion));
  return Response.json({
    kind: `${api.type.kind}List`,
    apiVersion: groupVersion(api.type),
    metadata: { resourceVersion },
    items,
  });
}

function table(api: ApiRequest, objects: readonly ApiObject[], resourceVersion?: string): unknown {
  return toTable(api.type.kind, objects, { resourceVersion, includeObject: api.query.get("includeObject") });
}

function watch({ watches }: Backend, api: ApiRequest, request: Request): Response {
  const from = api.query.get("resourceVersion") ?? "";
  if (!/^\d*$/.test(from)) throw badRequest(`resourceVersion: Invalid value: "${from}": must be a number`);
  const isTable = wantsTable(request.headers.get("accept"));
  const show = (object: ApiObject) => isTable ? table(api, [object]) : object;
  const stream = watches.open({ type: api.type, matches: selection(api), query: api.query, show });
  return new Response(stream, { headers: { "content-type": "application/json;stream=watch" } });
}

/** The objects that a list, a watch or a collection deletion selects. */
function selection({ type, namespace, name, query }: ApiRequest): Predicate<ApiObject> {
  const matchesLabels = parseLabelSelector(query.get("labelSelector") ?? "");
  const matchesFields = parseFieldSelector(type, query.get("fieldSelector") ?? "");
  return (object) =>
    (namespace === "" || object.metadata.namespace === namespace) &&
    (name === "" || object.metadata.name === name) &&
    matchesLabels(object.metadata.labels ?? {}) && matchesFields(object);
}

function update({ registry }: Backend, api: ApiRequest, body: unknown): Response {
  if (api.subresource === "log" || api.subresource === "portforward") throw methodNotAllowed();
  if (api.subresource !== "scale") return Response.json(registry.update(api.type, body, targetOf(api)));
  const scaled = registry.patch(api.type, (current) => writeScale(current, body), targetOf(api));
  return Response.json(readScale(scaled));
}

const PATCHES: Readonly<Record<string, (target: unknown, patch: unknown) => unknown>> = {
  "application/merge-patch+json": mergePatch,
  "application/strategic-merge-patch+json": strategicMergePatch,
  "application/json-patch+json": jsonPatch,
  "application/apply-patch+yaml": strategicMergePatch,
};

async function patch({ registry }: Backend, api: ApiRequest, request: Request): Promise<Response> {
  const mediaType = mediaTypeOf(request);
  const apply = PATCHES[mediaType];
  if (!apply) throw unsupportedMediaType(mediaType);
  const body = await readBody(request);
  const isApply = mediaType === "application/apply-patch+yaml";
  if (isApply && !registry.store.get(api.type, api.namespace, api.name)) {
    return Response.json(registry.create(api.type, body, api.namespace), { status: 201 });
  }
  if (api.subresource === "scale") {
    const change = (current: ApiObject) => writeScale(current, apply(readScale(current), body));
    return Response.json(readScale(registry.patch(api.type, change, targetOf(api))));
  }
  return Response.json(registry.patch(api.type, (current) => apply(current, body), targetOf(api)));
}

async function deleteCollection({ registry }: Backend, api: ApiRequest, request: Request): Promise<Response> {
  const options = await readDeleteOptions(request, api);
  const items = registry.store.list(api.type, api.namespace).filter(selection(api));
  for (const { metadata } of items) {
    registry.delete(api.type, { namespace: metadata.namespace ?? "", name: metadata.name }, options);
  }
  const metadata = { resourceVersion: String(registry.store.revision) };
  return Response.json({ kind: `${api.type.kind}List`, apiVersion: groupVersion(api.type), metadata, items });
}

function mediaTypeOf(request: Request): string {
  return (request.headers.get("content-type") ?? "").split(";")[0]?.trim() ?? "";
}

/** Parses a JSON or YAML body. */
async function readBody(request: Request): Promise<unknown> {
  const text = await request.text();
  const mediaType = mediaTypeOf(request);
  const isBinary = mediaType.includes("protobuf") || mediaType.includes("cbor");
  if (isBinary) throw unsupportedMediaType(mediaType);
  try {
    return mediaType.includes("yaml") ? load(text) : JSON.parse(text);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw badRequest(
      `the object provided is unrecognized: couldn't get version/kind; json parse error: ${reason}`,
    );
  }
}

/** Reads the delete options from the body or the query. */
async function readDeleteOptions(request: Request, { query }: ApiRequest): Promise<DeleteOptions> {
  const text = await request.text();
  const body: JsonObject = text === "" ? {} : objectOf(parseOptions(text));
  const policy = query.get("propagationPolicy") ?? undefined;
  const grace = query.get("gracePeriodSeconds");
  return {
    ...(policy === undefined ? {} : { propagationPolicy: policy }),
    ...(grace === null ? {} : { gracePeriodSeconds: Number(grace) }),
    ...body,
  };
}

function parseOptions(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw badRequest(
      `the options of a deletion must be JSON: ${error instanceof Error ? error.message : error}`,
    );
  }
}
