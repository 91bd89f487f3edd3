// htmx would add an inline style sheet for its indicators, which nothing here uses and the page's policy refuses.
htmx.config.includeIndicatorStyles = false;
htmx.config.allowEval = false;
htmx.config.selfRequestsOnly = true;

// A form that queues something is sent once, however often its button is pressed.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.hasAttribute("data-once")) {
    return;
  }
  if (form.dataset.sent) {
    event.preventDefault();
  }
  form.dataset.sent = "1";
});
// Whoever comes back to it by the browser's Back may send it again.
window.addEventListener("pageshow", () => document.querySelectorAll("[data-sent]").forEach((form) => delete form.dataset.sent));

// Figures that were still being counted come in later: their charts are drawn as the library draws those of a new page.
document.addEventListener("htmx:afterSettle", (event) => {
  if (event.target.querySelector(".chart")) {
    renderCharts();
  }
});

// The open page of a run looks every two seconds; where that fails, it says so until it works again.
const LOST = ["htmx:sendError", "htmx:timeout", "htmx:responseError"];
for (const name of LOST) {
  document.addEventListener(name, () => showLost(true));
}
document.addEventListener("htmx:beforeSwap", (event) => event.detail.isError || showLost(false));

function showLost(lost) {
  const said = document.getElementById("connection-lost");
  if (said) {
    said.hidden = !lost;
  }
}

// Stop goes when the run ends: whoever stands on it is led to the message that says so, not to the top of the page.
document.addEventListener("htmx:oobBeforeSwap", (event) => {
  if (event.detail.target.contains(document.activeElement) && event.detail.target.id === "run-actions") {
    document.getElementById("messages").focus();
  }
});
