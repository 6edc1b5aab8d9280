// kubernetes.mjs RENDERED.yaml OUT.ts: the objects of a rendered overlay, one after the other before the validators of Kubernetes'
// OpenAPI schemas; as literals of their types into OUT.ts, for the compiler to find fields that there are not; and as a
// whole: what one says of another has to be there. Prints findings, and exits 1 when there are any.
import { readFileSync, writeFileSync } from "node:fs";
import { parseAllDocuments } from "yaml";

const [, , rendered, out] = process.argv;
// Version 1.1: kubectl reads 0440 as an octal number.
const objects = parseAllDocuments(readFileSync(rendered, "utf8"), { version: "1.1" }).map((document) => document.toJS());
// base64 may be on several lines, of which the schemas' validators know nothing.
for (const object of objects.filter((each) => each.kind === "Secret"))
  for (const key of Object.keys(object.data)) object.data[key] = object.data[key].replace(/\s/g, "");
const findings = [];
const find = (object, text) => findings.push(`${object.kind} ${object.metadata.name}: ${text}`);
const of = (...kinds) => objects.filter((object) => kinds.includes(object.kind));
const named = (kind, name) => objects.some((object) => object.kind === kind && object.metadata.name === name);
const workloads = of("Deployment", "StatefulSet", "Job");
const pods = workloads.map((object) => object.spec.template);

const matches = (selector, labels) =>
  Object.entries(selector.matchLabels ?? {}).every(([key, value]) => labels[key] === value) &&
  (selector.matchExpressions ?? []).every(({ key, operator, values }) => {
    if (operator !== "In") throw new Error(`${operator}: not known here`);
    return values.includes(labels[key]);
  });
const selected = (selector) => pods.filter((pod) => matches(selector, pod.metadata.labels));
const portsOf = (pod) => pod.spec.containers.flatMap((container) => container.ports ?? []);
const hasPort = (pod, port) => portsOf(pod).some((each) => each.name === port || each.containerPort === port);

// ---- each by itself ----

const types = [];
for (const [index, object] of objects.entries()) {
  const group = object.apiVersion.includes("/") ? object.apiVersion : "v1";
  const models = await import(`kubernetes-models/${group}`).catch(() => ({}));
  const Model = models[object.kind];
  if (!Model) {
    find(object, `there is no such thing in ${group}`);
    continue;
  }
  try {
    new Model(object).validate();
  } catch (error) {
    find(object, error.message);
  }
  types.push(`import type { I${object.kind} as T${index} } from "kubernetes-models/${group}";
export const o${index}: T${index} = ${JSON.stringify(object)};`);
  if (object.kind !== "Namespace" && object.metadata.namespace !== "stoa") find(object, "is in another namespace");
}
writeFileSync(out, `${types.join("\n")}\n`);

// ---- pods ----

for (const object of workloads) {
  const { spec } = object.spec.template;
  if (spec.automountServiceAccountToken !== false) find(object, "gets a token of the cluster's");
  if (spec.securityContext?.runAsNonRoot !== true || !spec.securityContext.runAsUser) find(object, "may run as root");
  if (spec.securityContext?.seccompProfile?.type !== "RuntimeDefault") find(object, "has no seccomp profile");
  for (const container of spec.containers) {
    const context = container.securityContext ?? {};
    if (context.allowPrivilegeEscalation !== false || context.readOnlyRootFilesystem !== true || !context.capabilities?.drop?.includes("ALL"))
      find(object, "is not restricted");
    if (!container.resources?.requests?.cpu || !container.resources.requests.memory || !container.resources.limits?.memory)
      find(object, "has no bounds of CPU and memory");
    if (object.kind !== "Job" && !(container.readinessProbe && container.livenessProbe)) find(object, "has no probes");
    if (container.readinessProbe?.httpGet?.path === "/readyz") find(object, "is not reached for any service when one of them is away");
    for (const { configMapRef } of container.envFrom ?? [])
      if (!named("ConfigMap", configMapRef.name)) find(object, `there is no ConfigMap ${configMapRef.name}`);
    for (const variable of container.env ?? [])
      if (/PASSWORD$|SECRET$|TOKEN$/.test(variable.name)) find(object, `${variable.name}: a secret in the environment`);
    const volumes = spec.volumes.map((volume) => volume.name).concat((object.spec.volumeClaimTemplates ?? []).map((claim) => claim.metadata.name));
    for (const mount of container.volumeMounts) if (!volumes.includes(mount.name)) find(object, `there is no volume ${mount.name}`);
  }
  for (const { secret } of spec.volumes)
    if (secret && !named("Secret", secret.secretName)) find(object, `there is no Secret ${secret.secretName}`);
  if (object.spec.selector && !matches(object.spec.selector, object.spec.template.metadata.labels)) find(object, "does not select its own pods");
}

// ---- what one says of another ----

