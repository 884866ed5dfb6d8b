// The live refresh and the copy buttons of the admin pages. Without this script, everything can still be read, and
// every form sent.
"use strict";

// When the page refreshes itself, the details that a person has opened stay open, and forms keep what they have typed.
Object.assign(Idiomorph.defaults.callbacks, {
  beforeAttributeUpdated: (name, node) => !(name === "open" && node.localName === "details"),
  beforeNodeMorphed: (node) => node.localName !== "form",
});

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

for (const button of document.querySelectorAll("[data-copy]")) {
  // Browsers let a page write to the clipboard only over https and on loopback.
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}
