// The live refresh and the copy buttons of the admin pages, and a guard against second clicks. Without this script,
// everything can still be read, and every form sent.
"use strict";

// What a person has typed, or is about to press or to copy, stays as it is when the page refreshes itself.
const isTouched = (form) => form.contains(document.activeElement)
  || [...form.elements].some(({ value, defaultValue }) => defaultValue !== undefined && value !== defaultValue);
const isSelected = (node) => !getSelection().isCollapsed && getSelection().containsNode(node, true);

Object.assign(Idiomorph.defaults.callbacks, {
  beforeAttributeUpdated: (name, node) => !(name === "open" && node.localName === "details"),
  beforeNodeMorphed: (node) => !(node.localName === "form" && isTouched(node))
    && !(node.localName === "pre" && isSelected(node)),
});

// A second click must not send a form again: the second answer would take the place of a key that is shown only once.
const sent = new WeakSet();
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (sent.has(form)) event.preventDefault();
  sent.add(form);
  setTimeout(() => sent.delete(form), 10_000);
});

// The browser keeps the pages that one goes back to as they were: one with a key would show it again.
addEventListener("pageshow", ({ persisted }) => { if (persisted) location.reload(); });

const liveSwitch = document.getElementById("live-switch");
const isLive = () => sessionStorage.getItem("live") !== "off";

function showLive() {
  liveSwitch.setAttribute("aria-pressed", String(isLive()));
  liveSwitch.title = isLive() ? "The page refreshes itself every 5 seconds" : "The page stands still";
}

if (liveSwitch && document.getElementById("live")) {
  liveSwitch.hidden = false;
  showLive();
  liveSwitch.addEventListener("click", () => {
    sessionStorage.setItem("live", isLive() ? "off" : "on");
    showLive();
  });
}

document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.target.id === "live" && (!isLive() || document.hidden)) event.preventDefault();
});

// A page that no longer refreshes itself must not look as if all were well.
const refreshStatus = document.getElementById("refresh-status");
let refreshedAt = new Date();

for (const failure of ["htmx:sendError", "htmx:timeout", "htmx:responseError"]) {
  document.addEventListener(failure, ({ detail: { xhr } }) => {
    const why = xhr.status ? `the answer was ${xhr.status}` : "the bridge does not answer";
    const since = refreshedAt.toISOString().slice(0, 19).replace("T", " ");
    const told = `Not refreshed since ${since} UTC: ${why}.`;
    // The same words again would be read out again.
    if (refreshStatus.textContent !== told) refreshStatus.textContent = told;
  });
}

document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (!detail.successful) return;
  refreshedAt = new Date();
  refreshStatus.textContent = "";
});

// Browsers let a page write to the clipboard only over https and on loopback.
document.documentElement.classList.toggle("can-copy", Boolean(navigator.clipboard));
document.addEventListener("click", async ({ target: button }) => {
  if (!button.dataset.copy) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
});
