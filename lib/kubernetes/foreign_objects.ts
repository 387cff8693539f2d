/**
 * The objects of sessions that this agent does not manage, because they carry the label of another agent or no longer name a session. They come
 * with the watches anyway; only what is needed to recognize them is kept.
 * @module
 */
import type { KubernetesObject } from "@kubernetes/client-node";
import { ObjectIndex } from "./object_index.ts";
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
  readonly #bySession = new ObjectIndex<ForeignObject>();
  readonly #byClaim = new ObjectIndex<ForeignObject>();

  /** Adds an object, or replaces its previous state. */
  put(kind: string, object: KubernetesObject): void {
    const uid = object.metadata?.uid;
    if (uid === undefined) return;
    const previous = this.#objects.get(uid);
    const current: ForeignObject = {
      kind,
      agent: agentOf(object),
      sessionId: sessionIdOf(object),
      claims: isAlive(object) && kind in DESCRIBED_KINDS ? mountedClaims(object) : [],
      isEnding: !isAlive(object),
      description: describe(DESCRIBED_KINDS[kind] ?? kind, object),
    };
    this.#objects.set(uid, current);
    this.#bySession.replace(uid, { from: sessionsOf(previous), to: sessionsOf(current), value: current });
    this.#byClaim.replace(uid, { from: previous?.claims, to: current.claims, value: current });
  }

  /** Removes an object. */
  delete(uid: string): void {
    const known = this.#objects.get(uid);
    if (!known) return;
    this.#objects.delete(uid);
    this.#bySession.replace(uid, { from: sessionsOf(known), value: known });
    this.#byClaim.replace(uid, { from: known.claims, value: known });
  }

  /** Removes the objects of a kind that a list does not contain. */
  retain(kind: string, present: ReadonlySet<string | undefined>): void {
    for (const [uid, object] of this.#objects) {
      if (object.kind === kind && !present.has(uid)) this.delete(uid);
    }
  }

  /** The other agent to which a session's Deployment or Service belongs. */
  agentOfSession(sessionId: string): string | undefined {
    return this.#bySession.get(sessionId).find(namesAgent)?.agent;
  }

  /** Session ids by the label value of their agent. */
  sessionsByAgent(): Map<string, string[]> {
    const sessions = new Map<string, Set<string>>();
    for (const object of this.#objects.values()) {
      const { agent = "", sessionId } = object;
      if (sessionId === undefined || !namesAgent(object)) continue;
      sessions.set(agent, (sessions.get(agent) ?? new Set()).add(sessionId));
    }
    return new Map([...sessions].map(([agent, ids]) => [agent, [...ids].toSorted()]));
  }

  /** Descriptions of the objects whose pods mount a claim, except for pods that end with their Deployment. */
  mounting(claimName: string): string[] {
    const isEnding = (sessionId: string | undefined) =>
      sessionId !== undefined &&
      this.#bySession.get(sessionId).some((one) => one.kind === "deployment" && one.isEnding);
    return this.#byClaim.get(claimName)
      .filter(({ kind, sessionId }) => !(kind === "pod" && isEnding(sessionId)))
      .map(({ description }) => description);
  }
}

function sessionsOf(object: ForeignObject | undefined): string[] {
  return object?.sessionId === undefined ? [] : [object.sessionId];
}

function namesAgent({ kind, agent }: ForeignObject): boolean {
  return (kind === "deployment" || kind === "service") && agent !== undefined;
}
