// htmx would add an inline style sheet for its indicators. They are not used here, and the Content-Security-Policy refuses it.
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
// After the browser's Back the form may be sent again.
window.addEventListener("pageshow", () => document.querySelectorAll("[data-sent]").forEach((form) => delete form.dataset.sent));

// Figures that were still being counted arrive later. Their charts are drawn then, as django-unfold does on a new page.
document.addEventListener("htmx:afterSettle", (event) => {
  if (event.target.querySelector(".chart")) {
    renderCharts();
  }
});

// The open page of a run, and that of Bytemark's limit, ask for updates every two seconds. If that fails, the page says so until it works again.
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

// Stop disappears when the run ends. If it had the focus, the focus moves to the message about the end, not to the page top.
document.addEventListener("htmx:oobBeforeSwap", (event) => {
  if (event.detail.target.contains(document.activeElement) && event.detail.target.id === "run-actions") {
    document.getElementById("messages").focus();
  }
});
