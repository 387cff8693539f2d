import { assertEquals } from "@std/assert";
import { Administrator } from "../../dev/chaos/administrator.ts";
import { Cluster } from "@streamspace/memory-cluster";
import { ApiProxy } from "../../dev/faults/api_proxy.ts";
import { temporaryFile } from "../support/clusters.ts";

Deno.test("Administrator retries after a failed request", async () => {
  await using cluster = Cluster.start();
  using client = Deno.createHttpClient({});
  await using proxy = ApiProxy.start({ server: cluster.url, client });
  const kubeconfig = await temporaryFile(proxy.kubeconfig());
  await using administrator = await Administrator.open(kubeconfig);
  await Deno.remove(kubeconfig);
  proxy.inject({ kind: "status", code: 503, verb: "list", resource: "pods" });
  assertEquals(await administrator.sessions(), new Map());
});
