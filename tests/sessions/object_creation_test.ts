import { assertEquals, assertRejects } from "@std/assert";
import type { V1Service } from "@kubernetes/client-node";
import { CommandError, KubernetesError } from "../../lib/common/errors.ts";
import type { ObjectApi, SessionClient } from "../../lib/kubernetes/client.ts";
import { SessionCache } from "../../lib/kubernetes/session_cache.ts";
import { ObjectCreator } from "../../lib/sessions/object_creation.ts";
import { ForeignSessionError, SessionFinder } from "../../lib/sessions/session_finder.ts";

const LABELS = { app: "streamspace-session", session: "s1", "stream.space/agent": "a1" };
const ANNOTATIONS = { "stream.space/session": "s1" };
const MANIFEST: V1Service = { metadata: { name: "s1", labels: LABELS, annotations: ANNOTATIONS } };

/** Creates the Service of session s1 in a cluster that changes its labels, or that already has it with these labels. */
async function create(
  labels: Record<string, string>,
  { exists = false } = {},
): Promise<{ deleted: string[]; restored: boolean }> {
  const cache = new SessionCache("a1");
  const creator = new ObjectCreator(cache, new SessionFinder({} as SessionClient, cache));
  const actual: V1Service = { metadata: { ...MANIFEST.metadata, labels, uid: "u1" } };
  const deleted: string[] = [];
  let restored = false;
  const conflict = new KubernetesError("exists", { status: 409, reason: "AlreadyExists" });
  const api: ObjectApi<V1Service> = {
    create: () => exists ? Promise.reject(conflict) : Promise.resolve(actual),
    read: () => Promise.resolve(actual),
    delete: (name: string, uid: string) => Promise.resolve(void deleted.push(`${name} ${uid}`)),
  };
  await creator.create(api, MANIFEST, {
    sessionId: "s1",
    kind: "Service",
    signal: new AbortController().signal,
    timeoutMs: 1000,
    isUsable: () => true,
    restoreLabels: (existing) => {
      restored = true;
      return Promise.resolve(existing);
    },
  }).catch((error) => {
    if (deleted.length === 0) throw error;
    throw Object.assign(error, { deleted });
  });
  return { deleted, restored };
}

for (
  const [label, value] of [["app", "team-x"], ["session", "other"], ["stream.space/agent", "a2"]] as const
) {
  Deno.test(`ObjectCreator deletes an object that a webhook created with another label ${label}`, async () => {
    const error = await assertRejects(() => create({ ...LABELS, [label]: value }), CommandError);
    const before = LABELS[label];
    assertEquals(
      error.message,
      `the cluster changed the label "${label}" of its Service from "${before}" to "${value}", most likely by a mutating webhook`,
    );
    assertEquals((error as CommandError & { deleted: string[] }).deleted, ["s1 u1"]);
  });
}

Deno.test("ObjectCreator restores the labels of an existing object of the session", async () => {
  assertEquals(await create({ app: "mine" }, { exists: true }), { deleted: [], restored: true });
  assertEquals(await create(LABELS, { exists: true }), { deleted: [], restored: false });
});

Deno.test("ObjectCreator rejects an object of another agent's session, and names the agent", async () => {
  const labels = { ...LABELS, "stream.space/agent": "a2" };
  await assertRejects(
    () => create(labels, { exists: true }),
    ForeignSessionError,
    'it belongs to agent "a2"; see --adopt-sessions-of',
  );
});
