/**
 * The image as its Dockerfile describes it, run as the Deployment asks for. It needs root on Linux, and
 * `K8S_AGENT`: the agent's executable (`deno task compile`);
 * `BUSYBOX`: a static busybox that has sh and pgrep (without it, the machine's own sh and pgrep stand in).
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
/** Nobody listens at port 1, and the agent tries for ever: it stays up. */
const FLAGS = [
  "--agent-id=image-test",
  "--control-plane-url=ws://127.0.0.1:1",
  "--reconnect-attempts=0",
  `--kubeconfig=${KUBECONFIG}`,
];
/** For a container whose network is this machine's. */
const WITHOUT_PROBES = ["--health-addr=off"];
const STARTED = "Starting agent: image-test";

/** An image's root folder; dispose it to remove it. */
interface Image extends AsyncDisposable {
  readonly root: string;
  readonly stage: FinalStage;
}

imageTest("image holds no programs but sh, pgrep and the agent", async ({ root }) => {
  const programs: string[] = [];
  for (const folder of ["/bin", "/usr/local/bin"]) {
    for await (const { name } of Deno.readDir(`${root}${folder}`)) programs.push(`${folder}/${name}`);
  }
  assertEquals(programs.sort(), ["/bin/pgrep", "/bin/sh", "/usr/local/bin/k8s-agent"]);
});

imageTest(
  "image runs as user 65532 on a read-only root, and SIGTERM ends it well",
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

imageTest("doctor runs beside the agent, as kubectl exec runs it", async ({ root, stage }) => {
  await using container = await Container.start(root, {
    command: [...stage.entrypoint, ...FLAGS, ...WITHOUT_PROBES],
    user: stage.user,
    sign: STARTED,
  });
  assertEquals(await container.exec("k8s-agent", "doctor", ...FLAGS), 1, "Nothing answers");
  assertEquals(
    await container.exec("k8s-agent", "doctor"),
    2,
    "The settings are not in the environment here",
  );
  assertEquals(await container.exec(...PROBE), 0, "The agent lives");
});

imageTest("probe of the Deployment says whether the agent lives", async ({ root, stage }) => {
  await using container = await Container.start(root, {
    command: ["/bin/sh", "-c", "echo waiting >&2; read -r line"],
    user: stage.user,
    sign: "waiting",
  });
  assertEquals(await container.exec(...PROBE), 1, "There is no agent yet");

  const agent = await container.spawn([...stage.entrypoint, ...FLAGS, ...WITHOUT_PROBES], STARTED);
  assertEquals(await container.exec(...PROBE), 0, "The agent lives");

  await container.exec("sh", "-c", "kill -KILL $(pgrep -x k8s-agent)");
  await agent.status;
  assertEquals(await container.exec(...PROBE), 1, "The agent was killed");
});

imageTest("image answers probes over HTTP", async ({ root, stage }) => {
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
  // The image is for all to read, and a temporary folder is not.
  await Deno.chmod(root, 0o755);
  await assembleRoot(root, stage, { executable: EXECUTABLE, imageFile });
  await Deno.writeTextFile(`${root}${KUBECONFIG}`, kubeconfig());
  return { root, stage, [Symbol.asyncDispose]: () => Deno.remove(root, { recursive: true }) };
}

/** A program of the busybox image, where each is busybox by another name. */
async function imageFile(path: string): Promise<string> {
  return BUSYBOX ?? await Deno.realPath(path.replace(/^\/bin\//, "/usr/bin/"));
}

function kubeconfig(): string {
  return JSON.stringify({
    clusters: [{ name: "none", cluster: { server: "https://127.0.0.1:1" } }],
    users: [{ name: "none", user: {} }],
    contexts: [{ name: "none", context: { cluster: "none", user: "none" } }],
    "current-context": "none",
  });
}
