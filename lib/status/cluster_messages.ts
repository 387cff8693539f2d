/**
 * Messages of the cluster as part of an error message: one line, of bounded length, without the prefixes that each layer adds. Pure.
 * @module
 */

const MAX_LENGTH = 800;

/** Prefixes that say only which component failed, not why. The runtimes are containerd, CRI-O and Docker. */
const PREFIXES: readonly RegExp[] = [
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
  /^kubernetes\.io\/csi: \S+ failed to create newCsiDriverClient: /,
  /^(?:MountVolume|AttachVolume|MapVolume)\.\w+ failed for volume "[^"]*" ?: /,
  /^failed to provision volume with StorageClass "[^"]*": /,
  /^(?:Readiness|Liveness|Startup) probe failed: /,
  /^Pod was rejected: /,
  /^Failed to create new replica set "[^"]*": /,
  /^(?:pods|persistentvolumeclaims|services|(?:deployments|replicasets)\.apps) "[^"]*" is (?:forbidden|invalid): /,
  /^pod didn't trigger scale-up: /,
];

/** The escape sequences with which programs color their logs. */
// deno-lint-ignore no-control-regex
const TERMINAL_SEQUENCES = /\u001b\[[0-9;?]*[A-Za-z]/g;

/** Untrusted text as one line of at most 800 characters. */
export function oneLine(text: string): string {
  const line = joinLines(text.slice(0, 4 * MAX_LENGTH));
  return line.length > MAX_LENGTH ? `${line.slice(0, MAX_LENGTH)}…` : line;
}

/** The end of an untrusted text, such as a log, as one line of at most 800 characters: a program says last why it ends. */
export function lastWords(text: string): string {
  const line = joinLines(text.slice(-4 * MAX_LENGTH));
  return line.length > MAX_LENGTH ? `…${line.slice(-MAX_LENGTH)}` : line;
}

function joinLines(text: string): string {
  return text.replace(TERMINAL_SEQUENCES, "").replace(/[\s\p{Cc}]+/gu, " ").trim();
}

/** The message as one line without its prefixes; empty if it consists of prefixes only. */
export function cleanMessage(message: string): string {
  let line = oneLine(message);
  for (let previous = ""; previous !== line;) {
    previous = line;
    line = PREFIXES.reduce((rest, prefix) => rest.replace(prefix, ""), line);
  }
  return line;
}
