// django-unfold opens filters, menus and the sidebar by a click on elements that the keyboard cannot reach. This makes
// each of them a button: Tab reaches it, Enter or Space presses it, it has a name, and it says whether it is open.
// Escape closes what it opened and returns the focus to the button.
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

// An icon is a word in an icon font, which screen readers should not read. A link or button with only an icon gets a name.
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

// `state` is the variable that the click switches. The popup that it shows takes the focus, and gives it back when it closes.
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
      event.stopPropagation(); // closes a menu in the open sidebar, but not the sidebar
      data[state] = false;
    }
  });
}

// django-unfold shows a popup some frames after the click.
function focusIn(popup, frames = 30) {
  popup?.querySelector(FOCUSABLE)?.focus();
  if (popup && frames && !popup.contains(document.activeElement)) {
    requestAnimationFrame(() => focusIn(popup, frames - 1));
  }
}
