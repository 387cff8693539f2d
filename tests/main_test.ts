import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import denoJson from "../deno.json" with { type: "json" };
import { bundleAgent } from "../dev/agent_bundle.ts";
import { helpText } from "../lib/cli/command_line.ts";

interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs the program with only these arguments and variables. */
async function runMain(args: string[], env: Record<string, string> = {}): Promise<Outcome> {
  const home = { HOME: Deno.env.get("HOME") ?? "", DENO_DIR: Deno.env.get("DENO_DIR") ?? "" };
  const inherited = Object.fromEntries(Object.entries(home).filter(([, value]) => value !== ""));
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", await bundleAgent(), ...args],
    env: { ...inherited, ...env, NO_COLOR: "1" },
    clearEnv: true,
  });
  const { code, stdout, stderr } = await command.output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

Deno.test("main exits with code 2 and reports all problems without a stack trace", async () => {
  const { code, stdout, stderr } = await runMain(["--nonsense"], {
    MAX_CPU: "lots",
    CONTROL_PLANE_URL: "wss://alice:s3cret@cp.example.com",
  });
  assertEquals([code, stdout], [2, ""]);
  assertEquals(stderr.split("\n").map((line) => line.split(":")[0]), [
    "Cannot start as the configuration is not valid",
    "  - --nonsense is unknown",
    "  - --agent-id (AGENT_ID) is required",
    "  - --control-plane-url (CONTROL_PLANE_URL) must not contain a user or password",
    "  - --max-cpu (MAX_CPU) must be an amount of cores such as 64 or 64000m",
    "",
  ]);
  assert(!stderr.includes("s3cret"), stderr);
});

Deno.test("main prints help and version and exits with code 0", async () => {
  const [help, version] = await Promise.all([runMain(["--help"]), runMain(["--version"])]);
  assertEquals(help, { code: 0, stdout: `${helpText()}\n`, stderr: "" });
  assertEquals(version, { code: 0, stdout: `k8s-agent ${denoJson.version}\n`, stderr: "" });
});

Deno.test("main prints the validated settings without the key and exits with code 0", async () => {
  const { code, stdout, stderr } = await runMain(["--agent-id=a1", "--check-config"], {
    CONTROL_PLANE_URL: "ws://localhost:8000",
    AGENT_API_KEY: "s3cret",
  });
  assertEquals([code, stderr], [0, ""]);
  const config = JSON.parse(stdout);
  assertEquals([config.agentId, config.apiKey, config.maxCpu], ["a1", "[redacted]", 100]);
  assertEquals(config.templates.firefox.vnc.port, 3000);
  assert(!stdout.includes("s3cret"));
});

Deno.test("main exits with code 2 and a message when the kubeconfig does not exist", async () => {
  const { code, stderr } = await runMain([
    "--agent-id=a1",
    "--control-plane-url=ws://127.0.0.1:1",
    "--kubeconfig=/nonexistent/kubeconfig",
  ]);
  assertEquals(code, 2);
  assertStringIncludes(stderr, "--kubeconfig (KUBECONFIG) cannot be read: ");
  assertStringIncludes(stderr, "/nonexistent/kubeconfig");
  assert(!/^\s+at /m.test(stderr), stderr);
});

Deno.test("main exits with code 2 and one line when the kubeconfig has no credentials", async () => {
  const path = await Deno.makeTempFile();
  await Deno.writeTextFile(
    path,
    JSON.stringify({
      clusters: [{ name: "c", cluster: { server: "https://127.0.0.1:1" } }],
      users: [{ name: "u", user: {} }],
      contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
      "current-context": "x",
    }),
  );
  const args = ["--agent-id=a1", "--control-plane-url=ws://127.0.0.1:1", "--health-addr=off"];
  const { code, stderr } = await runMain([...args, `--kubeconfig=/nonexistent:${path}`]);
  await Deno.remove(path);
  assertEquals(code, 2);
  const lines = stderr.trimEnd().split("\n");
  assertStringIncludes(
    lines.at(-1) ?? "",
    `ERROR: Cannot use kubeconfig ${path}: user "u": none of token, tokenFile, client-certificate and exec is set: Kubernetes would treat the agent as system:anonymous`,
  );
  assert(!/^\s+at /m.test(stderr), stderr);
});

Deno.test("main doctor reports invalid settings and exits with code 2", async () => {
  const { code, stdout, stderr } = await runMain(["doctor", "--agent-id=a1", "--max-cpu=lots"], {
    AGENT_API_KEY: "s3cret",
  });
  assertEquals([code, stderr], [2, ""]);
  assertEquals(stdout.split("\n"), [
    "FAIL  --control-plane-url (CONTROL_PLANE_URL) is required: Control Plane URL, such as wss://control.example.com",
    'FAIL  --max-cpu (MAX_CPU) must be an amount of cores such as 64 or 64000m: current value is "lots" (--max-cpu)',
    "",
    "2 failed",
    "",
  ]);
});

Deno.test("main doctor runs the remaining checks without a cluster and exits with code 1", async () => {
  const { code, stdout, stderr } = await runMain(["preflight", "--agent-id=a1", "--output=json"], {
    CONTROL_PLANE_URL: "ws://127.0.0.1:1",
    AGENT_API_KEY: "s3cret",
  });
  assertEquals([code, stderr], [1, ""]);
  const { status, checks } = JSON.parse(stdout) as { status: string; checks: Record<string, string>[] };
  assertEquals(status, "fail");
  assertEquals(checks.filter((one) => one.status === "fail").map(({ check }) => check), [
    "control-plane-address",
    "kubernetes-api",
  ]);
  assert(!stdout.includes("s3cret"));
});

Deno.test("main sessions reports an error in one line and exits with code 1", async () => {
  const args = ["sessions", "--agent-id=a1", "--control-plane-url=ws://127.0.0.1:1"];
  assertEquals(await runMain(args), {
    code: 1,
    stdout: "",
    stderr:
      "Cannot list the sessions: Cannot find the pod's service account: outside a cluster, set --kubeconfig (KUBECONFIG)\n",
  });
});
