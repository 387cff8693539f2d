/**
 * What a template may not bring, and the little it may say about rights and volumes. What is dangerous is refused by its path, and never
 * dropped without a word. Pure.
 * @module
 */
import type { V1Volume, V1VolumeMount } from "@kubernetes/client-node";
import { HOME_PATH, HOME_VOLUME, type TemplateSecurity } from "../model/template.ts";
import type { Field } from "../common/untrusted.ts";

const MOST_VOLUMES = 16;
const MOST_GROUPS = 32;
const HIGHEST_ID = 2 ** 31 - 1;
const VOLUME_NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const CAPABILITY = /^[A-Z][A-Z_]{0,62}$/;
/** An absolute path in the only way to write it, so that paths can be compared as text; Kubernetes takes no colon in it. */
const MOUNT_PATH = /^(?:\/(?!\.{1,2}(?:\/|$))[^:/\u2028\u2029]+)+$/;
const SUB_PATH = /^(?!\/)(?!(?:.*\/)?\.\.(?:\/|$)).+$/;
/** The home as templates of StreamSpace call it, and as its volume is called. */
const HOME_NAMES: readonly string[] = ["user-home", HOME_VOLUME];

/** Fields of a spec that may be there only to say no. */
const FALSE_ONLY = ["hostNetwork", "hostPID", "hostIPC", "automountServiceAccountToken", "privileged"];
const NEVER: Readonly<Record<string, string>> = {
  serviceAccountName: "must not be set: sessions have no account in the cluster",
  serviceAccount: "must not be set: sessions have no account in the cluster",
  sysctls: "must not be set: they reach beyond the session",
  envFrom: 'must not be set: name each variable in "env"',
};
/** All that a security context may say; anything else in one is refused. */
const SECURITY_FIELDS: readonly string[] = [
  "runAsUser",
  "runAsGroup",
  "runAsNonRoot",
  "readOnlyRootFilesystem",
  "fsGroup",
  "supplementalGroups",
  "capabilities",
  "seccompProfile",
  "privileged",
  "allowPrivilegeEscalation",
  "procMount",
];

/** Refuses what a template may not ask for outside of its ports, volumes and security context. */
export function refuseDangers(spec: Field): void {
  for (const name of FALSE_ONLY) refuseTrue(spec.at(name));
  for (const [name, problem] of Object.entries(NEVER)) {
    const field = spec.at(name);
    if (field.isSet) throw field.refused(problem);
  }
}

/** Reads a template's security context. */
export function readSecurity(security: Field): TemplateSecurity {
  for (const name of security.names()) {
    if (SECURITY_FIELDS.some((known) => known.toLowerCase() === name.toLowerCase())) continue;
    const field = security.at(name);
    if (field.isSet) throw field.refused("must not be set");
  }
  refuseTrue(security.at("privileged"));
  refuseTrue(security.at("allowPrivilegeEscalation"));
  security.at("procMount").maybe((mount) => mount.oneOf("Default"));
  const profile = security.at("seccompProfile");
  if (profile.isSet) profile.at("type").oneOf("RuntimeDefault");
  const id = (field: Field) => field.whole(0, HIGHEST_ID);
  const flag = (field: Field) => field.flag();
  return security.given<TemplateSecurity>({
    runAsUser: id,
    runAsGroup: id,
    runAsNonRoot: flag,
    readOnlyRootFilesystem: flag,
    fsGroup: id,
    supplementalGroups: (list) => list.items(MOST_GROUPS).map(id),
    capabilities: readCapabilities,
  });
}

function readCapabilities(capabilities: Field): TemplateSecurity["capabilities"] {
  const add = capabilities.at("add");
  if (add.items(Infinity).length > 0) throw add.refused("must be empty: capabilities can only be dropped");
  const drop = capabilities.at("drop").items(64).map((one) =>
    one.matching(CAPABILITY, 'must be a capability such as "NET_RAW"')
  );
  return { drop };
}

/** Reads the volumes of a template, which are empty directories. */
export function readVolumes(volumes: Field): V1Volume[] {
  const seen = new Set<string>();
  return volumes.items(MOST_VOLUMES).map((volume) => {
    const name = volume.at("name").matching(VOLUME_NAME, "must be lower-case letters, digits and hyphens");
    if (HOME_NAMES.includes(name)) throw volume.at("name").invalid("must not be the name of the home");
    if (seen.has(name)) throw volume.at("name").invalid("must not be there twice");
    seen.add(name);
    const other = volume.names().find((key) =>
      !["name", "emptydir"].includes(key.toLowerCase()) && volume.at(key).isSet
    );
    if (other !== undefined) {
      throw volume.at(other).refused("must not be set: a template's volumes are emptyDir only");
    }
    const directory = volume.at("emptyDir");
    if (directory.isAbsent) throw directory.missing();
    return {
      name,
      emptyDir: directory.given({
        medium: (medium) => medium.oneOf("Memory"),
        sizeLimit: (size) =>
          size.written.quantity({ least: 1, most: 2 ** 50, mostText: "1Pi", example: "1Gi" }),
      }),
    };
  });
}

/** Reads where the home and a template's volumes are mounted. */
export function readMounts(mounts: Field, volumes: readonly V1Volume[]): V1VolumeMount[] {
  const seen = new Set<string>();
  const read = mounts.items(MOST_VOLUMES).map((mount) => {
    const name = mount.at("name").text();
    const isHome = HOME_NAMES.includes(name);
    if (!isHome && !volumes.some((volume) => volume.name === name)) {
      throw mount.at("name").invalid('must be "user-home", or one of the template\'s volumes');
    }
    const mountPath = mount.at("mountPath").matching(
      MOUNT_PATH,
      "must be an absolute path below / in its shortest form",
    );
    if (seen.has(mountPath)) throw mount.at("mountPath").invalid("must not be there twice");
    seen.add(mountPath);
    mount.at("mountPropagation").maybe((propagation) => propagation.oneOf("None"));
    return {
      name: isHome ? HOME_VOLUME : name,
      mountPath,
      ...mount.given({
        subPath: (path) => path.matching(SUB_PATH, "must be a path below the volume's root"),
        readOnly: (readOnly) => readOnly.flag(),
      }),
    };
  });
  if (seen.has(HOME_PATH) && !read.some(({ name }) => name === HOME_VOLUME)) {
    throw mounts.refused(`must have the home somewhere, as its usual place ${HOME_PATH} is taken`);
  }
  return read;
}

function refuseTrue(field: Field): void {
  if (field.flag()) throw field.refused("must not be true");
}
