/**
 * The doctor's eyes in the cluster: what it may do, and what objects say. It reads, asks and tries, and changes nothing.
 * @module
 */
import { AuthorizationV1Api, HttpMethod, RequestContext, VersionApi } from "@kubernetes/client-node";
import { configurationOf, orUndefined } from "../kubernetes/client.ts";
import type { Transport } from "../kubernetes/transport.ts";
import { asRecord } from "../common/json.ts";
import type { DatedAnswer } from "./clock.ts";
import type { TrialObject } from "./trial_session.ts";

/** One right, in the words of RBAC. */
export interface Right {
  readonly verb: string;
  readonly resource: string;
  /** @default the core group */
  readonly group?: string;
  /** @default no object in particular */
  readonly name?: string;
  /** Whether the resource is of the whole cluster. @default {false} */
  readonly isClusterWide?: boolean;
}

/** A view of one namespace. Every method rejects with a {@linkcode KubernetesError}. */
export class ClusterView {
  readonly namespace: string;
  readonly #transport: Transport;

  constructor(transport: Transport, namespace: string) {
    this.#transport = transport;
    this.namespace = namespace;
  }

  /** Address of the API server. */
  get server(): string {
    return this.#transport.server;
  }

  /** The API server's version, and what its clock says. */
  async version(): Promise<{ version: string; clock: DatedAnswer }> {
    const sentAt = Date.now();
    const answer = await new VersionApi(configurationOf(this.#transport)).getCodeWithHttpInfo();
    const clock = { sentAt, answeredAt: Date.now(), date: answer.headers.date };
    return { version: answer.data.gitVersion, clock };
  }

  /** Whether the agent's account may do something in the namespace; everybody may ask that of themselves. */
  async may({ verb, resource, group = "", name = "", isClusterWide = false }: Right): Promise<boolean> {
    const namespace = isClusterWide ? "" : this.namespace;
    const [plural = "", subresource = ""] = resource.split("/");
    const attributes = { namespace, verb, group, resource: plural, subresource, name };
    const review = await new AuthorizationV1Api(configurationOf(this.#transport))
      .createSelfSubjectAccessReview({ body: { spec: { resourceAttributes: attributes } } });
    return review.status?.allowed ?? false;
  }

  /** Reads an object by its whole path; `undefined` for one that does not exist. */
  async read<T>(path: string): Promise<T | undefined> {
    return await orUndefined(this.#transport.getJson(path)) as T | undefined;
  }

  /** Asks whether an object would be created, in a dry run. */
  async tryToCreate({ api, resource, object }: TrialObject): Promise<void> {
    const url = `${this.server}${api}/namespaces/${this.namespace}/${resource}?dryRun=All`;
    const request = new RequestContext(url, HttpMethod.POST);
    request.setHeaderParam("Content-Type", "application/json");
    request.setBody(JSON.stringify(object));
    await this.#transport.send(request);
  }

  /** Lists a collection by its whole path. */
  async list<T>(path: string): Promise<readonly T[]> {
    const answer = asRecord(await this.#transport.getJson(path));
    return Array.isArray(answer?.items) ? answer.items as T[] : [];
  }
}
