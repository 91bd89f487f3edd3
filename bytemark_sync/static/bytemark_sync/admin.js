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

// Figures that were still being counted come in later: their charts are drawn as the library draws those of a new page.
document.addEventListener("htmx:afterSettle", (event) => {
  if (event.target.querySelector(".chart")) {
    renderCharts();
  }
});
