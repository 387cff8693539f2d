/**
 * Read-only access to the cluster for the checks: access reviews, reads, lists and dry runs.
 * @module
 */
import type { V1SelfSubjectAccessReview } from "@kubernetes/client-node";
import { collectionPath, listAll, type ListQuery, orUndefined } from "../kubernetes/collection.ts";
import type { Transport } from "../kubernetes/transport.ts";
import { asRecord } from "../common/json.ts";
import type { DatedResponse } from "./connection.ts";
import type { TrialObject } from "./trial_session.ts";

/** An action, as in an access review. */
export interface AccessRequest {
  readonly verb: string;
  readonly resource: string;
  /** @default the core group */
  readonly group?: string;
  /** @default all objects */
  readonly name?: string;
  /** Whether the resource has no namespace. @default {false} */
  readonly isClusterWide?: boolean;
}

/** Read-only access to one namespace. Every method rejects with a {@linkcode KubernetesError}. */
export class ClusterView {
  readonly namespace: string;
  readonly #transport: Transport;

  constructor(transport: Transport, namespace: string) {
    this.#transport = transport;
    this.namespace = namespace;
  }

  /** URL of the API server. */
  get server(): string {
    return this.#transport.server;
  }

  /** Reads the API server's version, and its time from the response. */
  async version(): Promise<{ version: string; clock: DatedResponse }> {
    const sentAt = Date.now();
    const { body, headers } = await this.#transport.send({ method: "GET", path: "/version" });
    const clock = { sentAt, answeredAt: Date.now(), date: headers.get("date") ?? undefined };
    return { version: String(asRecord(body)?.gitVersion ?? ""), clock };
  }

  /** Whether the agent may perform an action in the namespace. Every account may send these reviews. */
  async may(
    { verb, resource, group = "", name = "", isClusterWide = false }: AccessRequest,
  ): Promise<boolean> {
    const namespace = isClusterWide ? "" : this.namespace;
    const [plural = "", subresource = ""] = resource.split("/");
    const attributes = { namespace, verb, group, resource: plural, subresource, name };
    const review: V1SelfSubjectAccessReview = { spec: { resourceAttributes: attributes } };
    const { body } = await this.#transport.send({
      method: "POST",
      path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
      body: review,
    });
    return (body as V1SelfSubjectAccessReview).status?.allowed ?? false;
  }

  /** Reads an object by its path; `undefined` if it does not exist. */
  async read<T>(path: string): Promise<T | undefined> {
    return await orUndefined(this.#transport.getJson(path)) as T | undefined;
  }

  /** Creates an object in a dry run. */
  async createDryRun({ object, ...resource }: TrialObject): Promise<void> {
    const path = `${collectionPath(resource, this.namespace)}?dryRun=All`;
    await this.#transport.send({ method: "POST", path, body: object });
  }

  /** Lists a collection by its path. */
  async list<T>(path: string, options: Omit<ListQuery<T>, "signal"> = {}): Promise<readonly T[]> {
    return (await listAll(this.#transport, path, options)).objects;
  }
}
