import { assertEquals } from "@std/assert";

/**
 * The flow of the architecture: a file may import only from its own row and from rows below. What is pure and shared stands at the bottom.
 */
const ROWS = [
  ["main.ts"],
  ["lib/agent.ts"],
  ["lib/doctor/doctor.ts", "lib/doctor/start_check.ts"],
  ["lib/doctor/kubernetes_checks.ts", "lib/doctor/control_plane_checks.ts"],
  [
    "lib/doctor/namespace_check.ts",
    "lib/doctor/permission_check.ts",
    "lib/doctor/quota_check.ts",
    "lib/doctor/second_agent_check.ts",
    "lib/doctor/storage_check.ts",
    "lib/doctor/store_checks.ts",
    "lib/doctor/template_check.ts",
    "lib/doctor/trial_check.ts",
    "lib/doctor/certificates.ts",
    "lib/doctor/cluster_trouble.ts",
    "lib/doctor/control_plane_probe.ts",
  ],
  ["lib/doctor/agents_seen.ts", "lib/doctor/connection_trouble.ts"],
  [
    "lib/doctor/agent_pod.ts",
    "lib/doctor/cluster_view.ts",
    "lib/doctor/permissions.ts",
    "lib/doctor/in_time.ts",
  ],
  ["lib/doctor/quota_demand.ts"],
  ["lib/doctor/trial_session.ts", "lib/doctor/report.ts", "lib/doctor/clock.ts", "lib/doctor/standing.ts"],
  ["lib/doctor/finding.ts"],
  ["lib/parts.ts"],
  ["lib/telemetry/telemetry.ts"],
  ["lib/telemetry/command_telemetry.ts", "lib/telemetry/health_server.ts"],
  [
    "lib/telemetry/meter.ts",
    "lib/telemetry/vitals.ts",
    "lib/telemetry/health_report.ts",
    "lib/telemetry/start_phase.ts",
    "lib/telemetry/command_trace.ts",
  ],
  ["lib/session_list.ts"],
  ["lib/sessions/listing.ts"],
  ["lib/config.ts", "lib/help.ts"],
  ["lib/command_line.ts"],
  ["lib/options.ts"],
  ["lib/option_parsers.ts"],
  ["lib/control_plane/link.ts"],
  ["lib/control_plane/enroll.ts"],
  ["lib/control_plane/socket.ts"],
  ["lib/control_plane/registration.ts", "lib/control_plane/refused_upgrade.ts"],
  ["lib/control_plane/ask.ts", "lib/control_plane/either_key.ts"],
  ["lib/control_plane/credentials.ts"],
  [
    "lib/sessions/dispatcher.ts",
    "lib/sessions/monitor.ts",
    "lib/sessions/mirror.ts",
    "lib/sessions/expiry.ts",
  ],
  ["lib/sessions/answers.ts"],
  ["lib/control_plane/reporter.ts", "lib/control_plane/heartbeat.ts"],
  ["lib/control_plane/outbox.ts"],
  ["lib/sessions/operations.ts"],
  ["lib/sessions/start_operation.ts", "lib/sessions/stop_operation.ts"],
  ["lib/sessions/run_operations.ts"],
  ["lib/sessions/provisioner.ts", "lib/sessions/recorder.ts", "lib/sessions/capacity.ts"],
  ["lib/sessions/outcome.ts", "lib/sessions/observed.ts", "lib/sessions/session_resource.ts"],
  ["lib/sessions/max_duration.ts"],
  [
    "lib/sessions/waiting.ts",
    "lib/sessions/command_context.ts",
    "lib/sessions/failure.ts",
    "lib/sessions/status.ts",
  ],
  ["lib/diagnosis/readiness.ts"],
  ["lib/diagnosis/container_trouble.ts", "lib/diagnosis/pod_trouble.ts"],
  ["lib/diagnosis/words.ts"],
  ["lib/diagnosis/causes.ts"],
  ["lib/kubernetes/lease.ts"],
  ["lib/kubernetes/lease_lock.ts"],
  ["lib/kubernetes/lease_record.ts"],
  ["lib/kubernetes/stores.ts", "lib/kubernetes/custom_objects.ts"],
  ["lib/kubernetes/client.ts", "lib/kubernetes/session_watch.ts"],
  ["lib/kubernetes/session_cache.ts"],
  ["lib/kubernetes/event_log.ts"],
  ["lib/sessions/journal.ts", "lib/control_plane/issued_key.ts"],
  ["lib/sessions/journal_file.ts"],
  ["lib/kubernetes/custom_collection.ts"],
  ["lib/kubernetes/watch.ts"],
  ["lib/kubernetes/transport.ts"],
  ["lib/kubernetes/kubeconfig.ts", "lib/kubernetes/request_errors.ts"],
  ["lib/manifests/manifests.ts"],
  ["lib/manifests/pod.ts"],
  ["lib/manifests/home.ts", "lib/manifests/network_policy.ts", "lib/templates/sources.ts"],
  ["lib/sessions/requests.ts", "lib/templates/rules.ts"],
  ["lib/manifests/pod_security.ts"],
  ["lib/templates/manifest.ts"],
  [
    "lib/templates/env.ts",
    "lib/templates/probes.ts",
    "lib/templates/safety.ts",
    "lib/templates/scheduling.ts",
  ],
  ["lib/templates/template.ts", "lib/templates/amounts.ts"],
  ["lib/manifests/names.ts", "lib/untrusted.ts"],
  [
    "lib/control_plane/protocol.ts",
    "lib/control_plane/addresses.ts",
    "lib/control_plane/backoff.ts",
    "lib/control_plane/refusal.ts",
    "lib/control_plane/answer.ts",
  ],
  ["lib/proxies.ts"],
  [
    "lib/kubernetes/semaphore.ts",
    "lib/kubernetes/waiters.ts",
    "lib/kubernetes/objects.ts",
    "lib/kubernetes/request_words.ts",
    "lib/telemetry/metrics.ts",
    "lib/telemetry/listen_address.ts",
    "lib/sessions/lanes.ts",
    "lib/quantities.ts",
    "lib/retry.ts",
    "lib/json.ts",
    "lib/secret.ts",
    "lib/log.ts",
    "lib/errors.ts",
  ],
  ["lib/log_fields.ts"],
];

