/**
 * One Lease in memory, with resource versions, and connections to it that a test can break.
 * @module
 */
import type { V1Lease, V1LeaseSpec } from "@kubernetes/client-node";
import { KubernetesError } from "../../lib/common/errors.ts";
import type { LeaseApi } from "../../lib/kubernetes/client.ts";

/** How a connection handles requests. */
type Behaviour = "answer" | "refuse" | "hang";

/** The lease that all candidates of a test share. */
export class FakeLeases implements LeaseApi {
  #lease: V1Lease | undefined;
  #version = 0;

  /** Current record. */
  get spec(): V1LeaseSpec | undefined {
    return this.#lease?.spec;
  }

  /** Current holder. */
  get holder(): string | undefined {
    return this.spec?.holderIdentity;
  }

  /** Current lease. */
  get lease(): V1Lease | undefined {
    return this.#lease;
  }

  /** Changes the record, as another client would. */
  edit(change: (spec: V1LeaseSpec) => V1LeaseSpec, metadata: V1Lease["metadata"] = {}): void {
    this.#put({ metadata: { ...this.#lease?.metadata, ...metadata }, spec: change({ ...this.spec }) });
  }

  /** Deletes the lease, as another client would. */
  remove(): void {
    this.#lease = undefined;
  }

  /** Opens a connection that a test can break. */
  connection(): FakeConnection {
    return new FakeConnection(this);
  }

  read(_name: string): Promise<V1Lease | undefined> {
    return this.#answer(() => this.#lease);
  }

  create(lease: V1Lease): Promise<V1Lease> {
    return this.#answer(() => {
      if (this.#lease) throw refusal(409, "AlreadyExists");
      return this.#put(lease);
    });
  }

  replace(lease: V1Lease): Promise<V1Lease> {
    return this.#answer(() => {
      if (!this.#lease) throw refusal(404, "NotFound");
      const isCurrent = lease.metadata?.resourceVersion === this.#lease.metadata?.resourceVersion;
      if (!isCurrent) throw refusal(409, "Conflict");
      return this.#put(lease);
    });
  }

  #put(lease: V1Lease): V1Lease {
    this.#version += 1;
    this.#lease = { ...lease, metadata: { ...lease.metadata, resourceVersion: String(this.#version) } };
    return this.#lease;
  }

  async #answer<T>(act: () => T): Promise<T> {
    await Promise.resolve();
    return act();
  }
}

/** One candidate's connection to the lease. */
export class FakeConnection implements LeaseApi {
  behaviour: Behaviour = "answer";
  readonly #leases: FakeLeases;

  constructor(leases: FakeLeases) {
    this.#leases = leases;
  }

  read(name: string): Promise<V1Lease | undefined> {
    return this.#pass(() => this.#leases.read(name));
  }

  create(lease: V1Lease): Promise<V1Lease> {
    return this.#pass(() => this.#leases.create(lease));
  }

  replace(lease: V1Lease): Promise<V1Lease> {
    return this.#pass(() => this.#leases.replace(lease));
  }

  #pass<T>(request: () => Promise<T>): Promise<T> {
    if (this.behaviour === "hang") return new Promise<never>(() => {});
    if (this.behaviour === "refuse") return Promise.reject(refusal(403, "leases is forbidden"));
    return request();
  }
}

/** Error for a write that the server refused. */
export function refusal(status: number, reason: string): KubernetesError {
  return new KubernetesError(`Kubernetes refused to write a lease: ${reason}`, { status, reason });
}
