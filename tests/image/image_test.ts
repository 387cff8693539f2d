/**
 * Tests of the image, assembled as its Dockerfile describes it and run as the Deployment does. They need root on Linux and
 * `K8S_AGENT`: the agent's executable (`deno task compile`);
 * `BUSYBOX`: a static busybox with sh and pgrep (by default, the machine's own sh and pgrep are used).
 * @module
 */
import { assertEquals } from "@std/assert";
import { Container } from "./container.ts";
import { type FinalStage, finalStage } from "./dockerfile.ts";
import { assembleRoot } from "./image_root.ts";

const EXECUTABLE = Deno.env.get("K8S_AGENT") ?? "";
const BUSYBOX = Deno.env.get("BUSYBOX");
const PROBE = ["sh", "-c", "pgrep -x k8s-agent"] as const;
const KUBECONFIG = "/kubeconfig";
/** Nothing listens on port 1, and the agent retries without limit, so it keeps running. */
const FLAGS = [
  "--agent-id=image-test",
  "--control-plane-url=ws://127.0.0.1:1",
  "--reconnect-attempts=0",
  `--kubeconfig=${KUBECONFIG}`,
];
/** The container shares the machine's network, so the default port may be in use. */
const WITHOUT_PROBES = ["--health-addr=off"];
const STARTED = "Starting agent: image-test";

/** The root folder of an image; disposing it removes the folder. */
interface Image extends AsyncDisposable {
  readonly root: string;
  readonly stage: FinalStage;
}

imageTest("image contains only the programs sh, pgrep and the agent", async ({ root }) => {
  const programs: string[] = [];
  for (const folder of ["/bin", "/usr/local/bin"]) {
    for await (const { name } of Deno.readDir(`${root}${folder}`)) programs.push(`${folder}/${name}`);
  }
  assertEquals(programs.sort(), ["/bin/pgrep", "/bin/sh", "/usr/local/bin/k8s-agent"]);
});

imageTest(
  "image runs as user 65532 on a read-only root, and exits with code 0 on SIGTERM",
  async ({ root, stage }) => {
    await using container = await Container.start(root, {
      command: [...stage.entrypoint, ...FLAGS, ...WITHOUT_PROBES],
      user: stage.user,
      sign: STARTED,
    });
    assertEquals(await container.initUser(), "65532:65532");
    assertEquals(await container.exec(...PROBE), 0);
    assertEquals(await container.stop("SIGTERM"), 0);
  },
);

imageTest("doctor runs beside the agent, as with kubectl exec", async ({ root, stage }) => {
  await using container = await Container.start(root, {
    command: [...stage.entrypoint, ...FLAGS, ...WITHOUT_PROBES],
    user: stage.user,
    sign: STARTED,
  });
  assertEquals(await container.exec("k8s-agent", "doctor", ...FLAGS), 1, "Nothing responds");
  assertEquals(
    await container.exec("k8s-agent", "doctor"),
    2,
    "The settings are not in the environment here",
  );
  assertEquals(await container.exec(...PROBE), 0, "The agent is running");
});

imageTest("the Deployment's probe detects whether the agent is running", async ({ root, stage }) => {
  await using container = await Container.start(root, {
    command: ["/bin/sh", "-c", "echo waiting >&2; read -r line"],
    user: stage.user,
    sign: "waiting",
  });
  assertEquals(await container.exec(...PROBE), 1, "There is no agent yet");

  const agent = await container.spawn([...stage.entrypoint, ...FLAGS, ...WITHOUT_PROBES], STARTED);
  assertEquals(await container.exec(...PROBE), 0, "The agent is running");

  await container.exec("sh", "-c", "kill -KILL $(pgrep -x k8s-agent)");
  await agent.status;
  assertEquals(await container.exec(...PROBE), 1, "The agent was killed");
});

imageTest("image serves probes over HTTP", async ({ root, stage }) => {
  const address = `127.0.0.1:${freePort()}`;
  await using _container = await Container.start(root, {
    command: [...stage.entrypoint, ...FLAGS, `--health-addr=${address}`],
    user: stage.user,
    sign: "Health and metrics at",
  });
  const statuses = await Promise.all(["healthz", "readyz", "metrics"].map(async (path) => {
    const response = await fetch(`http://${address}/${path}`);
    await response.body?.cancel();
    return response.status;
  }));
  assertEquals(statuses, [200, 503, 200]);
});

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

function imageTest(name: string, test: (image: Image) => Promise<void>): void {
  Deno.test({
    name: EXECUTABLE === "" ? `${name} (set K8S_AGENT to the executable, as root, to run this)` : name,
    ignore: EXECUTABLE === "" || Deno.build.os !== "linux" || Deno.uid() !== 0,
    fn: async () => {
      await using image = await assemble();
      await test(image);
    },
  });
}

async function assemble(): Promise<Image> {
  const stage = finalStage(await Deno.readTextFile(new URL("../../Dockerfile", import.meta.url)));
  const root = await Deno.makeTempDir();
  // Temporary folders are private, but the container runs as another user.
  await Deno.chmod(root, 0o755);
  await assembleRoot(root, stage, { executable: EXECUTABLE, imageFile });
  await Deno.writeTextFile(`${root}${KUBECONFIG}`, kubeconfig());
  return { root, stage, [Symbol.asyncDispose]: () => Deno.remove(root, { recursive: true }) };
}

/** A program of the busybox image, where every program is busybox under another name. */
async function imageFile(path: string): Promise<string> {
  return BUSYBOX ?? await Deno.realPath(path.replace(/^\/bin\//, "/usr/bin/"));
}

function kubeconfig(): string {
  return JSON.stringify({
    clusters: [{ name: "none", cluster: { server: "https://127.0.0.1:1" } }],
    users: [{ name: "none", user: { token: "none" } }],
    contexts: [{ name: "none", context: { cluster: "none", user: "none" } }],
    "current-context": "none",
  });
}
