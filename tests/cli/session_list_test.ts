import { assertRejects } from "@std/assert";
import { loadConfig } from "../../lib/cli/config.ts";
import { listSessions } from "../../lib/cli/session_list.ts";
import { FakeTime } from "../support/fake_time.ts";

Deno.test("sessions says how long it waited for an API server that does not answer", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const kubeconfig = await Deno.makeTempFile();
  await Deno.writeTextFile(
    kubeconfig,
    JSON.stringify({
      clusters: [{ name: "mute", cluster: { server: `http://127.0.0.1:${listener.addr.port}` } }],
      users: [{ name: "mute", user: {} }],
      contexts: [{ name: "mute", context: { cluster: "mute", user: "mute" } }],
      "current-context": "mute",
    }),
  );
  const invocation = loadConfig({
    args: [
      "sessions",
      "--agent-id=a1",
      "--control-plane-url=ws://localhost",
      `--kubeconfig=${kubeconfig}`,
    ],
    env: () => undefined,
    readFile: (path) => Deno.readTextFileSync(path),
  });
  if (invocation.kind !== "sessions") throw new Error(`This lists no sessions: ${invocation.kind}`);
  using time = new FakeTime();
  const listing = listSessions(invocation.config, "text");
  using _connection = await listener.accept();
  time.tick(15_000);
  await assertRejects(() => listing, Error, "Kubernetes did not answer within 15 seconds");
  listener.close();
  await Deno.remove(kubeconfig);
});
