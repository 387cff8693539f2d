/**
 * Session objects of the Control Plane's kind. A cluster has only one schema of a kind, so that this runs alone (`ALONE=true`).
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { CustomObjectsApi, PatchStrategy, setHeaderOptions } from "@kubernetes/client-node";
import { REAL, type TestCluster } from "../support/clusters.ts";
import { installKinds, ObjectWatcher } from "../support/custom_kinds.ts";
import { onEachCluster, Stage, START } from "../support/stage.ts";

const MERGE = setHeaderOptions("Content-Type", PatchStrategy.MergePatch);

function requestOf({ namespace }: TestCluster, body: object) {
  return { group: "stream.space", version: "v1alpha1", namespace, plural: "sessions", name: "s1", body };
}

if (Deno.env.get("ALONE") === "true") {
  onEachCluster("the Control Plane hibernates an idle session by its own Session kind", async (cluster) => {
    await installKinds(cluster, ["../fixtures/control_plane_session_kind.yaml"]);
    await using _ = { [Symbol.asyncDispose]: () => installKinds(cluster) };
    const api = cluster.config.makeApiClient(CustomObjectsApi);
    await using stage = await Stage.start(cluster, {
      args: ["--session-objects=control"],
      throughProxies: true,
    });
    await using sessions = new ObjectWatcher(cluster, "sessions");
    await stage.command("start_session", { ...START, sessionId: "s1" });
    await sessions.until("s1", ({ status }) => status?.phase === "Running");
    const lastActivity = "2026-01-01T00:00:00Z";
    const activity = { status: { lastActivity, url: "https://example.com/s1" } };
    await api.patchNamespacedCustomObjectStatus(requestOf(cluster, activity), MERGE);
    await api.patchNamespacedCustomObject(
      requestOf(cluster, { spec: { state: "hibernated", tags: ["idle"] } }),
      MERGE,
    );
    await stage.untilState("s1", "hibernated");
    const { spec, status } = await sessions.until("s1", ({ status }) => status?.phase === "Hibernated");
    assertEquals([spec.state, spec.tags], ["hibernated", ["idle"]]);
    assertEquals([status?.lastActivity, status?.url], [lastActivity, "https://example.com/s1"]);
    await stage.command("wake_session", { sessionId: "s1" });
    await sessions.until("s1", ({ spec, status }) => spec.state === "running" && status?.phase === "Running");
    assertEquals([...stage.controlPlane.problems], []);
    // The fields that this kind lacks are written once, not with each change.
    const patches = stage.proxies.api.requests.filter(({ verb, resource }) =>
      verb === "patch" && resource.startsWith("sessions")
    );
    assert(patches.length < 12, `${patches.length} patches`);
  }, [REAL]);
}
