/**
 * What the agent keeps in the cluster for itself: its journal, in a ConfigMap, and a key that the Control Plane issued, in a Secret. Both come
 * with k8s/rbac.yaml, by name, so that the agent in a cluster needs no right to create any, nor to touch another one.
 * @module
 */
import {
  CoreV1Api,
  PatchStrategy,
  setHeaderOptions,
  type V1ConfigMap,
  type V1Secret,
} from "@kubernetes/client-node";
import { hasStatus } from "../common/errors.ts";
import { configurationOf, orUndefined } from "./client.ts";
import type { Transport } from "./transport.ts";

type Data = Readonly<Record<string, string | null>>;

/** Entries of a ConfigMap that only the agent writes. */
export interface EntryStore {
  /** Gives no entries where there is no ConfigMap yet. */
  read(): Promise<Readonly<Record<string, string>>>;
  /** Sets entries and removes those that are null; others stay as they are. */
  write(changes: Data): Promise<void>;
}

/** One text in a Secret that only the agent writes. */
export interface TextStore {
  /** Gives `undefined` where nothing is kept. */
  read(): Promise<string | undefined>;
  /** Keeps the text, or removes it. */
  write(text: string | undefined): Promise<void>;
}

/** Name of the ConfigMap with the journal. */
export const JOURNAL = "k8s-agent-journal";
/** Name of the Secret with issued keys. */
export const ISSUED_KEYS = "k8s-agent-issued-key";
const LABELS = { component: "k8s-agent" };
const MERGE = setHeaderOptions("Content-Type", PatchStrategy.MergePatch);

/** Builds the store of the journal over a transport. */
export function createJournalStore(transport: Transport, namespace: string): EntryStore {
  const core = new CoreV1Api(configurationOf(transport));
  const name = JOURNAL;
  const body: V1ConfigMap = { metadata: { name, labels: LABELS } };
  return {
    read: async () => (await orUndefined(core.readNamespacedConfigMap({ name, namespace })))?.data ?? {},
    write: (data) =>
      patchOrCreate(data, {
        patch: (data) => core.patchNamespacedConfigMap({ name, namespace, body: { data } }, MERGE),
        create: () => core.createNamespacedConfigMap({ namespace, body }),
      }),
  };
}

/** Builds the store of an issued key over a transport; `agent` is what tells agents in one namespace apart. */
export function createIssuedKeyStore(
  transport: Transport,
  { namespace, agent }: { namespace: string; agent: string },
): TextStore {
  const core = new CoreV1Api(configurationOf(transport));
  const name = ISSUED_KEYS;
  const body: V1Secret = { metadata: { name, labels: LABELS } };
  return {
    read: async () => {
      const value = (await orUndefined(core.readNamespacedSecret({ name, namespace })))?.data?.[agent];
      return value === undefined ? undefined : atob(value);
    },
    write: (text) =>
      patchOrCreate({ [agent]: text === undefined ? null : btoa(text) }, {
        patch: (data) => core.patchNamespacedSecret({ name, namespace, body: { data } }, MERGE),
        create: () => core.createNamespacedSecret({ namespace, body }),
      }),
  };
}

/** Outside of a cluster, such as in development, nobody applied the manifest. */
async function patchOrCreate(
  data: Data,
  { patch, create }: { patch: (data: Data) => Promise<unknown>; create: () => Promise<unknown> },
): Promise<void> {
  if (await orUndefined(patch(data))) return;
  if (Object.values(data).every((value) => value === null)) return;
  try {
    await create();
  } catch (error) {
    // Another agent of the namespace came first.
    if (!hasStatus(error, 409)) throw error;
  }
  await patch(data);
}
