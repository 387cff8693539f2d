/**
 * The page of all agents and sessions.
 */
import { element, followState, sendCommand } from "./state.js";

const byId = (id) => document.getElementById(id);
const form = byId("start");
let state = { agents: [], sessions: [], commands: [], templates: [] };

followState((received) => {
  byId("connection").textContent = received ? "" : "The Control Plane cannot be reached: trying again…";
  if (!received) return;
  state = received;
  show();
});
// The ages of sessions.
setInterval(show, 10_000);

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
  fill(byId("agents"), state.agents.map(agentCard), "No agent has registered.");
  fill(byId("sessions"), state.sessions.map(sessionCard), "No sessions.");
  byId("commands").replaceChildren(...state.commands.map(commandRow));
  const select = form.elements.agent;
  const chosen = select.value;
  const online = state.agents.filter(({ connected }) => connected);
  select.replaceChildren(
    ...online.map(({ agentId }) => element("option", { value: agentId, textContent: agentId })),
  );
  if (online.some(({ agentId }) => agentId === chosen)) select.value = chosen;
  byId("templates").replaceChildren(...state.templates.map((value) => element("option", { value })));
}

/** Replaces the items of a list, and keeps the focus on the control that had it. */
function fill(list, items, empty) {
  const focused = list.contains(document.activeElement) ? document.activeElement.id : "";
  list.replaceChildren(...(items.length > 0 ? items : [element("li", { className: "muted" }, empty)]));
  if (focused) byId(focused)?.focus();
}

function agentCard(
  { agentId, connected, hasTunnel, status, platform, region, version, activeSessions, capacity },
) {
  const limit = capacity.maxSessions ? ` of ${capacity.maxSessions}` : "";
  const link = connected ? status : "offline";
  return element(
    "li",
    {},
    element("strong", {}, agentId),
    element("p", { className: link === "online" ? "online" : "offline" }, link),
    element("p", {}, `${activeSessions}${limit} sessions`),
    element("p", { className: "muted" }, [version, platform, region].filter(Boolean).join(" · ")),
    element(
      "p",
      { className: "muted" },
      hasTunnel ? "Shows desktops" : "Cannot show desktops: it has no tunnel",
    ),
  );
}

function sessionCard(session) {
  const { sessionId, agentId, state, template, user, message, viewers, createdAt } = session;
  const button = (label, action, className = "") =>
    element("button", {
      id: `${action}-${sessionId}`,
      type: "button",
      textContent: label,
      className,
      onclick: () =>
        action === "stop_session" ? confirmStop(session) : attempt(agentId, action, { sessionId }),
    });
  const buttons = element("div", { className: "buttons" });
  if (state === "running" || state === "hibernated") {
    buttons.append(element("a", {
      id: `open-${sessionId}`,
      className: "button",
      href: `/sessions/${encodeURIComponent(sessionId)}`,
      textContent: "Open",
    }));
  }
  if (state === "running") buttons.append(button("Hibernate", "hibernate_session"));
  if (state === "hibernated") buttons.append(button("Wake", "wake_session"));
  if (state !== "terminated") buttons.append(button("Stop", "stop_session", "danger"));
  const origin = [template, user].filter(Boolean).join(" · ");
  const card = element(
    "li",
    {},
    element("strong", {}, sessionId),
    element("p", { className: state }, state),
    element("p", { className: "muted" }, [origin, age(createdAt), use(viewers)].filter(Boolean).join(" · ")),
    element("p", {}, message),
    buttons,
  );
  card.dataset.session = sessionId;
  return card;
}

function use(viewers) {
  if (viewers === 0) return "";
  return viewers === 1 ? "1 viewer" : `${viewers} viewers`;
}

function commandRow({ action, sessionId, status, error, createdAt, completedAt }) {
  const ms = completedAt ? `${Date.parse(completedAt) - Date.parse(createdAt)} ms` : "";
  return element(
    "tr",
    {},
    element("td", {}, action),
    element("td", {}, sessionId),
    element("td", { className: status }, error ? `${status}: ${error}` : status),
    element("td", {}, ms),
  );
}

/** Asks before data is lost. */
async function confirmStop({ sessionId, agentId }) {
  const dialog = byId("confirm");
  byId("question").textContent =
    `Stop session ${sessionId}? Programs that run in it end, and unsaved work is lost.`;
  byId("delete-home").checked = false;
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue !== "yes") return;
  await attempt(agentId, "stop_session", { sessionId, deletePVC: byId("delete-home").checked });
}

function age(time) {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(time)) / 1000));
  if (seconds < 60) return "less than a minute old";
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min old` : `${Math.floor(minutes / 60)} h ${minutes % 60} min old`;
}
