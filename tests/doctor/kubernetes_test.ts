/**
 * The checks of the cluster against the Kubernetes API in memory and against scripted API servers. tests/e2e/doctor_cluster_test.ts runs them
 * on real API servers, too.
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { Cluster } from "@streamspace/memory-cluster";
import { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import { loadConfig } from "../../lib/cli/config.ts";
import { KubeconfigError, KubernetesError } from "../../lib/common/errors.ts";
import { diagnose } from "../../lib/doctor/doctor.ts";
import { apiFailure, checkFailure } from "../../lib/doctor/kubernetes.ts";
import { PERMISSIONS } from "../../lib/doctor/permissions.ts";
import { type CheckName, CHECKS } from "../../lib/doctor/report.ts";
import { temporaryFile } from "../support/clusters.ts";
import { AGENT_ID, Diagnosis, kubeconfigFor } from "../support/diagnosis.ts";

/** Metadata of a list. */
const LIST = { resourceVersion: "1" };

const SERVER = "https://10.96.0.1:443";
const BIND =
  "apply k8s/rbac.yaml, and bind the account to the ClusterRole system:basic-user, as clusters do by default";
const RENEW =
  "renew the token or certificate in the kubeconfig, or check that the pod's service account exists";
const TRUST = "check certificate-authority in the kubeconfig, and the API server's certificate";
const REACH = "check the server in the kubeconfig, and for a NetworkPolicy or firewall in between";
const CHECK_SERVER = "check the API server's health and log, and try again";

function answer(status: number, reason: string): KubernetesError {
  return new KubernetesError(`Kubernetes refused to read version: ${reason}`, { status, reason: "" });
}

function silence(reason: string): KubernetesError {
  const cause = new Error(`error sending request for url (x): client error (Connect): ${reason}`);
  const message = `Kubernetes did not answer a request to read version: ${cause.message}`;
  return new KubernetesError(message, { status: 0, reason: "", cause });
}

const API_FAILURES: ReadonlyArray<[error: unknown, message: string, advice: string]> = [
  [
    answer(401, "Unauthorized"),
    `Kubernetes at ${SERVER} rejects the credentials: Kubernetes refused to read version: Unauthorized`,
    RENEW,
  ],
  [
    answer(503, "HTTP status 503"),
    `Kubernetes at ${SERVER} responds with an error: Kubernetes refused to read version: HTTP status 503`,
    CHECK_SERVER,
  ],
  [
    silence("invalid peer certificate: UnknownIssuer"),
    `Kubernetes at ${SERVER} does not respond: the server's certificate is not signed by a trusted authority (invalid peer certificate: UnknownIssuer)`,
    TRUST,
  ],
  [
    silence("received corrupt message of type InvalidContentType"),
    `Kubernetes at ${SERVER} does not respond: the server does not use TLS on this port (received corrupt message of type InvalidContentType)`,
    "check the port of the server in the kubeconfig, or use http:// if it has no TLS",
  ],
  [
    new KubernetesError("Cannot read version: exec aws failed", {
      status: 0,
      reason: "",
      cause: new KubeconfigError('Cannot use kubeconfig f: user "u": exec aws failed: no network'),
    }),
    'Cannot use kubeconfig f: user "u": exec aws failed: no network',
    "correct the kubeconfig, or check the program that it runs for credentials",
  ],
  [
    silence("tcp connect error: Connection refused (os error 111)"),
    `Kubernetes at ${SERVER} does not respond: tcp connect error: Connection refused (os error 111)`,
    REACH,
  ],
  [
    new Error("no response within 4s"),
    `Kubernetes at ${SERVER} does not respond: no response within 4s`,
    REACH,
  ],
];

for (const [error, message, advice] of API_FAILURES) {
  Deno.test(`apiFailure() reports: ${message}`, () => {
    assertEquals(apiFailure(SERVER, error), { check: "kubernetes-api", status: "fail", message, advice });
  });
}

const CHECK_FAILURES = [
  [answer(403, "forbidden"), "skip", "Kubernetes refused to read version: forbidden", BIND],
  [answer(500, "no"), "fail", "Kubernetes refused to read version: no", CHECK_SERVER],
  [new Error("no response within 4s"), "fail", "no response within 4s", REACH],
] as const;

for (const [error, status, reason, advice] of CHECK_FAILURES) {
  Deno.test(`checkFailure() returns ${status} for: ${reason}`, () => {
    assertEquals(checkFailure("quota", { failure: "Cannot check the quotas", error }), {
      check: "quota",
      status,
      message: `Cannot check the quotas: ${reason}`,
      advice,
    });
  });
}