for (const object of of("Service")) {
  const found = selected({ matchLabels: object.spec.selector });
  if (found.length !== 1) find(object, `selects the pods of ${found.length} workloads`);
  for (const port of object.spec.ports) if (!found.every((pod) => hasPort(pod, port.targetPort))) find(object, `nobody has the port ${port.targetPort}`);
}
// Who looks up an instance by its name asks it for its health. When none is ready, a name without any would be worse than all.
for (const object of of("Service")) {
  if (object.spec.clusterIP !== "None" || !of("Deployment").some((each) => matches({ matchLabels: object.spec.selector }, each.spec.template.metadata.labels))) continue;
  if (!object.spec.publishNotReadyAddresses) find(object, "stands for nobody while Postgres is away");
}
for (const object of of("PodDisruptionBudget")) if (selected(object.spec.selector).length !== 1) find(object, "selects not exactly one workload");
for (const object of of("HorizontalPodAutoscaler")) {
  const target = objects.find((each) => each.kind === object.spec.scaleTargetRef.kind && each.metadata.name === object.spec.scaleTargetRef.name);
  if (!target) find(object, "there is no such target");
  else if (target.spec.replicas !== undefined) find(object, "its target says how many there are, too");
}
for (const object of of("Deployment")) {
  if (!of("PodDisruptionBudget").some((each) => matches(each.spec.selector, object.spec.template.metadata.labels))) find(object, "has no PodDisruptionBudget");
  if (!of("HorizontalPodAutoscaler").some((each) => each.spec.scaleTargetRef.name === object.metadata.name)) find(object, "has no HorizontalPodAutoscaler");
}

// ---- connections to Postgres, when there are as many instances as there may be ----

// What an instance holds beside STOA_DATABASE_CONNECTIONS, at most (docs/scaling.md).
const BESIDE = 6;
// Postgres' own: superuser_reserved_connections, and those of jobs and of backups.
const OTHERS = 10;
const settingsOf = (pod) => Object.assign({}, ...pod.spec.containers.flatMap((container) => [
  ...(container.envFrom ?? []).map(({ configMapRef }) => objects.find((each) => each.kind === "ConfigMap" && each.metadata.name === configMapRef.name)?.data ?? {}),
  ...(container.env ?? []).map(({ name, value }) => ({ [name]: value })),
]));
const wanted = of("Deployment").reduce((sum, object) => {
  const settings = settingsOf(object.spec.template);
  const scaler = of("HorizontalPodAutoscaler").find((each) => each.spec.scaleTargetRef.name === object.metadata.name);
  if (!settings.STOA_DATABASE || !scaler) return sum;
  return sum + (scaler.spec.maxReplicas + object.spec.strategy.rollingUpdate.maxSurge) * (Number(settings.STOA_DATABASE_CONNECTIONS) + BESIDE);
}, OTHERS);
for (const object of of("StatefulSet")) {
  const limit = object.spec.template.spec.containers[0].args?.map((each) => /^-cmax_connections=(\d+)$/.exec(each)?.[1]).find(Boolean);
  if (limit && Number(limit) < wanted) find(object, `has ${limit} connections, and all instances together want ${wanted}`);
}

// ---- who may reach whom ----

const policies = of("NetworkPolicy");
const ofAll = policies.filter((policy) => Object.keys(policy.spec.podSelector).length === 0 && !policy.spec.ingress && !policy.spec.egress);
if (!ofAll.some((policy) => ["Ingress", "Egress"].every((type) => policy.spec.policyTypes.includes(type))))
  findings.push("NetworkPolicy: none refuses by default");
for (const policy of policies) {
  if (selected(policy.spec.podSelector).length === 0) find(policy, "is about nobody");
  for (const peer of [...(policy.spec.ingress ?? []).flatMap((rule) => rule.from ?? []), ...(policy.spec.egress ?? []).flatMap((rule) => rule.to ?? [])])
    if (peer.podSelector && selected(peer.podSelector).length === 0) find(policy, "names nobody");
}
// From pod to pod on a port: out of the one and into the other.
const allowed = (rules, side, other, port, pod) =>
  (rules ?? []).some((rule) =>
    (!rule[side] || rule[side].some((peer) => peer.podSelector && !peer.namespaceSelector && matches(peer.podSelector, other.metadata.labels))) &&
    (!rule.ports || rule.ports.some((each) => each.port === port || portsOf(pod).some((own) => own.name === each.port && own.containerPort === port))));
const reaches = (from, to, port) =>
  policies.some((policy) => matches(policy.spec.podSelector, from.metadata.labels) && allowed(policy.spec.egress, "to", to, port, to)) &&
  policies.some((policy) => matches(policy.spec.podSelector, to.metadata.labels) && allowed(policy.spec.ingress, "from", from, port, to));
const EXPECTED = {
  gateway: ["auth:9001", "posts:9002", "chat:9003"],
  auth: ["postgres:5432", "redis:6379"],
  posts: ["postgres:5432"],
  chat: ["postgres:5432", "redis:6379"],
  "migrate-auth": ["postgres:5432"],
  "migrate-posts": ["postgres:5432"],
  "migrate-chat": ["postgres:5432"],
  bootstrap: ["postgres:5432"],
};
for (const from of workloads) {
  const found = workloads.flatMap((to) =>
    portsOf(to.spec.template).filter((port) => reaches(from.spec.template, to.spec.template, port.containerPort)).map((port) => `${to.metadata.name}:${port.containerPort}`));
  const expected = EXPECTED[from.metadata.name] ?? [];
  if (found.sort().join() !== [...expected].sort().join()) find(from, `reaches ${found.join(" ") || "nobody"}, and not ${expected.join(" ") || "nobody"}`);
}
const open = workloads.filter((object) => policies.some((policy) =>
  matches(policy.spec.podSelector, object.spec.template.metadata.labels) && (policy.spec.ingress ?? []).some((rule) => !rule.from)));
if (open.map((object) => object.metadata.name).join() !== "gateway") findings.push(`NetworkPolicy: everybody reaches ${open.map((object) => object.metadata.name)}`);

for (const finding of findings) console.log(finding);
process.exitCode = findings.length ? 1 : 0;
