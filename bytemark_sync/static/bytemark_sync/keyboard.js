// The library opens its filters, menus and the sidebar by a click on elements that the keyboard cannot reach. Each of
// them is made a button: reached by Tab, pressed by Enter or Space, with a name, and saying whether it is open. What it
// opened is closed by Escape, which leads back to the button.
const NAMES = {
  more_horiz: "More actions",
  more_vert: "More actions",
  search: "Search",
  confirmation_number: "Dashboard",
  dock_to_right: "Sidebar",
  close: "Close the sidebar",
  visibility: "Show or hide the password",
  unfold_more: "Account menu",
};
const FOCUSABLE = "a[href], button, input:not([type=hidden]), select, [role=button]";

document.addEventListener("alpine:initialized", () => {
  for (const element of document.querySelectorAll("[x-on\\:click]")) {
    if (!element.matches(`${FOCUSABLE}, [id$=-close], [x-show]`)) {
      makeButton(element);
    }
  }
  hideIcons();
});
document.addEventListener("htmx:afterSettle", hideIcons);

function makeButton(element) {
  element.tabIndex = 0;
  element.setAttribute("role", "button");
  nameIt(element);
  element.addEventListener("keydown", (event) => {
    if (event.target === element && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      element.click();
    }
  });
  const state = /^(\w+) = (?:!\1|true)(?:;|$)/.exec(element.getAttribute("x-on:click").trim())?.[1];
  if (state) {
    followState(element, state);
  }
}

// An icon is a word in a font of its own, which nobody should hear; a link or button that is nothing else has a name.
function hideIcons() {
  for (const icon of document.querySelectorAll(".material-symbols-outlined:not([role=button])")) {
    icon.ariaHidden = "true";
    const word = icon.textContent.trim();
    const link = icon.closest("a, button");
    if (link && word in NAMES && link.textContent.trim() === word) {
      link.ariaLabel = NAMES[word];
    }
  }
}

function nameIt(element) {
  const words = element.textContent.trim().split(/\s+/);
  const icon = words.at(-1);
  if (icon in NAMES) {
    element.ariaLabel = [NAMES[icon], ...words.slice(0, -1)].join(" ");
  }
}

// `state` is the name of what the click switches; a popup that shows by it takes the focus and gives it back.
function followState(button, state) {
  const shown = [...document.querySelectorAll("[x-show]")].find((each) => each.getAttribute("x-show") === state);
  const popup = state === "sidebarMobileOpen" ? document.getElementById("nav-sidebar") : shown;
  const data = Alpine.$data(button);
  Alpine.effect(() => {
    const open = Boolean(data[state]);
    button.setAttribute("aria-expanded", String(open));
    const before = document.activeElement;
    if (open && before === button) {
      focusIn(popup);
    } else if (!open && popup?.contains(before)) {
      button.focus();
    }
  });
  popup?.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && data[state]) {
      event.stopPropagation(); // a menu in the open sidebar closes alone
      data[state] = false;
    }
  });
}

// The library shows a popup some frames after its click.
function focusIn(popup, frames = 30) {
  popup?.querySelector(FOCUSABLE)?.focus();
  if (popup && frames && !popup.contains(document.activeElement)) {
    requestAnimationFrame(() => focusIn(popup, frames - 1));
  }
}