/** An API server that answers with `answer`, or as one that is empty and allows everything. */
class ScriptedServer implements AsyncDisposable {
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  constructor(answer: (request: Request, path: string) => Response | undefined) {
    this.#server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
      const { pathname } = new URL(request.url);
      return answer(request, pathname) ??
        Response.json({ gitVersion: "v1.30.0", metadata: LIST, items: [], status: { allowed: true } });
    });
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}`;
  }

  /** Runs the doctor against it. */
  async examine(): Promise<Diagnosis> {
    await using kubeconfig = await kubeconfigFor({ server: this.url });
    return await examine(kubeconfig.path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}

async function examine(kubeconfig: string, ...args: string[]): Promise<Diagnosis> {
  await using controlPlane = ControlPlane.start();
  const cluster = { kubeconfig, namespace: "streamspace" };
  return await Diagnosis.run({ cluster, controlPlaneUrl: controlPlane.url, args });
}

async function examineMemory(cluster: Cluster, ...args: string[]): Promise<Diagnosis> {
  const kubeconfig = await temporaryFile(cluster.kubeconfig());
  await using _removal = { [Symbol.asyncDispose]: () => Deno.remove(kubeconfig) };
  return await examine(kubeconfig, ...args);
}

function refusal(code: number, message: string): Response {
  return Response.json({ kind: "Status", code, message }, { status: code });
}

const UNREADABLE: readonly CheckName[] = ["namespace", "quota", "pod-security", "storage-class"];

Deno.test("diagnose() skips checks when the account may not create access reviews", async () => {
  await using cluster = Cluster.start({
    authorize: ({ resource }) => !resource.startsWith("selfsubject"),
  });
  const { failures, about } = await examineMemory(cluster);
  assertEquals(failures, []);
  const [quota = ""] = about("quota");
  assertEquals(
    [
      quota.startsWith("skip  Cannot check the quotas: Kubernetes refused to create "),
      quota.endsWith(`(${BIND})`),
    ],
    [true, true],
    quota,
  );
});

Deno.test("diagnose() continues when the account may not read the version", async () => {
  await using server = new ScriptedServer((_, path) =>
    path === "/version" ? refusal(403, "forbidden") : undefined
  );
  const { about } = await server.examine();
  assertEquals(about("kubernetes-api", "kubernetes-clock", "quota"), [
    `ok    Kubernetes responds at ${server.url}, without its version`,
    "skip  The API server's clock was not checked (the agent may not read the version)",
    "ok    Namespace streamspace has no quota",
  ]);
});

Deno.test("diagnose() reports which webhook does not support dry runs", async () => {
  const message = 'admission webhook "policy.example.com" does not support dry run';
  await using server = new ScriptedServer((request) =>
    new URL(request.url).searchParams.has("dryRun") ? refusal(400, message) : undefined
  );
  const { about } = await server.examine();
  assertEquals(about("session-objects"), [
    `skip  No session was created in a dry run (Kubernetes refused to create deployments: ${message})`,
  ]);
});

Deno.test("diagnose() accepts the beta annotation of the default storage class", async () => {
  const annotations = { "storageclass.beta.kubernetes.io/is-default-class": "true" };
  await using server = new ScriptedServer((_, path) =>
    path.endsWith("/storageclasses")
      ? Response.json({ metadata: LIST, items: [{ metadata: { name: "old", annotations } }] })
      : undefined
  );
  const { about } = await server.examine();
  assertEquals(about("storage-class"), ["ok    Home volumes use the cluster's default storage class, old"]);
});

Deno.test("diagnose() returns findings of all checks without credentials for Kubernetes", async () => {
  await using controlPlane = ControlPlane.start();
  const invocation = loadConfig({
    args: ["doctor", `--agent-id=${AGENT_ID}`, `--control-plane-url=${controlPlane.url}`],
    env: () => undefined,
    readFile: () => "",
  });
  if (invocation.kind !== "doctor") throw new Error(`Cannot run the doctor: command is ${invocation.kind}`);
  const findings = await diagnose(invocation.config);
  const found = new Set(findings.map(({ check }) => check));
  assertEquals(CHECKS.filter((check) => !found.has(check)), [
    "client-certificate",
    "kubernetes-clock",
    "pod-security",
    "custom-kinds",
  ]);
  assertEquals(findings.find(({ check }) => check === "kubernetes-api"), {
    check: "kubernetes-api",
    status: "fail",
    message: "Cannot find the pod's service account: outside a cluster, set --kubeconfig (KUBECONFIG)",
    advice: "run the doctor in the agent's pod, or with a valid kubeconfig",
  });
});

Deno.test("diagnose() reports each missing permission", async (context) => {
  let missing = { verb: "", group: "", resource: "" };
  await using cluster = Cluster.start({
    authorize: ({ verb, group, resource, subresource }) =>
      verb !== missing.verb || group !== missing.group ||
      (subresource ? `${resource}/${subresource}` : resource) !== missing.resource,
  });
  for (const { group = "", resource, name = "", verbs, consequence, isOptional } of PERMISSIONS) {
    const what = `${resource}${group === "" ? "" : `.${group}`}${name === "" ? "" : ` ${name}`}`;
    for (const verb of verbs) {
      await context.step(`${verb} ${what}`, async () => {
        missing = { verb, group, resource };
        const { about } = await examineMemory(cluster, "--leader-election");
        assertEquals(about("permissions"), [
          `${isOptional ? "warn" : "FAIL"}  The agent may not ${verb} ${what} in namespace streamspace: ` +
          `apply k8s/rbac.yaml in this namespace, and run the agent with its service account; without it, ${consequence}`,
        ]);
      });
    }
  }
});

Deno.test("diagnose() skips what the agent's Role does not allow to read", async () => {
  const granted = ({ verb, group, resource, subresource }: Record<string, string>) =>
    resource?.startsWith("selfsubject") ||
    PERMISSIONS.some((permission) =>
      (permission.group ?? "") === group && permission.verbs.includes(verb ?? "") &&
      permission.resource === (subresource ? `${resource}/${subresource}` : resource)
    );
  await using cluster = Cluster.start({ authorize: (attributes) => Boolean(granted({ ...attributes })) });
  const { about } = await examineMemory(cluster);
  assertEquals(about(...UNREADABLE, "journal"), [
    "skip  Namespace streamspace was not checked (the agent may not read it: kubectl get namespace streamspace)",
    "FAIL  ConfigMap k8s-agent-journal does not exist, and the agent may not create it: apply k8s/rbac.yaml",
    "skip  The default storage class was not checked (the agent may not read it: kubectl get storageclass)",
    "skip  The namespace's quotas were not checked (the agent may not read them: kubectl -n streamspace describe resourcequota)",
    "skip  The namespace's Pod Security level was not checked (the agent may not read it: kubectl get namespace streamspace --show-labels)",
  ]);
});

Deno.test("diagnose() reports the clock skew of the API server", async () => {
  await using server = new ScriptedServer(() => {
    const date = new Date(Date.now() + 20_000).toUTCString();
    return Response.json({ gitVersion: "v1.30.0", metadata: LIST, items: [] }, { headers: { date } });
  });
  const { about } = await server.examine();
  assertMatch(
    about("kubernetes-clock").join(),
    /^warn {2}The API server's clock is (1[89]|2[012])(\.\d)?s ahead of this machine's: synchronize both with NTP: certificates, tokens and timestamps depend on them$/,
  );
});

Deno.test("diagnose() reports an API server that ignores the credentials", async () => {
  await using api = new ScriptedServer((_request, path) =>
    path === "/version" ? undefined : Response.json({
      kind: "Status",
      code: 403,
      reason: "Forbidden",
      message: 'pods is forbidden: User "system:anonymous" cannot list resource "pods"',
    }, { status: 403 })
  );
  const { failures } = await api.examine();
  assertEquals(failures, [
    `FAIL  Kubernetes at ${api.url} rejects the credentials: Kubernetes refused to create apis authorization.k8s.io v1 selfsubjectaccessreviews, as it accepts no credentials of the agent and treats it as system:anonymous: pods is forbidden: User "system:anonymous" cannot list resource "pods": check the user in the kubeconfig, and for a proxy in front of the API server that removes the credentials`,
  ]);
});

Deno.test("diagnose() skips all checks of the cluster when the API server is unreachable", async () => {
  await using kubeconfig = await kubeconfigFor({ server: "https://127.0.0.1:1", token: "t" });
  const { failures, about } = await examine(kubeconfig.path);
  assertEquals(failures.length, 1);
  assertMatch(
    failures[0] ?? "",
    /^FAIL {2}Kubernetes at https:\/\/127\.0\.0\.1:1 does not respond: .*: check the server in the kubeconfig, /,
  );
  assert(
    about("namespace", "permissions", "quota").every((line) =>
      line.startsWith("skip") && line.endsWith("(no connection to Kubernetes)")
    ),
  );
});
