/**
 * The objects of sessions that this agent does not manage, because they carry the label of another agent or no longer name a session. They come
 * with the watches anyway; only what is needed to recognize them is kept.
 * @module
 */
import type { KubernetesObject } from "@kubernetes/client-node";
import { agentOf, describe, mountedClaims, sessionIdOf } from "./ownership.ts";
import { isAlive } from "./objects.ts";

/** What is known of a foreign object. */
interface ForeignObject {
  readonly kind: string;
  readonly agent: string | undefined;
  readonly sessionId: string | undefined;
  /** Names of the claims that its pods mount, unless it is being deleted. */
  readonly claims: readonly string[];
  readonly isEnding: boolean;
  readonly description: string;
}

const DESCRIBED_KINDS: Readonly<Record<string, string>> = { deployment: "Deployment", pod: "Pod" };

/** Foreign objects by uid. */
export class ForeignObjects {
  readonly #objects = new Map<string, ForeignObject>();

  /** Adds an object, or replaces its previous state. */
  put(kind: string, object: KubernetesObject): void {
    const uid = object.metadata?.uid;
    if (uid === undefined) return;
    this.#objects.set(uid, {
      kind,
      agent: agentOf(object),
      sessionId: sessionIdOf(object),
      claims: isAlive(object) && kind in DESCRIBED_KINDS ? mountedClaims(object) : [],
      isEnding: !isAlive(object),
      description: describe(DESCRIBED_KINDS[kind] ?? kind, object),
    });
  }

  /** Removes an object. */
  delete(uid: string): void {
    this.#objects.delete(uid);
  }

  /** Removes the objects of a kind that a list does not contain. */
  retain(kind: string, present: ReadonlySet<string | undefined>): void {
    for (const [uid, object] of this.#objects) {
      if (object.kind === kind && !present.has(uid)) this.#objects.delete(uid);
    }
  }

  /** The other agent to which a session's Deployment or Service belongs. */
  agentOfSession(sessionId: string): string | undefined {
    return this.#sessions().find((object) => object.sessionId === sessionId)?.agent;
  }

  /** Session ids by the label value of their agent. */
  sessionsByAgent(): Map<string, string[]> {
    const sessions = new Map<string, Set<string>>();
    for (const { agent = "", sessionId = "" } of this.#sessions()) {
      sessions.set(agent, (sessions.get(agent) ?? new Set()).add(sessionId));
    }
    return new Map([...sessions].map(([agent, ids]) => [agent, [...ids].toSorted()]));
  }

  /** Descriptions of the objects whose pods mount a claim, except for pods that end with their Deployment. */
  mounting(claimName: string): string[] {
    const objects = [...this.#objects.values()];
    const ending = new Set(
      objects.flatMap((one) => one.kind === "deployment" && one.isEnding ? [one.sessionId] : []),
    );
    ending.delete(undefined);
    return objects.filter(({ kind, sessionId, claims }) =>
      claims.includes(claimName) && !(kind === "pod" && ending.has(sessionId))
    ).map(({ description }) => description);
  }

  #sessions(): ForeignObject[] {
    return [...this.#objects.values()].filter(({ kind, agent, sessionId }) =>
      (kind === "deployment" || kind === "service") && agent !== undefined && sessionId !== undefined
    );
  }
}
