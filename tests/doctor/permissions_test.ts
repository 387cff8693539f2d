import { assertEquals } from "@std/assert";
import type { KubernetesObject, V1Role } from "@kubernetes/client-node";
import { loadAll } from "js-yaml";
import { PERMISSIONS } from "../../lib/doctor/permissions.ts";

Deno.test("PERMISSIONS are exactly those of the shipped Role", async () => {
  const text = await Deno.readTextFile(new URL("../../k8s/rbac.yaml", import.meta.url));
  const role = (loadAll(text) as KubernetesObject[]).find(({ kind }) => kind === "Role") as V1Role;
  const granted = role.rules?.flatMap(({ apiGroups = [], resources = [], resourceNames = [""], verbs }) =>
    apiGroups.flatMap((group) =>
      resources.flatMap((resource) =>
        resourceNames.flatMap((name) => verbs.map((verb) => [verb, group, resource, name].join(" ")))
      )
    )
  );
  const checked = PERMISSIONS.flatMap(({ group = "", resource, name = "", verbs }) =>
    verbs.map((verb) => [verb, group, resource, name].join(" "))
  );
  assertEquals(checked.toSorted(), granted?.toSorted());
});
