/**
 * Read-only access to the cluster for the checks: access reviews, reads, lists and dry runs.
 * @module
 */
import { HttpMethod, RequestContext } from "@kubernetes/client-node/dist/gen/http/http.js";
import {
  ObjectAuthorizationV1Api,
  ObjectVersionApi,
} from "@kubernetes/client-node/dist/gen/types/ObjectParamAPI.js";
import { configurationOf, orUndefined } from "../kubernetes/client.ts";
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
    const answer = await new ObjectVersionApi(configurationOf(this.#transport)).getCodeWithHttpInfo();
    const clock = { sentAt, answeredAt: Date.now(), date: answer.headers.date };
    return { version: answer.data.gitVersion, clock };
  }

  /** Whether the agent may perform an action in the namespace. Every account may send these reviews. */
  async may(
    { verb, resource, group = "", name = "", isClusterWide = false }: AccessRequest,
  ): Promise<boolean> {
    const namespace = isClusterWide ? "" : this.namespace;
    const [plural = "", subresource = ""] = resource.split("/");
    const attributes = { namespace, verb, group, resource: plural, subresource, name };
    const review = await new ObjectAuthorizationV1Api(configurationOf(this.#transport))
      .createSelfSubjectAccessReview({ body: { spec: { resourceAttributes: attributes } } });
    return review.status?.allowed ?? false;
  }

  /** Reads an object by its path; `undefined` if it does not exist. */
  async read<T>(path: string): Promise<T | undefined> {
    return await orUndefined(this.#transport.getJson(path)) as T | undefined;
  }

  /** Creates an object in a dry run. */
  async createDryRun({ api, resource, object }: TrialObject): Promise<void> {
    const url = `${this.server}${api}/namespaces/${this.namespace}/${resource}?dryRun=All`;
    const request = new RequestContext(url, HttpMethod.POST);
    request.setHeaderParam("Content-Type", "application/json");
    request.setBody(JSON.stringify(object));
    await this.#transport.send(request);
  }

  /** Lists a collection by its path. */
  async list<T>(path: string): Promise<readonly T[]> {
    const answer = asRecord(await this.#transport.getJson(path));
    return Array.isArray(answer?.items) ? answer.items as T[] : [];
  }
}
