/**
 * The page of all agents and sessions.
 */
import { badge, element, followState, sendCommand } from "./state.js";

const byId = (id) => document.getElementById(id);
const form = byId("start");
const ACTIONS = {
  start_session: "Start",
  hibernate_session: "Hibernate",
  wake_session: "Wake",
  stop_session: "Stop",
};
let state = { agents: [], sessions: [], commands: [] };

followState((received) => {
  const connection = byId("connection");
  connection.textContent = received ? "live" : "not reachable, reconnecting";
  connection.className = `badge ${received ? "running" : "failed"}`;
  if (!received) return;
  state = received;
  show();
});
// Ages change without an event.
setInterval(show, 10_000);

form.elements.agent.addEventListener("change", showTemplates);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  const { agent, ...fields } = Object.fromEntries(new FormData(form));
  const sessionId = `${fields.template.toLowerCase().replace(/[^a-z0-9]+/g, "-")}-${
    Math.random().toString(36).slice(2, 7)
  }`;
  void attempt(agent, "start_session", {
    ...fields,
    sessionId,
    persistentHome: form.elements.persistentHome.checked,
  });
});

/** Sends a command, and shows why if it is rejected. */
async function attempt(agentId, action, payload) {
  byId("problem").textContent = "";
  try {
    await sendCommand(agentId, action, payload);
  } catch (error) {
    byId("problem").textContent = error.message;
  }
}

function show() {
  const { agents, commands } = state;
  // Stopped sessions come last.
  const sessions = state.sessions.toSorted((a, b) => isOver(a) - isOver(b));
  fill(byId("agents"), agents.map(agentCard), "No agent has registered.");
  fill(byId("sessions"), sessions.map(sessionCard), "No sessions yet. Start one with the form.");
  fill(byId("commands"), commands.map(commandItem), "No commands yet.");
  const online = agents.filter(({ connected }) => connected);
  const options = online.map(({ agentId }) => element("option", { value: agentId, textContent: agentId }));
  fill(form.elements.agent, options);
  showTemplates();
}

/** Suggests the templates of the chosen agent. */
function showTemplates() {
  const agent = state.agents.find(({ agentId }) => agentId === form.elements.agent.value);
  const options = (agent?.metadata.templates ?? []).map((value) => element("option", { value }));
  fill(byId("templates"), options);
}

/** Replaces the items that have changed, so that others keep their state. A replaced control keeps the focus. */
function fill(list, items, empty) {
  if (items.length === 0 && empty) items.push(element("li", { className: "empty" }, empty));
  const focused = list.contains(document.activeElement) ? document.activeElement.id : "";
  for (const [i, item] of items.entries()) {
    const old = list.children[i];
    if (!old) list.append(item);
    else if (old.outerHTML !== item.outerHTML) old.replaceWith(item);
  }
  while (list.children.length > items.length) list.lastElementChild.remove();
  if (focused && focused !== document.activeElement.id) byId(focused)?.focus();
}

function agentCard(agent) {
  const { agentId, connected, hasTunnel, status, platform, region, version, activeSessions, capacity } =
    agent;
  const { maxSessions, usedCpu, maxCpu, usedMemory, maxMemory } = capacity;
  return element(
    "li",
    {},
    element("div", { className: "title" }, element("h3", {}, agentId), badge(connected ? status : "offline")),
    element(
      "dl",
      {},
      ...row("Sessions", usage(activeSessions, maxSessions, "")),
      ...row("CPU", usage(usedCpu, maxCpu, " cores")),
      ...row("Memory", usage(usedMemory, maxMemory, " GiB")),
      ...row("Desktops", hasTunnel ? "available" : "not available: no tunnel"),
      ...row("Platform", [platform, region].filter(Boolean).join(" · ")),
      ...row("Version", version),
    ),
  );
}

function row(name, value) {
  return value ? [element("dt", {}, name), element("dd", {}, value)] : [];
}

/** Such as "1 of 100"; empty if nothing is known. */
function usage(used, max, unit) {
  if (used === undefined && !max) return "";
  return `${used ?? 0}${max ? ` of ${max}` : ""}${unit}`;
}

function sessionCard(session) {
  const { sessionId, agentId, state, template, user, message, viewers, createdAt } = session;
  const button = (action, className, onclick) =>
    element("button", {
      id: `${action}-${sessionId}`,
      type: "button",
      textContent: ACTIONS[action],
      className,
      onclick,
    });
  const buttons = element("div", { className: "buttons" });
  if (state === "running" || state === "hibernated") {
    buttons.append(element("a", {
      id: `open-${sessionId}`,
      className: "button primary",
      href: `/sessions/${encodeURIComponent(sessionId)}`,
      textContent: "Open",
    }));
  }
  if (state === "running") {
    buttons.append(button("hibernate_session", "", () => confirm(session, "hibernate_session")));
  }
  if (state === "hibernated") {
    buttons.append(button("wake_session", "", () => attempt(agentId, "wake_session", { sessionId })));
  }
  if (!isOver(session)) {
    buttons.append(button("stop_session", "danger", () => confirm(session, "stop_session")));
  }
  const card = element(
    "li",
    { className: isOver(session) ? "over" : "" },
    element("div", { className: "title" }, element("h3", {}, sessionId), badge(state)),
    element(
      "p",
      { className: "muted" },
      [template, user, age(createdAt), use(viewers)].filter(Boolean).join(" · "),
    ),
    ...(message ? [element("p", { className: `message ${state}` }, message)] : []),
    ...(isOver(session) ? [] : [buttons]),
  );
  card.dataset.session = sessionId;
  return card;
}

function use(viewers) {
  if (viewers === 0) return "";
  return viewers === 1 ? "1 viewer" : `${viewers} viewers`;
}

function isOver({ state }) {
  return state === "terminated";
}

function commandItem({ action, sessionId, status, error, createdAt, completedAt }) {
  const ms = completedAt ? `${Date.parse(completedAt) - Date.parse(createdAt)} ms` : "";
  return element(
    "li",
    {},
    element("span", {}, `${ACTIONS[action] ?? action} ${sessionId}`),
    badge(status),
    element("span", { className: "muted duration" }, ms),
    ...(error ? [element("p", { className: "message failed" }, error)] : []),
  );
}

/** Confirms a command that ends programs, and sends it. */
async function confirm({ sessionId, agentId }, action) {
  const isStop = action === "stop_session";
  const dialog = byId("confirm");
  byId("question").textContent = `${ACTIONS[action]} ${sessionId}?`;
  byId("consequence").textContent = `Its programs end, and unsaved work is lost. ${
    isStop
      ? "A home volume is kept unless you delete it."
      : "Only files in a persistent home volume are there when it wakes."
  }`;
  byId("delete-home").checked = false;
  byId("delete-home").parentElement.hidden = !isStop;
  byId("confirmed").textContent = ACTIONS[action];
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue !== "yes") return;
  await attempt(agentId, action, {
    sessionId,
    ...(isStop ? { deletePVC: byId("delete-home").checked } : {}),
  });
}

function age(time) {
  const minutes = Math.floor(Math.max(0, Date.now() - Date.parse(time)) / 60_000);
  if (minutes < 1) return "less than a minute old";
  return minutes < 60 ? `${minutes} min old` : `${Math.floor(minutes / 60)} h ${minutes % 60} min old`;
}
