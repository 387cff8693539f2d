/**
 * The cluster's own words as part of a sentence: one line, of bounded length, without what only repeats where they come from. Pure.
 * @module
 */
import type { Reason } from "./causes.ts";

const LENGTH = 800;

/** Text of others as one line of at most 800 characters. */
export function oneLine(text: string): string {
  const line = text.slice(0, 4 * LENGTH).replace(/[\s\p{Cc}]+/gu, " ").trim();
  return line.length > LENGTH ? `${line.slice(0, LENGTH)}…` : line;
}

/** Layers that wrap what went wrong, each of which says only who was asked. The runtimes: containerd, CRI-O and Docker. */
const WRAPPINGS: readonly RegExp[] = [
  /^rpc error: code = \w+ desc = /,
  /^Back-off pulling image "[^"]*"(?:: |$)/,
  /^(?:ErrImagePull|ImagePullBackOff)(?:: |$)/,
  /^failed to pull (?:and unpack )?image (?:"[^"]*"|\S+): /i,
  /^failed to (?:resolve reference|copy) "[^"]*": /,
  /^failed to do request: /,
  /^initializing source \S+: /,
  /^reading manifest \S+ in \S+: /,
  /^Error response from daemon: /,
  /^\S+\/\S+: (?=not found$)/,
  /^Failed to create pod sandbox: /,
  /^(?:MountVolume|AttachVolume|MapVolume)\.\w+ failed for volume "[^"]*" ?: /,
  /^failed to provision volume with StorageClass "[^"]*": /,
  /^(?:Readiness|Liveness|Startup) probe failed: /,
  /^Pod was rejected: /,
  /^Failed to create new replica set "[^"]*": /,
  /^(?:pods|persistentvolumeclaims|services|(?:deployments|replicasets)\.apps) "[^"]*" is (?:forbidden|invalid): /,
  /^pod didn't trigger scale-up: /,
];

/** What is left of the cluster's words once all wrappings are off; empty where there were only wrappings. */
export function unwrap(text: string): string {
  let line = oneLine(text);
  for (let before = ""; before !== line;) {
    before = line;
    line = WRAPPINGS.reduce((rest, wrapping) => rest.replace(wrapping, ""), line);
  }
  return line;
}

/** Words of a cluster that has trouble of its own, or counts what a quota holds just now: its controllers try again. */
const PASSING: readonly RegExp[] = [
  /Internal error occurred|timed? ?out|too many requests|connection refused|etcdserver/i,
  // https://github.com/kubernetes/kubernetes/issues/67761
  /Operation cannot be fulfilled on resourcequotas|status unknown for quota|not yet ready to handle request/,
];

/** What kind of refusal the API server's words are. */
export function refusalReason(text: string): Reason {
  if (/(?:exceeded|failed) quota/.test(text)) return "Quota";
  if (/violates PodSecurity/.test(text)) return "PodSecurity";
  if (/(?:maximum|minimum) \S+ usage per|limit to request ratio/.test(text)) return "LimitRange";
  return PASSING.some((words) => words.test(text)) ? "AdmissionDown" : "Refused";
}