const ROOT = new URL("../", import.meta.url);

async function sourceFiles(folder: string): Promise<string[]> {
  const files: string[] = [];
  for await (const entry of Deno.readDir(new URL(folder, ROOT))) {
    if (entry.isDirectory) files.push(...await sourceFiles(`${folder}${entry.name}/`));
    else files.push(`${folder}${entry.name}`);
  }
  return files;
}

async function localImports(file: string): Promise<string[]> {
  const text = await Deno.readTextFile(new URL(file, ROOT));
  const specifiers = [...text.matchAll(/from "(\.{1,2}\/[^"]+\.ts)"/g)].map((match) => match[1] ?? "");
  return specifiers.map((specifier) =>
    new URL(specifier, new URL(file, ROOT)).pathname.slice(ROOT.pathname.length)
  );
}

function row(file: string): number {
  return ROWS.findIndex((files) => files.includes(file));
}

Deno.test("every source file has its place in the flow", async () => {
  assertEquals(
    (await sourceFiles("lib/")).toSorted(),
    ROWS.flat().filter((file) => file !== "main.ts").toSorted(),
  );
});

Deno.test("no file imports from above its place in the flow", async () => {
  const upward: string[] = [];
  for (const file of ROWS.flat()) {
    const above = (await localImports(file)).filter((imported) => row(imported) < row(file));
    upward.push(...above.map((imported) => `${file} imports ${imported}`));
  }
  assertEquals(upward, []);
});
